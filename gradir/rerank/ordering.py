"""New scores for the documents of a query: those of a cross-encoder above, the rest below in the order it had."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gradir.data.records import Ranking


class Scorer(Protocol):
    """What scores texts: `gradir.engine.cross_encoder.Reranker`."""

    documents: int

    def score(
        self, texts: Sequence[tuple[str, ...]], progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]: ...


class Candidates(NamedTuple):
    """One query with its run's documents.

    Attributes:
        qid: Its id.
        query: Its text.
        docids: All documents of the run for it, best first.
        texts: The texts of the first of them, which are to be reranked.
    """

    qid: str
    query: str
    docids: Sequence[str]
    texts: Sequence[str]


def reranked(
    scorer: Scorer, window: Sequence[Candidates], progress: Callable[[int], object] | None = None
) -> Iterator[tuple[str, Ranking]]:
    """(qid, new ranking) of each query of a window, whose texts are scored together."""
    asked = [texts for one in window for texts in _asked(one, scorer.documents)]
    scores = scorer.score(asked, progress)
    start = 0
    for one in window:
        count = len(one.texts) if scorer.documents == 1 else len(one.texts) * (len(one.texts) - 1)
        found = scores[start : start + count].astype(np.float64)
        start += count
        best = found if scorer.documents == 1 else symmetric_sums(found, len(one.texts))
        yield one.qid, _above(one.docids, best)


def _asked(one: Candidates, documents: int) -> list[tuple[str, ...]]:
    """What is scored for a query: it with each document, or with each document and each other one."""
    if documents == 1:
        return [(one.query, text) for text in one.texts]
    places = range(len(one.texts))
    return [(one.query, one.texts[i], one.texts[j]) for i in places for j in places if i != j]


def symmetric_sums(probabilities: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """SYM-SUM (Pradeep et al., arXiv 2101.05667): s_i = sum over j != i of p_ij + (1 - p_ji), [count].

    Args:
        probabilities: That i is more relevant than j, for each i all j != i in order, [count x (count - 1)].
        count: Number of documents.
    """
    table = np.zeros((count, count))
    table[~np.eye(count, dtype=bool)] = probabilities
    return table.sum(1) + (count - 1) - table.sum(0)


def _above(docids: Sequence[str], scores: NDArray[np.float64]) -> Ranking:
    """The first documents with their new scores, the others below the lowest of these, each 1 lower than the one before."""
    below = scores.min(initial=np.inf) - np.arange(1.0, len(docids) - len(scores) + 1)
    return Ranking(docids, np.concatenate([scores, below]))
