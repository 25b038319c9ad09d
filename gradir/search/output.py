"""What becomes of rankings: hits left out, passages made documents, and the lines of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

import numpy as np

from gradir.data.atomic import new_text
from gradir.data.ids import check_id
from gradir.data.records import Ranking
from gradir.data.runs import run_writer

Format = Literal["trec", "msmarco"]


@dataclass(frozen=True)
class Keep:
    """Which hits of a query are kept.

    Attributes:
        hits: At most so many, of passages too.
        remove_query: The document whose id is the query's is left out.
        delimiter: Hits are passages, and a document is what its passages' ids have before this; None: hits are documents.
        documents: At most so many of these.
    """

    hits: int
    remove_query: bool = False
    delimiter: str | None = None
    documents: int = 100

    @property
    def asked(self) -> int:
        """How many hits to search for, so that enough are left."""
        return self.hits + self.remove_query

    def __call__(self, qid: str, ranking: Ranking) -> Ranking:
        """The hits kept of one query."""
        if self.remove_query and qid in ranking.docids:
            kept = [place for place, docid in enumerate(ranking.docids) if docid != qid]
            ranking = Ranking([ranking.docids[place] for place in kept], ranking.scores[kept])
        if len(ranking.docids) > self.hits:
            ranking = Ranking(ranking.docids[: self.hits], ranking.scores[: self.hits])
        return self._documents(qid, ranking) if self.delimiter is not None else ranking

    def _documents(self, qid: str, passages: Ranking) -> Ranking:
        """Each document with the score of its best passage."""
        first: dict[str, int] = {}
        for place, docid in enumerate(passages.docids):
            first.setdefault(docid.partition(self.delimiter or "")[0], place)
        if self.remove_query:
            first.pop(qid, None)
        scores = passages.scores.tolist()
        # Ties of passages stand in the order of their ids, which need not be that of the documents.
        best = sorted(first.items(), key=lambda item: (-scores[item[1]], item[0]))[: self.documents]
        return Ranking([docid for docid, _ in best], passages.scores[np.array([place for _, place in best], np.int64)])


class Writer(Protocol):
    """A run being written."""

    queries: int
    lines: int

    def write_ranking(self, qid: str, ranking: Ranking) -> None:
        """Write the hits of one query."""


class MsMarcoWriter:
    """`qid<TAB>docid<TAB>rank`, as MS MARCO's own evaluation reads it."""

    def __init__(self, path: Path, stream: IO[str]):
        self.path, self.stream = path, stream
        self.queries = self.lines = 0

    def write_ranking(self, qid: str, ranking: Ranking) -> None:
        """Write the hits of one query in their order.

        Raises:
            InputError: An id holds white space.
        """
        check_id(self.path, self.lines + 1, qid, "query id")
        for rank, docid in enumerate(ranking.docids, 1):
            check_id(self.path, self.lines + rank, docid, "document id")
            self.stream.write(f"{qid}\t{docid}\t{rank}\n")
        self.queries += 1
        self.lines += len(ranking.docids)


@contextmanager
def open_writer(output: Path, format: Format, tag: str) -> Iterator[Writer]:
    """A writer of the run, which appears when the block ends well."""
    if format == "trec":
        with run_writer(output, tag) as writer:
            yield writer
        return
    with new_text(output) as stream:
        yield MsMarcoWriter(output, stream)
