"""The negatives of queries, chosen among the documents of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.mine.limits import Limits, Mask, Places, Scores
from gradir.mine.pool import Documents, Lines, Pool, documents, found_among, lines_of, pooled

if TYPE_CHECKING:
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


class Question(NamedTuple):
    """One query to be mined.

    Attributes:
        qid: Its id.
        runs: Its documents in each run, best first; None where a run lacks the query.
        judged: {docid: grade}, at least one of them relevant.
        teacher: Its documents with the scores that the limits apply to in place of the runs' own, where there is a teacher.
        copies: Documents that say the same as a positive.
    """

    qid: str
    runs: Sequence[QueryColumns | None]
    judged: Mapping[str, int]
    teacher: QueryColumns | None = None
    copies: Collection[str] = ()


class Mined(NamedTuple):
    """What came of one query.

    Attributes:
        docids: The negatives, best ranked first, [n].
        ranks: Their best ranks, [n].
        runs: The number of the run that has them at that rank, [n].
        scores: Their scores there, or the teacher's, [n].
        held: {positive: its score} in the one run there is, or of the teacher; empty where there are several runs.
        missing: Some run, or the teacher, holds no positive.
    """

    docids: list[str]
    ranks: list[int]
    runs: list[int]
    scores: list[float]
    held: dict[str, float]
    missing: bool


class Block(NamedTuple):
    """What came of some queries.

    Attributes:
        mined: Of each.
        candidates: Documents in their windows of ranks.
        dropped: How many of them were dropped, for each of `REASONS`.
    """

    mined: list[Mined]
    candidates: int
    dropped: NDArray[np.int64]


class _Mark(NamedTuple):
    """Documents that are dropped: which of those at some places of the pool (None: of all), by mask or number."""

    code: int
    places: Places | None
    which: Mask | Places


class _Judged(NamedTuple):
    """The judged documents of all queries, and which of them are relevant, [W]."""

    documents: Documents
    relevant: Mask


class _Part(NamedTuple):
    """One run, or the teacher.

    Attributes:
        lines: Its lines, [L].
        known: Those with a judged document, [h].
        judged: Which judged document that is, [h].
        positives: The score that each query's are compared with, NaN where none is held, [Q].
        lacking: It has the query but none of its positives (or not even the query, as a teacher should), [Q].
    """

    lines: Lines
    known: Places
    judged: Places
    positives: Scores
    lacking: Mask

    def kept(self, mask: Mask) -> _Part:
        """Some of its lines."""
        if mask.all():
            return self
        new = np.cumsum(mask) - 1
        stays = mask[self.known]
        return _Part(self.lines.kept(mask), new[self.known[stays]], self.judged[stays], self.positives, self.lacking)


def mined(questions: Sequence[Question], rules: Rules, taught: bool = False) -> Block:
    """Choose the negatives of some queries, all at once: a step in NumPy costs more than the numbers of one query.

    Args:
        questions: The queries.
        rules: What makes a negative.
        taught: There is a teacher; for some queries it may have nothing.
    """
    judged = _judged(questions, rules)
    parts = [
        _part(number, [one.runs[number] for one in questions], judged, rules.limits)
        for number in range(len(questions[0].runs))
    ]
    teacher = _part(0, [one.teacher for one in questions], judged, rules.limits, needed=True) if taught else None
    deciding = [teacher] if teacher else parts
    missing = np.any([part.lacking for part in deciding], axis=0)
    if rules.limits.compares and rules.limits.missing == "skip":
        sound = [~np.isnan((teacher or part).positives) for part in parts]
        parts = [part.kept(known[part.lines.queries]) for part, known in zip(parts, sound, strict=True)]
    pool = pooled([part.lines for part in parts])
    marks = _judgements(pool, parts, judged, rules.drop_judged)
    if any(one.copies for one in questions):
        marks.append(_Mark(_CODES["copy"], None, found_among(pool.lines, documents([o.copies for o in questions]))[0]))
    scores = pool.lines.scores
    if teacher:
        scores = _taught(pool.lines, teacher.lines)
        marks.append(_Mark(_CODES["no_teacher_score"], None, np.isnan(scores)))
        marks += _forbidden(None, scores, teacher.positives[pool.lines.queries], rules.limits)
    else:
        for places, part in zip(pool.places, parts, strict=True):
            marks += _forbidden(places, part.lines.scores, part.positives[part.lines.queries], rules.limits)
    chosen, candidates, dropped = _chosen(questions, pool.lines, marks, rules)
    held = _held(deciding[0], judged, len(questions)) if len(deciding) == 1 else [{} for _ in questions]
    return Block(_apart(pool.lines, chosen, scores, held, missing), candidates, dropped)


def _judged(questions: Sequence[Question], rules: Rules) -> _Judged:
    grades = np.array([grade for one in questions for grade in one.judged.values()])
    return _Judged(documents([one.judged for one in questions]), grades >= rules.min_grade)


def _part(
    number: int, columns: Sequence[QueryColumns | None], judged: _Judged, limits: Limits, needed: bool = False
) -> _Part:
    lines = lines_of(number, columns)
    known, which = found_among(lines, judged.documents)
    good = judged.relevant[which]
    positives = np.bincount(judged.documents.owners[judged.relevant], minlength=len(columns))
    lowest = np.array([one.scores[-1] if one is not None else np.nan for one in columns])
    held = known[good]
    found = limits.references(lines.queries[held], lines.scores[held], positives, lowest)
    lacking = np.isnan(found) & (needed | ~np.isnan(lowest))
    return _Part(lines, known, which, found, lacking)


def _taught(lines: Lines, teacher: Lines) -> Scores:
    """The teacher's score of each line, NaN where it has none, [U]."""
    at, which = found_among(lines, Documents(teacher.docids, teacher.queries))
    scores = np.full(len(lines.scores), np.nan)
    scores[at] = teacher.scores[which]
    return scores


