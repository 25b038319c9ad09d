"""The losses once more: one query at a time, in loops over Python numbers, straight from their formulae.

Each takes the scores and labels of the documents that take part in one query, and answers None where there is nothing to learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

Row = Sequence[float]


def softmax(values: Row) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def infonce(
    s: Row, grades: Row, positives: str = "average", guard: float | None = None, tau: float = 1.0
) -> float | None:
    relevant = [i for i, grade in enumerate(grades) if grade >= 1]
    if not relevant:
        return None
    others = [i for i, grade in enumerate(grades) if grade < 1]
    relevant = relevant[:1] if positives == "first" else relevant
    if guard is not None:
        others = [i for i in others if s[i] <= max(s[p] for p in relevant) + guard]
    below = sum(math.exp(s[i] / tau) for i in others)
    if positives == "any":
        mass = sum(math.exp(s[p] / tau) for p in relevant)
        return -math.log(mass / (mass + below))
    each = [-math.log(math.exp(s[p] / tau) / (math.exp(s[p] / tau) + below)) for p in relevant]
    return sum(each) / len(each)


def wasserstein_rows(s: Row, grades: Row, power: int = 1) -> float | None:
    """By integrating |F_P - F_T| over the grades, in steps of the distinct ones."""
    levels = sorted(set(grades))
    if len(levels) < 2:
        return None
    p, t = softmax(s), softmax(grades)
    total = 0.0
    for low, high in pairwise(levels):
        up_to = sum(a - b for a, b, grade in zip(p, t, grades, strict=True) if grade <= low)
        total += abs(up_to) ** power * (high - low)
    return total


def listnet(s: Row, grades: Row) -> float | None:
    return -sum(t * math.log(p) for t, p in zip(softmax(grades), softmax(s), strict=True)) if len(s) > 1 else None


def kl_labels(s: Row, grades: Row) -> float | None:
    return sum(t * math.log(t / p) for t, p in zip(softmax(grades), softmax(s), strict=True)) if len(s) > 1 else None


def listmle(s: Row, grades: Row) -> float | None:
    """Draws grade after grade from the highest; of a tie, the k-th with k / m of the tie already gone."""
    levels = sorted(set(grades), reverse=True)
    if len(levels) < 2:
        return None
    total = 0.0
    for level in levels[:-1]:
        tie = [math.exp(a) for a, grade in zip(s, grades, strict=True) if grade == level]
        rest = sum(math.exp(a) for a, grade in zip(s, grades, strict=True) if grade < level)
        total -= sum(math.log(one) for one in tie)
        total += sum(math.log(rest + (1 - k / len(tie)) * sum(tie)) for k in range(len(tie)))
    return total


def pairs(grades: Row) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(grades)) for j in range(len(grades)) if grades[i] > grades[j]]


def mean_of_pairs(grades: Row, loss: Callable[[int, int], float]) -> float | None:
    found = [loss(i, j) for i, j in pairs(grades)]
    return sum(found) / len(found) if found else None


def ranknet(s: Row, grades: Row) -> float | None:
    return mean_of_pairs(grades, lambda i, j: math.log(1 + math.exp(s[j] - s[i])))


def graded_margin_mse(s: Row, grades: Row) -> float | None:
    return mean_of_pairs(grades, lambda i, j: (s[i] - s[j] - (grades[i] - grades[j])) ** 2)


def ideal_dcg(grades: Row, k: int | None = None) -> float:
    best = sorted(grades, reverse=True)[:k]
    return sum((2**grade - 1) / math.log2(1 + rank) for rank, grade in enumerate(best, 1))


def lambda_loss(s: Row, grades: Row, weighting: str = "ndcg2", k: int | None = None) -> float | None:
    if not pairs(grades):
        return None
    order = sorted(range(len(s)), key=lambda i: (-s[i], grades[i]))
    rank = {i: place for place, i in enumerate(order, 1)}

    def discount(place: int, cut: int | None) -> float:
        return 1 / math.log2(1 + place) if cut is None or place <= cut else 0.0

    def weight(i: int, j: int) -> float:
        apart = abs(rank[i] - rank[j])
        second = abs(discount(apart, None) - discount(apart + 1, None))
        first = abs(discount(rank[i], k) - discount(rank[j], k))
        return {"ndcg2": second, "lambdarank": first, "ndcg2++": first + 10 * second}[weighting]

    total = 0.0
    for i, j in pairs(grades):
        if k is None or min(rank[i], rank[j]) <= k:
            gap = abs(2 ** grades[i] - 2 ** grades[j]) / ideal_dcg(grades, k)
            total += weight(i, j) * gap * math.log2(1 + math.exp(s[j] - s[i]))
    return total


def approx_ndcg(s: Row, grades: Row) -> float | None:
    if not pairs(grades):
        return None
    found = 0.0
    for i, one in enumerate(s):
        rank = 1 + sum(1 / (1 + math.exp((one - other) / 0.1)) for j, other in enumerate(s) if j != i)
        found += (2 ** grades[i] - 1) / math.log2(1 + rank)
    return 1 - found / ideal_dcg(grades)


def margin_mse_all(s: Row, teacher: Row) -> float | None:
    if len(s) < 2:
        return None
    return (
        sum((a - b - c + d) ** 2 for a, c in zip(s, teacher, strict=True) for b, d in zip(s, teacher, strict=True))
        / len(s) ** 2
    )


def kl(s: Row, teacher: Row, tau: float = 1.0) -> float | None:
    if len(s) < 2:
        return None
    p, t = softmax([one / tau for one in s]), softmax([one / tau for one in teacher])
    return tau**2 * sum(b * math.log(b / a) for a, b in zip(p, t, strict=True))
