"""The negatives of queries, chosen among the documents of their runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.mine.limits import Limits, Mask, Places, Scores
from gradir.mine.pool import Codes, Documents, Lines, documents, found_among, lines_of, once_each

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
_CODES = {reason: code for code, reason in enumerate(REASONS)}
_OUTSIDE = len(REASONS)  # no candidate


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
    """What came of some queries.

    Attributes:
        docids: The negatives, query by query, best ranked first, [n].
        ranks: Their best ranks, [n].
        runs: The number of the run that has them at that rank, [n].
        scores: Their scores there, or the teacher's, [n].
        bounds: Where the negatives of each query begin, and where the last one's end, [Q + 1].
        held: {positive: its score} of each query, in the one run there is or of the teacher, [Q]; empty where there are several.
        missing: Of which queries some run, or the teacher, holds no positive, [Q].
        candidates: Documents in the windows of ranks.
        dropped: How many of them were dropped, for each of `REASONS`.
    """

    docids: list[str]
    ranks: NDArray[np.int64]
    runs: NDArray[np.int64]
    scores: NDArray[np.float64]
    bounds: list[int]
    held: list[dict[str, float]]
    missing: Mask
    candidates: int
    dropped: NDArray[np.int64]


class _Judged(NamedTuple):
    """The judged documents of all queries.

    Attributes:
        names: The documents, W in all.
        relevant: Which of them are relevant, [W].
        positives: How many of each query are, [Q].
    """

    names: Documents
    relevant: Mask
    positives: NDArray[np.int64]


class _Known(NamedTuple):
    """The lines with a judged document, [h], and which of these documents are relevant, [h]."""

    at: Places
    relevant: Mask


class _Basis(NamedTuple):
    """What the limits look at: the runs themselves, or a teacher.

    Attributes:
        lines: Those of the runs, or the teacher's, [Q, P] parts.
        known: Those of them with a judged document.
        scores: The score of each line of the runs, NaN where the teacher has none, [L].
        sizes: How many lines of the runs each part is there for, [Q, P].
    """

    lines: Lines
    known: _Known
    scores: Scores
    sizes: Places


def mined(questions: Sequence[Question], rules: Rules, taught: bool = False) -> Mined:
    """Choose the negatives of some queries, all at once: a step in NumPy costs more than the numbers of one query.

    Args:
        questions: The queries, each with as many runs.
        rules: What makes a negative.
        taught: There is a teacher; for some queries it may have nothing.
    """
    judged = _judged(questions, rules.min_grade)
    lines = lines_of([one.runs for one in questions])
    known = _known(lines, judged)
    basis = _Basis(lines, known, lines.scores, lines.sizes)
    if taught:
        teacher = lines_of([[one.teacher] for one in questions])
        basis = _Basis(teacher, _known(teacher, judged), _scores_by(teacher, lines), lines.sizes.sum(1, keepdims=True))
    references = _references(basis, judged, rules.limits)  # [Q, P]
    codes = _codes(questions, lines, known, basis, references, rules)
    chosen, bounds, dropped = _chosen(questions, lines, codes, rules)
    asked = (basis.lines.sizes > 0) | taught
    return Mined(
        docids=lines.docids.take(chosen).to_pylist(),
        ranks=lines.ranks[chosen],
        runs=lines.runs(chosen),
        scores=basis.scores[chosen],
        bounds=bounds,
        held=_scores_of_positives(basis),
        missing=np.any(np.isnan(references) & asked, axis=1),
        candidates=int(dropped.sum()) + len(chosen),
        dropped=dropped,
    )


def _judged(questions: Sequence[Question], min_grade: int) -> _Judged:
    names = documents([one.judged for one in questions])
    relevant = np.array([grade for one in questions for grade in one.judged.values()]) >= min_grade
    return _Judged(names, relevant, np.bincount(names.queries[relevant], minlength=len(questions)))


def _known(lines: Lines, judged: _Judged) -> _Known:
    at, which = found_among(lines, judged.names)
    return _Known(at, judged.relevant[which])


def _references(basis: _Basis, judged: _Judged, limits: Limits) -> Scores:
    """The positive's score that belongs to each part, NaN where it holds none, [Q, P]."""
    lines, at = basis.lines, basis.known.at[basis.known.relevant]
    positives = np.repeat(judged.positives, lines.sizes.shape[1])  # [Q x P]
    found = limits.references(lines.parts[at], lines.scores[at], positives, lines.lowest().ravel())
    return found.reshape(lines.sizes.shape)


