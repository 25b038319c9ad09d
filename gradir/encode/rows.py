"""What is to be encoded: rows of a corpus or of topics, a shard of them, cut into windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from gradir.errors import GradirError

Side = Literal["query", "passage"]
Span = tuple[int, int | None]


class Row(NamedTuple):
    """One text.

    Attributes:
        id: Of the document or query.
        text: What the encoder takes: a text, or the fields that one of Pyserini's own encoders asks for.
        contents: The text as Pyserini's formats keep it.
    """

    id: str
    text: Any
    contents: str


Window = tuple[int, list[Row]]  # its place, and its rows


class Source(Protocol):
    """Where rows come from. A worker process gets it pickled and reads for itself."""

    @property
    def side(self) -> Side: ...

    def files(self) -> list[str | Path]:
        """The files that decide the rows."""

    def rows(self) -> Iterator[Row]:
        """The rows in order, from the start each time."""

    def total(self) -> int | None:
        """How many rows there are, where that can be told quickly."""


@dataclass(frozen=True)
class Texts:
    """A corpus or topics in any form that gradir reads.

    Attributes:
        path: File, folder or name.
        side: `passage`: it is a corpus; `query`: topics.
        span: The rows taken: from, and up to but without.
    """

    path: str
    side: Side
    span: Span = (0, None)

    def files(self) -> list[str | Path]:
        """Of a BEIR folder only what is read."""
        from gradir.data.corpus import corpus_files

        if self.side == "passage":
            return list(corpus_files(self.path))
        queries = Path(self.path) / "queries.jsonl"
        return [queries if queries.exists() else self.path]

    def rows(self) -> Iterator[Row]:
        """The rows of the span, in file order."""
        from gradir.data.corpus import read_corpus
        from gradir.data.topics import read_topics

        if self.side == "query":
            return (Row(query.qid, query.text, query.text) for query in islice(read_topics(self.path), *self.span))
        documents = islice(read_corpus(self.path), *self.span)
        return (Row(document.docid, document.contents, document.contents) for document in documents)

    def total(self) -> int | None:
        """Counted in topics; in a corpus the lines of plain files."""
        from gradir.data.corpus import count_documents
        from gradir.data.topics import read_topics

        return within(
            count_documents(self.path) if self.side == "passage" else sum(1 for _ in read_topics(self.path)), self.span
        )


def within(total: int | None, span: Span) -> int | None:
    """How many of `total` rows a span takes."""
    start, stop = span
    if total is None:
        return None
    return max(0, (total if stop is None else min(total, stop)) - start)


def taken(source: Any, limit: int | None = None, shard_id: int = 0, shard_num: int = 1) -> Any:
    """The source with the span of a shard: contiguous, all of one size but the last, which takes the rest (as in Pyserini).

    Args:
        source: A source with a `span` of everything.
        limit: Only the first so many rows count.
        shard_id: From 0.
        shard_num: Of several shards all rows are counted first: a pass over the input, without a model.

    Raises:
        GradirError: A number out of range, or more shards than rows.
    """
    from gradir.data.spans import check_shard, shard_span

    if limit is not None and limit < 1:
        raise GradirError(f"--limit {limit}: give a number above 0.")
    check_shard(shard_id, shard_num)
    whole = replace(source, span=(0, limit))
    if shard_num == 1:
        return whole
    return replace(source, span=shard_span(sum(1 for _ in whole.rows()), shard_id, shard_num))


def windows(rows: Iterator[Row], size: int) -> Iterator[Window]:
    """Windows of `size` rows, the last one shorter, with their places."""
    return enumerate(iter(lambda: list(islice(rows, size)), []))
