"""Topics: BEIR and MS MARCO queries, TREC topic files, Pyserini's JSON topics, names that Pyserini or ir_datasets know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradir.data import named
from gradir.data.atomic import new_text
from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import read_objects, text_field, write_objects
from gradir.data.records import Query
from gradir.data.text import Lines, suffix
from gradir.errors import InputError

_TREC_ENDINGS = (".trec", ".xml", ".topics", ".txt")
_Place = tuple[str | Path, int | None]


def read_topics(topics: str | Path) -> Iterator[Query]:
    """Queries in file order.

    Reads BEIR JSONL (`_id, text`; `id`/`qid` and `query`/`contents`/`title` are accepted), TSV (`qid<TAB>text`), TREC topic
    files (`<num>`, `<title>`), Pyserini's JSON topics (`{qid: {"title": …}}`), each also compressed, a BEIR folder (its
    `queries.jsonl`), `ir_datasets:NAME`, and names that Pyserini knows (`msmarco-passage-dev-subset`; it downloads them).

    Raises:
        InputError: Malformed line, missing or duplicate id, no queries at all, no such file or name.
    """
    seen, count = Duplicates("query id"), 0
    for (path, line), query in _read(topics):
        check_id(path, line, query.qid, "query id")
        seen.add(path, line, query.qid)
        count += 1
        yield query
    seen.finish()
    if not count:
        raise InputError(topics, "holds no queries", "Is it the right file?")


def write_topics(path: str | Path, queries: Iterable[Query]) -> int:
    """Write queries as TSV (`qid<TAB>text`, what Pyserini reads best) if `path` ends in .tsv, else as BEIR JSONL.

    Raises:
        InputError: An id holds white space, or a TSV query a tab or a line end; nothing is written then.
    """
    numbered = ((line, check_id(path, line, qid, "query id"), text) for line, (qid, text) in enumerate(queries, 1))
    if Path(path).suffix != ".tsv":
        return write_objects(path, ({"_id": qid, "text": text} for _, qid, text in numbered))
    count = 0
    with new_text(path) as stream:
        for line, qid, text in numbered:
            if re.search(r"[\t\r\n]", text):
                raise InputError(path, f"query {qid} holds a tab or line end", "Write a .jsonl file instead", line)
            stream.write(f"{qid}\t{text}\n")
            count += 1
    return count


def _read(topics: str | Path) -> Iterator[tuple[_Place, Query]]:
    path = Path(topics)
    if named.is_ir_datasets(topics) or named.is_pyserini_name(topics):
        read = named.ir_datasets_topics if named.is_ir_datasets(topics) else named.pyserini_topics
        yield from (((str(topics), None), query) for query in read(str(topics)))
        return
    if path.is_dir():
        names = ("queries.jsonl", "queries.jsonl.gz", "queries.jsonl.zst", "queries.tsv")
        found = [path / name for name in names if (path / name).exists()]
        if not found:
            raise InputError(path, "holds no queries.jsonl", "Name the topics file itself")
        path = found[0]
    yield from (((path, line), query) for line, query in _READERS.get(suffix(path), _read_jsonl)(path))


def _read_jsonl(path: Path) -> Iterator[tuple[int, Query]]:
    for line, value in read_objects(path):
        qid = text_field(path, line, value, ("_id", "id", "qid", "query_id"))
        yield line, Query(qid, text_field(path, line, value, ("text", "query", "contents", "title")))


def _read_tsv(path: Path) -> Iterator[tuple[int, Query]]:
    lines = Lines(path)
    for text in lines:
        qid, tab, query = text.partition("\t")
        if tab:
            yield lines.number, Query(qid, query)
        elif text:
            raise lines.fail("no tab", "Expected qid<TAB>text")


def _read_json(path: Path) -> Iterator[tuple[None, Query]]:
    """Pyserini's form, one object for all topics; the title is the query."""
    text = "\n".join(Lines(path))
    try:
        topics = json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", "JSON Lines must end in .jsonl", error.lineno) from None
    except _Repeated as error:
        raise InputError(path, f"query id or field {error} was used before", "Ids must be unique") from None
    if not isinstance(topics, dict):
        raise InputError(path, "not an object of topics", _JSON_FORM)
    for qid, fields in topics.items():
        if isinstance(fields, str):
            fields = {"title": fields}
        if not isinstance(fields, dict):
            raise InputError(path, f"topic {qid} is neither an object nor text", _JSON_FORM)
        yield None, Query(qid, text_field(path, None, fields, ("title", "text")))


_JSON_FORM = 'Expected {"qid": {"title": "text"}, …}'


class _Repeated(Exception):
    """A key that stands twice in one JSON object, where json would silently keep the last."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Repeated(repr(key))
        found[key] = value
    return found


def _read_trec(path: Path) -> Iterator[tuple[int, Query]]:
    """`<top> <num> Number: 301 <title> words … </top>`; other fields (`<desc>`, `<narr>`) are not read.

    A file without `<top>` is read as TSV.
    """
    text = "\n".join(Lines(path))
    if "<top>" not in text:
        yield from _read_tsv(path)
        return
    for match in re.finditer(r"<top>(.*?)(</top>|(?=<top>)|\Z)", text, flags=re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        if not match[2]:
            raise InputError(path, "a topic without </top>", "Mend the topic", line)
        number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", match[1])
        # the title runs to the next tag; a lone `<` belongs to it
        title = re.search(r"<title>\s*(?:Topic:)?(.*?)(?=</?[a-z]+>|\Z)", match[1], flags=re.DOTALL)
        if not number or not title:
            raise InputError(path, "a topic without <num> or <title>", "Mend the topic", line)
        yield line, Query(number[1], " ".join(title[1].split()))


_READERS = {".tsv": _read_tsv, ".json": _read_json} | dict.fromkeys(_TREC_ENDINGS, _read_trec)
