"""Level rules for graded documents: one of a low grade must not be ranked above one of a high grade for the same query.

A pair of documents of a query is at odds if the grades differ by the gap or more and the lower one has the higher score. With gap 3
that is a document graded 0 above one graded 3; with gap 1 every pair of different grades counts, neighbours too. The document
with the most pairs at odds is dropped, of several the one of the lowest grade (a false negative harms training more), then the
later one; then the pairs are counted again, until none is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.scores import InRun, Scores
from gradir.generate.generated import Item


class Placed(NamedTuple):
    """A document of a query: its record, grade and score."""

    number: int
    grade: int
    score: float


def in_order(scores: Scores | InRun, gap: int) -> Filter:
    """Drop documents that are at odds with the order of the grades.

    What a run did not find for a query that it searched for is below all that it found. Pairs without a score, and queries
    that a run has not, are not compared.

    Args:
        scores: A reranker's scores, or a run of the queries over the generated documents.
        gap: Least difference of the grades of two documents that are compared, from 1.
    """

    def drop(items: Items) -> Iterator[Drop]:
        queries: dict[str, list[Placed]] = {}
        for item, score in _scored(scores, items):
            if not math.isnan(score):
                queries.setdefault(item.qid, []).append(Placed(item.number, item.grade, score))
        for documents in queries.values():
            for number, above in _at_odds(documents, gap):
                yield Drop(number, "level", above)

    return drop


def _scored(scores: Scores | InRun, items: Iterable[Item]) -> Iterator[tuple[Item, float]]:
    if isinstance(scores, Scores):
        yield from scores.over(items)
        return
    for item in items:
        if scores.searched[item.number]:
            score = float(scores.scores[item.number])
            yield item, -math.inf if math.isnan(score) else score


def _at_odds(documents: Sequence[Placed], gap: int) -> Iterator[tuple[int, int]]:
    """(record, number of documents that it is at odds with) of those to be dropped."""
    left = list(documents)
    while True:
        odds = [sum(_disagree(one, other, gap) for other in left) for one in left]
        worst = max(odds, default=0)
        if not worst:
            return
        place = min(
            (i for i, count in enumerate(odds) if count == worst), key=lambda i: (left[i].grade, -left[i].number)
        )
        yield left.pop(place).number, worst


def _disagree(one: Placed, other: Placed, gap: int) -> bool:
    low, high = sorted((one, other), key=lambda document: document.grade)
    return high.grade - low.grade >= gap and low.score > high.score
