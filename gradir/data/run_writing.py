"""Writing TREC runs: six columns, so that every tool sees the written order.

trec_eval ignores the rank column and sorts by score, then by docid *descending*, and it holds scores in single precision.
The writer therefore orders ties by docid ascending and lowers each further one by 1e-6, as Anserini's
ScoreTiesAdjusterReranker does, or by the smallest step of single precision where that is larger (scores above 16).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.atomic import new_text
from gradir.data.ids import check_id
from gradir.data.records import Hit, Ranking
from gradir.errors import InputError

_STEP = 1e-6  # the last of six decimals
_LARGEST = 1e38  # trec_eval's single precision ends at 3.4e38
_EXACT = 2.0**23  # below it a score in millionths is a whole number that double precision holds with room for its half


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


def in_written_order(docids: Sequence[str], scores: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Hits in columns, [k] each, by score descending, then docid ascending."""
    docids = list(docids)
    if not (scores[1:] <= scores[:-1]).all():
        order = np.argsort(-scores, kind="stable")
        docids, scores = [docids[i] for i in order.tolist()], scores[order]
    equal = np.r_[False, scores[1:] == scores[:-1], False]
    starts = np.flatnonzero(equal[1:] & ~equal[:-1]).tolist()
    ends = np.flatnonzero(equal[:-1] & ~equal[1:]).tolist()
    for start, end in zip(starts, ends, strict=True):
        docids[start : end + 1] = sorted(docids[start : end + 1])
    return docids, scores


def _separated(docids: Sequence[str], scores: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """`separate_ties` of columns, [k] each."""
    ordered, scores = in_written_order(docids, scores)
    quick = _lowered(scores)
    if quick is not None:
        return ordered, quick
    separated = separate_ties(Hit(docid, score) for docid, score in zip(ordered, scores.tolist(), strict=True))
    return [hit.docid for hit in separated], np.array([hit.score for hit in separated])


def _lowered(scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Falling scores as they are written, [k]; None where the rule must be followed hit by hit.

    Below 16, where single precision has steps finer than 1e-6, a hit's score is the lower of its own and its predecessor's less
    1e-6. Above 32, where its steps are wider than twice the rounding to six decimals, each of several equal scores lies one
    step of single precision under its predecessor, which holds if they then do not reach the next score.
    """
    if not len(scores) or not np.abs(scores).max() < _EXACT:
        return None
    units = _millionths(scores)
    if _falls(units):
        return units / 1e6
    small, large = np.abs(units) < 15_000_000, np.abs(units) >= 33_000_000
    places = np.arange(len(units))
    first = np.maximum.accumulate(np.where(np.r_[True, units[1:] != units[:-1]], places, 0))
    lowered = np.where(large, _single_steps(units, places - first), units)
    lowered[small] = np.minimum.accumulate(units[small] + places[small]) - places[small]
    sound = (np.abs(lowered[small]) < 16_000_000).all() and (np.abs(lowered[large]) >= 32_000_000).all()
    return lowered / 1e6 if sound and _falls(lowered) else None


def _millionths(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scores rounded to six decimals as Python writes them, times 1e6."""
    product = scores * 1e6
    units = np.rint(product)
    # a product is right to 0.001: where it lies so close to a half, its own rounding could decide
    for i in np.flatnonzero(np.abs(np.abs(product - units) - 0.5) < 0.002).tolist():
        units[i] = np.rint(float(f"{scores[i]:.6f}") * 1e6)
    return units.astype(np.int64)


def _falls(units: NDArray[np.int64]) -> bool:
    """Whether single precision sees every score below its predecessor."""
    single = (units / 1e6).astype(np.float32)
    return bool((single[1:] < single[:-1]).all())


def _single_steps(units: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Millionths lowered by so many steps of single precision. The first step may be a millionth, if that shows."""
    single = (units / 1e6).astype(np.float32)
    keys = single.view(np.int32).astype(np.int64)  # one more is the next number away from zero
    stepped = np.where(units > 0, keys - steps, keys + steps).astype(np.int32).view(np.float32)
    lowered = np.rint(stepped.astype(np.float64) * 1e6).astype(np.int64)
    shows = ((units - 1) / 1e6).astype(np.float32) < single
    return np.where(steps == 0, units, np.where((steps == 1) & shows, units - 1, lowered))


class RunWriter:
    """Writes queries one after another; made by `run_writer`."""

    def __init__(self, path: Path, stream: IO[str], tag: str):
        self.path, self.stream, self.tag = path, stream, tag
        self.queries = self.lines = 0
        self._done: set[str] = set()
        self._ranks: list[int] = []

    def write(self, qid: str, hits: Sequence[Hit]) -> None:
        """Write the hits of one query, ties separated.

        Raises:
            InputError: An id holds white space, a score is not finite, a document or the query comes a second time.
        """
        scores = np.fromiter((float(hit.score) for hit in hits), np.float64, len(hits))
        self.write_ranking(qid, Ranking([hit.docid for hit in hits], scores))

    def write_ranking(self, qid: str, ranking: Ranking, from_runs: bool = False) -> None:
        """As `write`, from columns, in any order.

        Args:
            qid: The query.
            ranking: Its hits.
            from_runs: The ids were read from runs and are distinct: they need no second look.
        """
        check_id(self.path, self.lines + 1, qid, "query id")
        if qid in self._done:
            raise InputError(self.path, f"query {qid} was written before", "Give each query once", self.lines + 1)
        self._done.add(qid)
        self._check_scores(qid, ranking)
        docids, scores = _separated(ranking.docids, np.asarray(ranking.scores, np.float64))
        if not from_runs:
            self._check_docids(qid, docids)
        self._ranks.extend(range(len(self._ranks) + 1, len(docids) + 1))
        line = f"{_literal(qid)} Q0 %s %d %.6f {_literal(self.tag)}\n"
        columns: Iterable[tuple[Any, ...]] = zip(docids, self._ranks, scores.tolist(), strict=False)
        self.stream.write(
            line * len(docids) % tuple(chain.from_iterable(columns))
        )  # a call for all lines, not for each
        self.queries += 1
        self.lines += len(docids)

    def _check_scores(self, qid: str, ranking: Ranking) -> None:
        sound = np.abs(ranking.scores) < _LARGEST  # NaN is not below anything
        if not sound.all():
            worst = int(np.argmin(sound))
            problem = f"query {qid}, document {ranking.docids[worst]}: score {ranking.scores[worst]}"
            raise InputError(self.path, problem, "Check the vectors for NaN", self.lines + 1)

    def _check_docids(self, qid: str, docids: Sequence[str]) -> None:
        if len(set(docids)) < len(docids):
            problem = f"query {qid} has a document twice"
            raise InputError(self.path, problem, "Keep its highest score", self.lines + 1)
        joined = "\n".join(docids)
        if joined.split() != list(docids) or "\0" in joined:
            for rank, docid in enumerate(docids, 1):
                check_id(self.path, self.lines + rank, docid, "document id")


def _literal(text: str) -> str:
    """Text that `%` leaves as it is."""
    return text.replace("%", "%%")


def run_tag(name: str, manifest: Mapping[str, Any]) -> str:
    """`gradir.NAME.HASH`: eight digits stand for the flags and the contents of the inputs.

    Args:
        name: A word, path or hub name.
        manifest: Of the run, as `Job` has it.
    """
    decisive = [manifest["config"], [entry.get("sha256", entry["path"]) for entry in manifest["inputs"]]]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
    return f"gradir.{'_'.join(Path(name).name.split()) or 'run'}.{digest}"


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