def _codes(
    questions: Sequence[Question], lines: Lines, known: _Known, basis: _Basis, references: Scores, rules: Rules
) -> Codes:
    """Why each line is no negative, the first of `REASONS` that holds, [L]."""
    limits, positives, sizes = rules.limits, references.ravel(), basis.sizes.ravel()
    reasons: list[tuple[str, Places | Mask]] = [("relevant", known.at[known.relevant])]
    if rules.drop_judged:
        reasons.append(("judged", known.at))
    if any(one.copies for one in questions):
        copies, _ = found_among(lines, documents([one.copies for one in questions]))
        reasons.append(("copy", copies))
    if basis.lines is not lines:
        reasons.append(("no_teacher_score", np.isnan(basis.scores)))
    reasons += limits.dropped(basis.scores, positives, sizes)
    codes = np.full(len(lines.scores), _CODES["not_picked"], np.uint8)
    for reason, which in reversed(reasons):  # the first is written last
        codes[which] = _CODES[reason]
    if limits.compares and limits.missing == "skip":
        codes[np.repeat(np.isnan(positives), sizes)] = _OUTSIDE
    return codes


def _scores_by(teacher: Lines, lines: Lines) -> Scores:
    """The teacher's score of each line, NaN where it has none, [L]."""
    at, which = found_among(lines, Documents(teacher.docids, teacher.queries()))
    scores = np.full(len(lines.scores), np.nan)
    scores[at] = teacher.scores[which]
    return scores


def _scores_of_positives(basis: _Basis) -> list[dict[str, float]]:
    """{positive: its score} of each query; empty where there are several runs, as their scores are not of one kind."""
    lines, at = basis.lines, basis.known.at[basis.known.relevant]
    number, runs = lines.sizes.shape
    found: list[dict[str, float]] = [{} for _ in range(number)]
    if runs == 1:
        docids, scores = lines.docids.take(at).to_pylist(), lines.scores[at].tolist()
        for query, docid, score in zip(lines.queries(at).tolist(), docids, scores, strict=True):
            found[query][docid] = score
    return found


def _chosen(
    questions: Sequence[Question], lines: Lines, codes: Codes, rules: Rules
) -> tuple[Places, list[int], NDArray[np.int64]]:
    """(lines of the negatives, where those of each query begin, how many candidates were dropped for each reason)."""
    several = lines.sizes.shape[1] > 1
    if several:
        codes = once_each(lines, codes, _OUTSIDE)
    codes[(lines.ranks < rules.first) | (lines.ranks > rules.last)] = _OUTSIDE
    left = np.flatnonzero(codes == _CODES["not_picked"])
    starts = np.concatenate([[0], np.cumsum(lines.sizes.sum(1))])  # of the lines of each query, [Q + 1]
    ends = np.searchsorted(left, starts).tolist()
    if several:
        left = left[np.argsort(lines.order()[left])]
    picked = [_picked(left[a:b], one.qid, rules) for one, (a, b) in zip(questions, pairwise(ends), strict=True)]
    bounds = [0, *accumulate(map(len, picked))]
    counts = np.array([np.count_nonzero(codes == code) for code in range(len(REASONS))])  # bincount would widen them
    counts[_CODES["not_picked"]] -= bounds[-1]
    return np.concatenate(picked), bounds, counts


def _picked(left: Places, qid: str, rules: Rules) -> Places:
    if rules.pick == "top" or len(left) <= rules.k:
        return left[: rules.k]
    digest = hashlib.blake2b(qid.encode(), digest_size=8).digest()
    draw = np.random.default_rng([rules.seed, int.from_bytes(digest)])
    return left[np.sort(draw.choice(len(left), rules.k, replace=False))]
