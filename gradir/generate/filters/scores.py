"""Scores of (query, document) pairs by a reranker (InPars-v2, Jeronymo et al., arXiv 2301.01820), made here or read from a run.

InPars-v2 keeps the 10,000 queries that a reranker thinks the most relevant to the document they were made from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gradir.data.runs import iter_rankings
from gradir.errors import InputError
from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.generated import Generated, Item

_WINDOW = 512  # pairs that are scored together


class InRun(NamedTuple):
    """What a run has for the records: rank from 1 and score, NaN where it lacks the pair, [N] each; and which of their queries."""

    ranks: NDArray[np.float64]
    scores: NDArray[np.float64]
    searched: NDArray[np.bool_]


def in_run(run: Path, source: Generated, count: int) -> InRun:
    """Look up the pairs of `count` records in a run; one query of the run is in memory at a time.

    Raises:
        InputError: The run has none of the queries, or is damaged.
    """
    wanted = source.numbers()
    ranks, scores, searched = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, bool)
    for qid, (docids, values) in iter_rankings(run):
        numbers = wanted.get(qid)
        if numbers is None:
            continue
        searched[list(numbers.values())] = True
        for rank, docid in enumerate(docids, 1):
            number = numbers.get(docid)
            if number is not None:
                ranks[number], scores[number] = rank, values[rank - 1]
    if not searched.any():
        raise InputError(run, f"has no query of {source.folder}", "Do they belong together?")
    return InRun(ranks, scores, searched)


class Scorer(Protocol):
    """What scores texts: `gradir.engine.cross_encoder.Reranker`."""

    def score(
        self, texts: list[tuple[str, ...]], progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]: ...


class Scores:
    """The score of each record, made when first asked for.

    Args:
        known: Of each record, [N]; NaN where there is none.
        scorer: Opens what scores those that have none; None: they stay without.
    """

    def __init__(self, known: NDArray[np.float64], scorer: Callable[[], Scorer] | None = None):
        self._known, self._open = known, scorer
        self._scorer: Scorer | None = None
        self.made = 0

    def over(self, items: Items) -> Iterator[tuple[Item, float]]:
        """(item, score); NaN for one without."""
        if self._open is None:
            yield from ((item, float(self._known[item.number])) for item in items)
            return
        stream = iter(items)
        while window := list(islice(stream, _WINDOW)):
            self._score([item for item in window if math.isnan(self._known[item.number])])
            yield from ((item, float(self._known[item.number])) for item in window)

    def of(self, item: Item) -> float:
        """The score of one record that `over` has passed; minus infinity where there is none."""
        score = float(self._known[item.number])
        return -math.inf if math.isnan(score) else score

    def _score(self, items: list[Item]) -> None:
        if not items or self._open is None:
            return
        self._scorer = self._scorer or self._open()
        found = self._scorer.score([(item.query, item.document) for item in items])
        self._known[[item.number for item in items]] = found
        self.made += len(items)


def reranker(model: str, device: str, dtype: str, batch_tokens: int | None) -> Callable[[], Scorer]:
    """What opens a cross-encoder when it is needed."""

    def open_it() -> Any:
        from gradir.engine.cross_encoder import Reranker

        return Reranker.open(model, device=device, dtype=dtype, batch_tokens=batch_tokens)

    return open_it


def at_least(scores: Scores, lowest: float) -> Filter:
    """Drop records scored below `lowest`, and those without a score."""

    def drop(items: Items) -> Iterator[Drop]:
        for item, score in scores.over(items):
            if math.isnan(score):
                yield Drop(item.number, "no_score", None)
            elif score < lowest:
                yield Drop(item.number, "score", round(score, 6))

    return drop


def best(scores: Scores, count: int) -> Filter:
    """Keep the `count` records of highest score, of equal ones that of the lower query id; those without a score go first."""

    def drop(items: Items) -> Iterator[Drop]:
        ranked = []
        for item, score in scores.over(items):
            if math.isnan(score):
                yield Drop(item.number, "no_score", None)
            else:
                ranked.append((-score, item.qid, item.docid, item.number))
        ranked.sort()
        for negated, _, _, number in ranked[count:]:
            yield Drop(number, "top_scores", round(-negated, 6))

    return drop
