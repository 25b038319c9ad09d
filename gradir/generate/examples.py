"""Few-shot examples: given in a file, drawn from judgements, or from queries that were generated before."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gradir.data.jsonl import read_objects, text_field
from gradir.data.list_order import salt
from gradir.data.qrels import read_qrels
from gradir.data.text import suffix
from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError

_BEST = 3  # grade of the document that a query was written to fit
_SPARE = 64  # pairs looked at for each example wanted: some have no text, or share a query or a document


class Example(NamedTuple):
    """An example: slot -> text, and where it comes from; ids are empty where it comes from nowhere."""

    values: Mapping[str, str]
    qid: str = ""
    docid: str = ""
    grade: int = 1


class Pair(NamedTuple):
    """A query and a document that is relevant to it; the query's text where it is known already."""

    qid: str
    docid: str
    grade: int
    query: str | None = None


def read_examples(source: str, texts: Texts, topics: str | None, shots: int, seed: int) -> list[Example]:
    """Some examples, the same for all requests.

    Args:
        source: A JSON Lines file, each line with `query` and `document` and any other slots that the prompt shows, optionally `qid`
            and `docid`; or a folder that `gradir generate queries` or `filter` wrote, of whose graded queries those of grade 3
            are examples; or judgements (BEIR, TREC,
            `ir_datasets:NAME`, a name that Pyserini knows): of each query the documents of its best grade are examples.
        texts: Where documents are, by id.
        topics: The queries of judgements; None: of the BEIR folder in which the judgements stand.
        shots: How many.
        seed: Of the draw. No two examples share a query or a document. Which are drawn does not depend on the order of the file.

    Raises:
        InputError: Fewer than `shots` examples, or a line that cannot be used.
    """
    path = Path(source)
    if path.is_file() and suffix(path) == ".jsonl":
        found = _given(path, shots, seed)
    elif (path / "records.jsonl").is_file():
        found = list(_drawn(_generated(path / "records.jsonl"), texts, {}, shots, seed))
    else:
        found = _judged(source, texts, topics, shots, seed)
    if len(found) < shots:
        raise InputError(source, f"has {len(found)} examples for --shots {shots}", "Take fewer")
    return found


def example_files(source: str, topics: str | None) -> list[str | Path]:
    """The files that `read_examples` reads, besides the corpus: inputs of the manifest."""
    path = Path(source)
    if path.is_file() and suffix(path) == ".jsonl":
        return [path]
    if (path / "records.jsonl").is_file():
        return [path / "records.jsonl"]
    found = _topics(source, topics)
    queries = Path(found) / "queries.jsonl"
    return [source, queries if queries.exists() else found]


def _given(path: Path, shots: int, seed: int) -> list[Example]:
    """The lines of a file; where there are more than wanted some are drawn, and stay in order."""
    found = []
    for line, value in read_objects(path):
        texts = {name: text_field(path, line, value, (name,)) for name in ("document", "query")}
        texts |= {name: text for name, text in value.items() if isinstance(text, str)}
        found.append(Example(texts, texts.pop("qid", ""), texts.pop("docid", "")))
    chosen = heapq.nsmallest(shots, range(len(found)), key=lambda i: salt(seed, "example", i))
    return [found[i] for i in sorted(chosen)]


def _judged(source: str, texts: Texts, topics: str | None, shots: int, seed: int) -> list[Example]:
    pairs = (
        Pair(qid, docid, grade)
        for qid, of in read_qrels(source).items()
        for docid, grade in of.items()
        if grade >= 1 and grade == max(of.values())
    )
    few = _first(pairs, shots, seed)
    wanted = {pair.qid for pair in few}
    queries = {query.qid: query.text for query in read_topics(_topics(source, topics)) if query.qid in wanted}
    return list(_drawn(few, texts, queries, shots, seed))


def _topics(source: str, topics: str | None) -> str:
    """The queries that belong to judgements."""
    if topics is not None:
        return topics
    folder = Path(source).parent.parent
    if (folder / "queries.jsonl").exists():
        return str(folder)
    raise GradirError(f"--examples {source}: judgements need the texts of their queries. Give --topics.")


def _generated(path: Path) -> Iterator[Pair]:
    for line, value in read_objects(path):
        qid, docid, query = (text_field(path, line, value, (name,)) for name in ("qid", "docid", "query"))
        if value.get("grade", _BEST) == _BEST:
            yield Pair(qid, docid, _BEST, query)


def _first(pairs: Iterable[Pair], shots: int, seed: int) -> list[Pair]:
    """Those that come up first by the seed, more than are needed."""
    return heapq.nsmallest(
        shots * _SPARE, pairs, key=lambda pair: (salt(seed, "example", pair.qid, pair.docid), pair[:2])
    )


def _drawn(pairs: Iterable[Pair], texts: Texts, queries: Mapping[str, str], shots: int, seed: int) -> Iterator[Example]:
    """As many as are wanted, with distinct queries and documents, both with a text."""
    seen: set[str] = set()
    for pair in _first(pairs, shots, seed):
        query = queries.get(pair.qid, "") if pair.query is None else pair.query
        keys = {f"q {query.casefold()}", f"d {pair.docid}"}
        if len(seen) >= 2 * shots:
            return
        if seen & keys or not query.strip() or pair.docid not in texts:
            continue
        document = texts.contents(pair.docid)
        if document.strip():
            seen |= keys
            yield Example({"document": document, "query": query}, pair.qid, pair.docid, pair.grade)