def _judgements(pool: Pool, parts: Sequence[_Part], judged: _Judged, drop_judged: bool) -> list[_Mark]:
    marks = []
    for places, part in zip(pool.places, parts, strict=True):
        good = judged.relevant[part.judged]
        marks.append(_Mark(_CODES["relevant"], places, part.known[good]))
        if drop_judged:
            marks.append(_Mark(_CODES["judged"], places, part.known[~good]))
    return marks


def _forbidden(places: Places | None, scores: Scores, positives: Scores, limits: Limits) -> Iterator[_Mark]:
    return (_Mark(_CODES[reason], places, mask) for reason, mask in limits.dropped(scores, positives))


def _chosen(
    questions: Sequence[Question], lines: Lines, marks: list[_Mark], rules: Rules
) -> tuple[list[Places], int, NDArray[np.int64]]:
    """(places of each query's negatives, candidates, how many were dropped for each reason)."""
    codes = np.zeros(len(lines.scores), np.int8)
    for code, places, which in sorted(marks, key=itemgetter(0), reverse=True):  # the first reason is written last
        codes[which if places is None else places[which]] = code
    window = (lines.ranks >= rules.first) & (lines.ranks <= rules.last)
    counts = np.bincount(codes[window], minlength=len(REASONS) + 1)
    left = np.flatnonzero(window & (codes == 0))
    ends = np.searchsorted(lines.queries[left], np.arange(len(questions) + 1)).tolist()
    chosen = [_picked(left[a:b], one.qid, rules) for one, (a, b) in zip(questions, pairwise(ends), strict=True)]
    dropped = counts[1:]
    dropped[-1] = counts[0] - sum(map(len, chosen))
    return chosen, int(counts.sum()), dropped


def _picked(left: Places, qid: str, rules: Rules) -> Places:
    if rules.pick == "top" or len(left) <= rules.k:
        return left[: rules.k]
    digest = hashlib.blake2b(qid.encode(), digest_size=8).digest()
    draw = np.random.default_rng([rules.seed, int.from_bytes(digest)])
    return np.sort(draw.choice(left, rules.k, replace=False))


def _held(part: _Part, judged: _Judged, queries: int) -> list[dict[str, float]]:
    """{positive: its score} of each query."""
    held: list[dict[str, float]] = [{} for _ in range(queries)]
    good = judged.relevant[part.judged]
    at = part.known[good]
    docids = part.lines.docids.take(at).to_pylist()
    columns = zip(part.lines.queries[at].tolist(), docids, part.lines.scores[at].tolist(), strict=True)
    for query, docid, score in columns:
        held[query][docid] = score
    return held


def _apart(
    lines: Lines, chosen: list[Places], scores: Scores, held: list[dict[str, float]], missing: Mask
) -> list[Mined]:
    """The outcome of each query."""
    flat = np.concatenate(chosen)
    docids = lines.docids.take(flat).to_pylist()
    ranks, runs, found = (column[flat].tolist() for column in (lines.ranks, lines.runs, scores))
    ends = [0, *accumulate(map(len, chosen))]
    return [
        Mined(docids[a:b], ranks[a:b], runs[a:b], found[a:b], known, lost)
        for (a, b), known, lost in zip(pairwise(ends), held, missing.tolist(), strict=True)
    ]
