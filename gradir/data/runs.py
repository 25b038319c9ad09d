"""TREC runs: six columns, read as trec_eval reads them, written so that every tool sees the written order.

trec_eval ignores the rank column and sorts by score, then by docid *descending*. The writer therefore orders ties by
docid ascending and lowers each further one by 1e-6, as Anserini's ScoreTiesAdjusterReranker does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO

from gradir.data.atomic import new_text
from gradir.data.ids import check_id
from gradir.data.records import Hit
from gradir.data.text import Lines
from gradir.errors import InputError

_STEP = 1e-6  # the last of six decimals


def iter_run(path: str | Path) -> Iterator[tuple[str, list[Hit]]]:
    """(qid, hits) of each query in file order, hits by score descending then docid descending (trec_eval's order).

    Holds one query at a time in memory.

    Raises:
        InputError: Wrong number of columns, a score that is no finite number, a document twice for one query, the lines of
            one query not together, no lines at all.
    """
    lines, done = Lines(path), set()
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


def _rows(lines: Lines) -> Iterator[tuple[str, str, float]]:
    for text in lines:
        columns = text.split()
        if len(columns) != 6:
            raise lines.fail(f"{len(columns)} columns", "Expected: qid Q0 docid rank score tag")
        try:
            score = float(columns[4])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise lines.fail(f"score {columns[4]!r} is not a finite number", "Search again, or remove the line")
        yield columns[0], columns[2], score


def separate_ties(hits: Iterable[Hit]) -> list[Hit]:
    """Hits in written order with strictly falling scores of at most six decimals.

    Order: score descending, then docid ascending. A score that, written with six decimals, would not lie below its
    predecessor is lowered to 1e-6 below it; two different scores never swap or become equal.
    """
    ordered = sorted(hits, key=lambda hit: (-hit.score, hit.docid))
    separated: list[Hit] = []
    last = math.inf
    for docid, score in ordered:
        written = round(score, 6)
        if written >= last:
            written = round(last - _STEP, 6)
            if written >= last:  # beyond 2**33 or so a float has no room for the step
                written = math.nextafter(last, -math.inf)
        separated.append(Hit(docid, written))
        last = written
    return separated


class RunWriter:
    """Writes queries one after another; made by `run_writer`."""

    def __init__(self, path: Path, stream: IO[str], tag: str):
        self.path, self.stream, self.tag = path, stream, tag
        self.queries = self.lines = 0

    def write(self, qid: str, hits: Sequence[Hit]) -> None:
        """Write the hits of one query, ties separated.

        Raises:
            InputError: An id holds white space, or a score is not finite.
        """
        check_id(self.path, self.lines + 1, qid, "query id")
        for docid, score in hits:
            if not math.isfinite(score):
                raise InputError(
                    self.path, f"query {qid}, document {docid}: score {score}", "Check the vectors for NaN"
                )
        for rank, (docid, score) in enumerate(separate_ties(hits), 1):
            check_id(self.path, self.lines + rank, docid, "document id")
            self.stream.write(f"{qid} Q0 {docid} {rank} {score:.6f} {self.tag}\n")
        self.queries += 1
        self.lines += len(hits)


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
