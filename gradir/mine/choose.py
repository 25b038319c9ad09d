"""The negatives of one query, chosen among the documents of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.mine.limits import Limits, Mask, Scores
from gradir.mine.pool import Places, Pool, Ranking, looked_up, members, pooled, ranking

if TYPE_CHECKING:
    import pyarrow as pa

    from gradir.data.run_reading import QueryColumns

# In the order in which they are looked at: a document is counted with the first that holds.
REASONS = (
    "relevant",
    "judged",
    "copy",
    "no_teacher_score",
    "margin",
    "absolute_margin",
    "max_score",
    "min_score",
    "not_picked",
)
_CODES = {reason: code for code, reason in enumerate(REASONS, 1)}  # 0: kept
_TEACHER = -1  # its number among the runs


@dataclass(frozen=True)
class Rules:
    """What makes a document a negative.

    Attributes:
        k: Negatives per query.
        first: Lowest rank of a candidate, from 1; the best of its ranks counts where several runs hold it.
        last: Highest rank of a candidate.
        pick: `top`: the best ranked ones. `random`: drawn from all that are left.
        seed: Of the draw, which depends on it and the query id alone.
        min_grade: Grade from which on a judged document is relevant.
        drop_judged: No judged document at all becomes a negative.
        limits: Rules over scores.
    """

    k: int = 8
    first: int = 1
    last: int = 200
    pick: Literal["top", "random"] = "top"
    seed: int = 13
    min_grade: int = 1
    drop_judged: bool = False
    limits: Limits = field(default_factory=Limits)


class Teacher(NamedTuple):
    """Scores of a query's documents that the limits apply to in place of the runs' own; None: it has none for this query."""

    columns: QueryColumns | None


class Mined(NamedTuple):
    """What came of one query.

    Attributes:
        docids: The negatives, best ranked first, [n].
        ranks: Their best ranks, [n].
        runs: The number of the run that has them at that rank, [n].
        scores: Their scores there, or the teacher's, [n].
        held: {positive: its score} in the first run that is not passed over, or of the teacher.
        candidates: Documents in the window of ranks.
        dropped: How many of them were dropped, for each of `REASONS`.
        missing: Some run, or the teacher, holds no positive.
    """

    docids: list[str]
    ranks: list[int]
    runs: list[int]
    scores: list[float]
    held: dict[str, float]
    candidates: int
    dropped: NDArray[np.int64]
    missing: bool


class _Mark(NamedTuple):
    """Documents that are dropped: which of those at some places of the pool (None: of all), by mask or number."""

    code: int
    places: Places | None
    which: Mask | Places


def mined(
    qid: str,
    runs: Sequence[QueryColumns | None],
    judged: Mapping[str, int],
    rules: Rules,
    teacher: Teacher | None = None,
    copies: Collection[str] = (),
) -> Mined:
    """Choose the negatives of a query.

    Args:
        qid: Its id.
        runs: Its documents in each run, best first; None where a run lacks the query.
        judged: {docid: grade}, at least one of them relevant.
        rules: What makes a negative.
        teacher: Scores that the limits apply to in place of the runs' own.
        copies: Documents that say the same as a positive.
    """
    import pyarrow as pa

    names, limits = pa.array(list(judged), pa.string()), rules.limits
    relevant = np.fromiter(judged.values(), np.int64, len(judged)) >= rules.min_grade
    rankings = [ranking(number, one, names) for number, one in enumerate(runs) if one is not None]
    deciding = rankings if teacher is None else _teacher_ranking(teacher, names)
    positives = {one.number: _positive(one, relevant, limits) for one in deciding}
    missing = not positives or None in positives.values()
    if limits.compares and limits.missing == "skip":
        rankings = [one for one in rankings if positives.get(_TEACHER if teacher else one.number) is not None]
    if not rankings:
        return Mined([], [], [], [], {}, 0, np.zeros(len(REASONS), np.int64), missing)
    pool = pooled(rankings)
    marks = _judgements(pool, rankings, relevant, rules.drop_judged)
    if copies:
        marks.append(_Mark(_CODES["copy"], None, members(pool.docids, copies)))
    if teacher:
        scores = looked_up(pool.docids, teacher.columns)
        marks.append(_Mark(_CODES["no_teacher_score"], None, np.isnan(scores)))
        marks += _forbidden(None, scores, positives.get(_TEACHER), limits)
    else:
        scores = pool.scores
        for places, one in zip(pool.places, rankings, strict=True):
            marks += _forbidden(places, one.scores, positives[one.number], limits)
    chosen, candidates, dropped = _chosen(qid, pool, marks, rules)
    docids = [pool.docids[place].as_py() for place in chosen]
    ranks, sources, found = (column[chosen].tolist() for column in (pool.ranks, pool.runs, scores))
    held = _held(deciding[0], list(judged), relevant) if deciding else {}
    return Mined(docids, ranks, sources, found, held, candidates, dropped, missing)


def _teacher_ranking(teacher: Teacher, names: pa.StringArray) -> list[Ranking]:
    return [] if teacher.columns is None else [ranking(_TEACHER, teacher.columns, names)]


def _positive(one: Ranking, relevant: Mask, limits: Limits) -> float | None:
    held = one.scores[one.known[relevant[one.judged]]]
    return limits.reference(held, int(np.count_nonzero(relevant)), one.scores)


def _held(one: Ranking, names: Sequence[str], relevant: Mask) -> dict[str, float]:
    pairs = zip(one.judged.tolist(), one.scores[one.known].tolist(), strict=True)
    return {names[which]: score for which, score in pairs if relevant[which]}


def _judgements(pool: Pool, rankings: Sequence[Ranking], relevant: Mask, drop_judged: bool) -> list[_Mark]:
    marks = []
    for places, one in zip(pool.places, rankings, strict=True):
        good = relevant[one.judged]
        marks.append(_Mark(_CODES["relevant"], places, one.known[good]))
        if drop_judged:
            marks.append(_Mark(_CODES["judged"], places, one.known[~good]))
    return marks


def _forbidden(places: Places | None, scores: Scores, positive: float | None, limits: Limits) -> Iterator[_Mark]:
    return (_Mark(_CODES[reason], places, mask) for reason, mask in limits.dropped(scores, positive))


def _chosen(qid: str, pool: Pool, marks: list[_Mark], rules: Rules) -> tuple[list[int], int, NDArray[np.int64]]:
    """(places of the negatives, candidates, how many were dropped for each reason)."""
    codes = np.zeros(len(pool.ranks), np.int8)
    for code, places, which in sorted(marks, key=itemgetter(0), reverse=True):  # the first reason is written last
        codes[which if places is None else places[which]] = code
    first, end = np.searchsorted(pool.ranks, (rules.first, rules.last + 1)).tolist()
    window = codes[first:end]
    counts = np.bincount(window, minlength=len(REASONS) + 1)
    chosen = _picked(np.flatnonzero(window == 0) + first, qid, rules).tolist()
    dropped = counts[1:]
    dropped[-1] = counts[0] - len(chosen)
    return chosen, len(window), dropped


def _picked(left: Places, qid: str, rules: Rules) -> Places:
    if rules.pick == "top" or len(left) <= rules.k:
        return left[: rules.k]
    digest = hashlib.blake2b(qid.encode(), digest_size=8).digest()
    draw = np.random.default_rng([rules.seed, int.from_bytes(digest)])
    return np.sort(draw.choice(left, rules.k, replace=False))
