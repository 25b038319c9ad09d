"""How the lists of one query differ in two runs: the facts from which causes are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradir.data import Hit

_STEP = 1e-6  # by which Anserini and gradir lower each further one of equal scores


@dataclass(frozen=True)
class Difference:
    """One query in two runs. "Equal" scores are those that tie-breaking and single precision may have moved apart.

    Attributes:
        qid: The query.
        sizes: Documents in A and in B.
        same: Whether documents, order and scores are the same to the last digit.
        overlap: Share of the first ten documents of A or B that both have.
        tau: Kendall's tau-b between the scores of the documents that both have; 1 where there are fewer than two.
        largest: The largest difference of a score.
        changed: Documents in both whose scores are not equal.
        unchanged: Documents in both whose scores are equal.
        reordered: Whether the documents that both have stand in another order.
        only_ties: Whether each document stands where one of equal score stands in the other run, the last rank included.
        own: Whether a document with the id of the query is in A, and in B.
        is_cut: Whether the shorter list is the beginning of the longer one.
        scores: Scores of `changed` and `unchanged` in A and in B, float64 [2, N].
        decimals: Digits behind the point that the scores of A, and of B, need at most.
    """

    qid: str
    sizes: tuple[int, int]
    same: bool
    overlap: float
    tau: float
    largest: float
    changed: list[str]
    unchanged: list[str]
    reordered: bool
    only_ties: bool
    own: tuple[bool, bool]
    is_cut: bool
    scores: NDArray[np.float64]
    decimals: tuple[int, int]

    @property
    def scores_equal(self) -> bool:
        """Whether all documents that both have, if any, have equal scores."""
        return not self.changed and bool(self.unchanged)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Scores in B by scores in A, without those where A has 0."""
        a, b = self.scores
        return np.divide(b, a, where=a != 0, out=np.full_like(a, np.nan))[a != 0]

    @property
    def shift(self) -> NDArray[np.float64]:
        """Scores in B minus scores in A."""
        return self.scores[1] - self.scores[0]


def difference(qid: str, a: Sequence[Hit], b: Sequence[Hit]) -> Difference:
    """Compare the hits of a query, both in the order in which trec_eval reads them."""
    in_a, in_b = dict(a), dict(b)
    common = [docid for docid in in_a if docid in in_b]
    scores = np.array([[in_a[docid] for docid in common], [in_b[docid] for docid in common]], np.float64)
    tolerance = 2 * _step(scores[0])
    untied = [_untied(hits) for hits in (a, b)]
    level = np.array([[scored[docid] for docid in common] for scored in untied], np.float64)
    equal = np.abs(level[1] - level[0]) <= tolerance
    places = {docid: place for place, docid in enumerate(docid for docid in in_b if docid in in_a)}
    order = np.array([places[docid] for docid in common], dtype=np.int64)
    return Difference(
        qid=qid,
        sizes=(len(a), len(b)),
        same=list(a) == list(b),
        overlap=_overlap(a, b),
        tau=_tau(scores),
        largest=float(np.abs(scores[1] - scores[0]).max(initial=0)),
        changed=[docid for docid, is_equal in zip(common, equal, strict=True) if not is_equal],
        unchanged=[docid for docid, is_equal in zip(common, equal, strict=True) if is_equal],
        reordered=bool((np.diff(order) < 0).any()),
        only_ties=bool((np.abs(level[0] - level[0][order]) <= tolerance).all()) and _tied_at_the_end(a, b),
        own=(qid in in_a, qid in in_b),
        is_cut=_is_cut(a, b),
        scores=scores,
        decimals=(_decimals(a), _decimals(b)),
    )


def _step(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the next one of equal scores is lowered: six decimals, or single precision."""
    return np.maximum(_STEP, np.spacing(np.abs(scores).astype(np.float32)).astype(np.float64))


def _untied(hits: Sequence[Hit]) -> dict[str, float]:
    """`{docid: score}` with those that follow each other by single steps raised to the first of them again."""
    scores = np.array([hit.score for hit in hits], np.float64)
    first = np.ones(len(scores), dtype=bool)
    first[1:] = scores[:-1] - scores[1:] > 1.5 * _step(scores[:-1])
    return dict(zip((hit.docid for hit in hits), scores[first][np.cumsum(first) - 1].tolist(), strict=True))


def _overlap(a: Sequence[Hit], b: Sequence[Hit], depth: int = 10) -> float:
    first, second = ({hit.docid for hit in hits[:depth]} for hits in (a, b))
    longest = max(len(first), len(second))
    return len(first & second) / longest if longest else 1.0


def _tau(scores: NDArray[np.float64]) -> float:
    if scores.shape[1] < 2:
        return 1.0
    from scipy.stats import kendalltau

    value = float(kendalltau(scores[0], scores[1]).statistic)
    return 1.0 if np.isnan(value) else value  # all scores of a run are one


def _tied_at_the_end(a: Sequence[Hit], b: Sequence[Hit]) -> bool:
    """Whether documents that one run lacks have the score of the last rank in both, where the lists were cut."""
    if len(a) != len(b):
        return False
    scores = [_untied(hits) for hits in (a, b)]
    missing = [[score[docid] for docid in score if docid not in other] for score, other in (scores, scores[::-1])]
    apart = [score for side in missing for score in side]
    if not apart:
        return True
    apart += [scores[0][a[-1].docid], scores[1][b[-1].docid]]
    return max(apart) - min(apart) <= 2 * float(_step(np.array(apart)).max())


def _is_cut(a: Sequence[Hit], b: Sequence[Hit]) -> bool:
    """Whether the longer list, cut to the length of the shorter, has its documents or others of equal score."""
    shorter, longer = sorted((a, b), key=len)
    return 0 < len(shorter) < len(longer) and (
        [hit.docid for hit in shorter] == [hit.docid for hit in longer[: len(shorter)]]
        or _tied_at_the_end(shorter, longer[: len(shorter)])
    )


def _decimals(hits: Sequence[Hit]) -> int:
    """Digits behind the point, at most six, that every score needs."""
    scores = np.array([hit.score for hit in hits], np.float64)
    for digits in range(6):
        if np.abs(scores - np.round(scores, digits)).max(initial=0) < _STEP / 2:
            return digits
    return 6
