"""Topics: BEIR and MS MARCO queries, TREC topic files, Pyserini's JSON topics, names that Pyserini or ir_datasets know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradir.data import named
from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import read_objects, text_field, write_objects
from gradir.data.records import Query
from gradir.data.text import Lines, suffix
from gradir.errors import InputError

_TREC_ENDINGS = (".trec", ".xml", ".topics", ".txt")


def read_topics(topics: str | Path) -> Iterator[Query]:
    """Queries in file order.

    Reads BEIR JSONL (`_id, text`; `id`/`qid` and `query`/`contents`/`title` are accepted), TSV (`qid<TAB>text`), TREC topic
    files (`<num>`, `<title>`), Pyserini's JSON topics (`{qid: {"title": …}}`), each also compressed, a BEIR folder (its
    `queries.jsonl`), `ir_datasets:NAME`, and names that Pyserini knows (`msmarco-passage-dev-subset`; it downloads them).

    Raises:
        InputError: Malformed line, missing or duplicate id, no queries at all, no such file or name.
    """
    seen, count = Duplicates("query id"), 0
    for path, line, query in _read(topics):
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
        InputError: A TSV query holds a tab or a line end.
    """
    if Path(path).suffix != ".tsv":
        return write_objects(path, ({"_id": query.qid, "text": query.text} for query in queries))
    from gradir.data.atomic import new_text

    count = 0
    with new_text(path) as stream:
        for query in queries:
            if re.search(r"[\t\r\n]", query.text):
                raise InputError(path, f"query {query.qid} holds a tab or line end", "Write a .jsonl file instead")
            stream.write(f"{query.qid}\t{query.text}\n")
            count += 1
    return count


def _read(topics: str | Path) -> Iterator[tuple[Path, int, Query]]:
    if named.is_ir_datasets(topics):
        yield from ((Path(str(topics)), n, q) for n, q in enumerate(named.ir_datasets_topics(str(topics)), 1))
        return
    path = Path(topics)
    if path.is_dir():
        path = path / "queries.jsonl"
    elif not path.exists() and not path.suffix:
        yield from ((path, n, q) for n, q in enumerate(named.pyserini_topics(str(topics)), 1))
        return
    yield from ((path, line, query) for line, query in _READERS.get(suffix(path), _read_jsonl)(path))


def _read_jsonl(path: Path) -> Iterator[tuple[int, Query]]:
    for line, value in read_objects(path):
        qid = text_field(path, line, value, ("_id", "id", "qid", "query_id"))
        yield line, Query(qid, text_field(path, line, value, ("text", "query", "contents", "title")))


def _read_tsv(path: Path) -> Iterator[tuple[int, Query]]:
    lines = Lines(path)
    for text in lines:
        qid, tab, query = text.partition("\t")
        if not tab:
            raise lines.fail("no tab", "Expected qid<TAB>text")
        yield lines.number, Query(qid, query)


def _read_json(path: Path) -> Iterator[tuple[int, Query]]:
    """Pyserini's form, one object for all topics; the title is the query."""
    text = "\n".join(Lines(path))
    try:
        topics = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", "JSON Lines must end in .jsonl", error.lineno) from None
    if not isinstance(topics, dict):
        raise InputError(path, "not an object of topics", 'Expected {"qid": {"title": "text"}, …}')
    for qid, fields in topics.items():
        yield 1, Query(str(qid), fields if isinstance(fields, str) else text_field(path, 1, fields, ("title", "text")))


def _read_trec(path: Path) -> Iterator[tuple[int, Query]]:
    """`<top> <num> Number: 301 <title> words … </top>`; other fields (`<desc>`, `<narr>`) are not read.

    A `.txt` or `.topics` file without `<top>` is read as TSV.
    """
    text = "\n".join(Lines(path))
    if "<top>" not in text:
        yield from _read_tsv(path)
        return
    for match in re.finditer(r"<top>(.*?)</top>", text, flags=re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", match[1])
        title = re.search(r"<title>\s*(?:Topic:)?\s*([^<]*)", match[1])
        if not number or not title:
            raise InputError(path, "a topic without <num> or <title>", "Mend the topic", line)
        yield line, Query(number[1], " ".join(title[1].split()))


_READERS = {".tsv": _read_tsv, ".json": _read_json} | dict.fromkeys(_TREC_ENDINGS, _read_trec)
