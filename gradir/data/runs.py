"""TREC runs: six columns, read as trec_eval reads them (`run_reading`), written so that every tool sees the written order
(`run_writing`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from gradir.data.records import Hit, Ranking
from gradir.data.run_reading import by_lines, iter_columns
from gradir.data.run_writing import RunWriter, run_tag, run_writer, separate_ties

__all__ = [
    "RunWriter",
    "aligned",
    "iter_columns",
    "iter_rankings",
    "iter_run",
    "read_run",
    "run_tag",
    "run_writer",
    "separate_ties",
    "side_by_side",
]

_SMALL = 1 << 18  # bytes of a run that is read line by line before Arrow is imported
_T = TypeVar("_T")


def iter_run(path: str | Path) -> Iterator[tuple[str, list[Hit]]]:
    """(qid, hits) of each query in file order, hits by score descending then docid descending (trec_eval's order).

    Holds one query at a time in memory.

    Raises:
        InputError: Wrong number of columns, a score that is no finite number, a document twice for one query, the lines of
            one query not together, no lines at all.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _SMALL:
        yield from ((qid, ranking.hits()) for qid, ranking in iter_rankings(path))
    else:
        yield from ((qid, [Hit(docid, score) for score, docid in hits]) for qid, hits in by_lines(path))


def iter_rankings(path: str | Path) -> Iterator[tuple[str, Ranking]]:
    """As `iter_run`, in columns: scores are float64 [k], and of equal ones the higher docid comes first."""
    for qid, columns in iter_columns(path):
        yield qid, Ranking(columns.docids.to_pylist(), columns.scores)


def read_run(path: str | Path) -> dict[str, list[Hit]]:
    """The whole run in memory, `{qid: hits}`, each as `iter_run` gives it."""
    return dict(iter_run(path))


def side_by_side(runs: Sequence[str | Path], depth: int | None = None) -> Iterator[tuple[str, list[list[Hit]]]]:
    """(qid, its hits in each run) of every query, in the order of `aligned`.

    Args:
        runs: Run files.
        depth: Hits taken from each run per query; None takes all.
    """
    cut = [((qid, hits[:depth]) for qid, hits in iter_run(path)) for path in runs]
    for qid, found in aligned(cut):
        yield qid, [hits or [] for hits in found]


def aligned(streams: Sequence[Iterator[tuple[str, _T]]]) -> Iterator[tuple[str, list[_T | None]]]:
    """(qid, what each stream has for it or None) of every query: those of the first stream in its order, then those that only
    later streams have.

    Streams with the same queries in the same order are read with one query in memory; otherwise queries are kept until their
    turn.
    """
    readers = [_Reader(stream) for stream in streams]
    for reader in readers:
        while (qid := reader.first()) is not None:
            yield qid, [other.take(qid) for other in readers]


class _Reader(Generic[_T]):
    """A stream that is asked for queries by id; those it passes on the way are kept."""

    def __init__(self, queries: Iterator[tuple[str, _T]]):
        self.queries = queries
        self.kept: dict[str, _T] = {}

    def first(self) -> str | None:
        """The first query in file order that nobody has taken."""
        if not self.kept:
            self._read()
        return next(iter(self.kept), None)

    def take(self, qid: str) -> _T | None:
        """What there is for a query, once."""
        while qid not in self.kept:
            if not self._read():
                return None
        return self.kept.pop(qid)

    def _read(self) -> bool:
        for qid, found in self.queries:
            self.kept[qid] = found
            return True
        return False
