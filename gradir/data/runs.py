"""TREC runs: six columns, read as trec_eval reads them, written so that every tool sees the written order.

trec_eval ignores the rank column and sorts by score, then by docid *descending*, and it holds scores in single precision.
The writer therefore orders ties by docid ascending and lowers each further one by 1e-6, as Anserini's
ScoreTiesAdjusterReranker does, or by the smallest step of single precision where that is larger (scores above 16).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np

from gradir.data.atomic import new_text
from gradir.data.ids import check_id
from gradir.data.records import Hit, Ranking
from gradir.data.text import Lines
from gradir.errors import InputError

_STEP = 1e-6  # the last of six decimals
_LARGEST = 1e38  # trec_eval's single precision ends at 3.4e38


def iter_run(path: str | Path) -> Iterator[tuple[str, list[Hit]]]:
    """(qid, hits) of each query in file order, hits by score descending then docid descending (trec_eval's order).

    Holds one query at a time in memory.

    Raises:
        InputError: Wrong number of columns, a score that is no finite number, a document twice for one query, the lines of
            one query not together, no lines at all.
    """
    lines = Lines(path)
    done: set[str] = set()
    for qid, rows in groupby(_rows(lines), key=lambda row: row[0]):
        if qid in done:
            raise lines.fail(f"the lines of query {qid} are not together", f"Sort the run: sort -s -k1,1 {path}")
        done.add(qid)
        hits: dict[str, float] = {}
        for _, docid, score in rows:
            if docid in hits:
                raise lines.fail(f"document {docid} twice for query {qid}", "Keep the line with the higher score")
            hits[docid] = score
        ordered = sorted(((score, docid) for docid, score in hits.items()), reverse=True)
        yield qid, [Hit(docid, score) for score, docid in ordered]
    if not done:
        raise InputError(path, "is an empty run", "Did the search end well?")


def read_run(path: str | Path) -> dict[str, list[Hit]]:
    """The whole run in memory, `{qid: hits}`, each as `iter_run` gives it."""
    return dict(iter_run(path))


def side_by_side(runs: Sequence[str | Path], depth: int | None = None) -> Iterator[tuple[str, list[list[Hit]]]]:
    """(qid, its hits in each run) of every query: those of the first run in its order, then those that only later runs have.

    Runs with the same queries in the same order are read with one query in memory; otherwise queries are kept until their turn.

    Args:
        runs: Run files.
        depth: Hits taken from each run per query; None takes all.
    """
    readers = [_Reader(path, depth) for path in runs]
    for reader in readers:
        while (qid := reader.first()) is not None:
            yield qid, [other.take(qid) for other in readers]


class _Reader:
    """A run that is asked for queries by id; those it passes on the way are kept."""

    def __init__(self, path: str | Path, depth: int | None):
        self.queries, self.depth = iter_run(path), depth
        self.kept: dict[str, list[Hit]] = {}

    def first(self) -> str | None:
        """The first query in file order that nobody has taken."""
        if not self.kept:
            self._read()
        return next(iter(self.kept), None)

    def take(self, qid: str) -> list[Hit]:
        """The hits of a query, once; none if it is not there."""
        while qid not in self.kept:
            if not self._read():
                return []
        return self.kept.pop(qid)

    def _read(self) -> bool:
        for qid, hits in self.queries:
            self.kept[qid] = hits[: self.depth]
            return True
        return False


def _rows(lines: Lines) -> Iterator[tuple[str, str, float]]:
    for text in lines:
        columns = text.split()
        if not columns:
            continue
        if len(columns) != 6:
            problem = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise lines.fail(problem, "Expected: qid Q0 docid rank score tag")
        try:
            score = math.nan if "_" in columns[4] else float(columns[4])  # 1_0 is Python's own
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise lines.fail(f"score {columns[4]!r} is not a finite number", "Search again, or remove the line")
        yield columns[0], columns[2], score


def separate_ties(hits: Iterable[Hit]) -> list[Hit]:
    """Hits in written order with strictly falling scores of at most six decimals.

    Order: score descending, then docid ascending. A score that, written with six decimals and read in single or double
    precision, would not lie below its predecessor is lowered until it does; two different scores never swap or become equal.
    """
    # float(): minus an unsigned NumPy integer is a large one
    ordered = sorted(((-float(score), docid) for docid, score in hits))
    separated: list[Hit] = []
    last = math.inf
    for negative, docid in ordered:
        written = _six_decimals(-negative)
        if not _is_below(written, last):
            written = _next_below(last)
        separated.append(Hit(docid, written))
        last = written
    return separated


def _six_decimals(score: float) -> float:
    """What a reader makes of the written score; never -0."""
    return float(f"{score:.6f}") + 0.0


def _is_below(written: float, last: float) -> bool:
    """Whether single precision, too, sees `written` below `last`."""
    if last - written > 2.4e-7 * abs(last) and math.isfinite(last):
        return True  # more than two steps of single precision apart: most pairs, and cheap to see
    return ctypes.c_float(written).value < ctypes.c_float(last).value


def _next_below(last: float) -> float:
    """The largest step down from `last` that shows: 1e-6, else the steps of single precision."""
    written, single = _six_decimals(last - _STEP), np.float32(last)
    while not _is_below(written, last):
        single = np.nextafter(single, np.float32(-math.inf))
        written = _six_decimals(float(single))
    return written


class RunWriter:
    """Writes queries one after another; made by `run_writer`."""

    def __init__(self, path: Path, stream: IO[str], tag: str):
        self.path, self.stream, self.tag = path, stream, tag
        self.queries = self.lines = 0
        self._done: set[str] = set()

    def write(self, qid: str, hits: Sequence[Hit]) -> None:
        """Write the hits of one query, ties separated.

        Raises:
            InputError: An id holds white space, a score is not finite, a document or the query comes a second time.
        """
        check_id(self.path, self.lines + 1, qid, "query id")
        if qid in self._done:
            raise InputError(self.path, f"query {qid} was written before", "Give each query once", self.lines + 1)
        self._done.add(qid)
        for docid, score in hits:
            if not abs(score) < _LARGEST:  # NaN is not below anything
                problem = f"query {qid}, document {docid}: score {score}"
                raise InputError(self.path, problem, "Check the vectors for NaN", self.lines + 1)
        separated = separate_ties(hits)
        if len({hit.docid for hit in separated}) < len(separated):
            problem = f"query {qid} has a document twice"
            raise InputError(self.path, problem, "Keep its highest score", self.lines + 1)
        for rank, (docid, score) in enumerate(separated, 1):
            check_id(self.path, self.lines + rank, docid, "document id")
            self.stream.write(f"{qid} Q0 {docid} {rank} {score:.6f} {self.tag}\n")
        self.queries += 1
        self.lines += len(separated)

    def write_ranking(self, qid: str, ranking: Ranking) -> None:
        """As `write`, from columns."""
        self.write(qid, ranking.hits())


@contextmanager
def run_writer(path: str | Path, tag: str) -> Iterator[RunWriter]:
    """A writer of the run at `path`, which appears when the block ends well.

    Args:
        path: The run file.
        tag: The sixth column, without white space.
    """
    if tag.split() != [tag]:
        raise InputError(path, f"run tag {tag!r} is empty or holds white space", "Choose another tag")
    with new_text(path) as stream:
        yield RunWriter(Path(path), stream, tag)
