"""Does a reranker, which did not see how the documents were made, put them in the order of their grades?

Pairs of different grades of a query are looked at. The sign test (Dixon and Mood, JASA 1946) takes the query as its unit: a query
counts for the grades if more of its pairs are in order than not, against them if fewer, and not at all if as many; p is the
probability of so many or more queries for the grades if each were decided by a coin.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.generate.audit.orders import grouped


def monotone(groups: NDArray[np.int64], grades: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Share of pairs in order, sign test; for all pairs, for each two grades, and how many queries are in order altogether.

    Args:
        groups: Query of each document, [N].
        grades: [N].
        scores: [N]; documents without one (NaN) are left out.
    """
    known = ~np.isnan(scores)
    groups, grades, scores = groups[known], grades[known], scores[known]
    lists = [list(_pairs(*of)) for of in grouped(groups, grades, scores)]
    levels = sorted(set(grades.tolist()))
    judged = [pairs for pairs in lists if pairs]
    return {
        "scored": int(known.sum()),
        "all": _tested([[sign for *_, sign in pairs] for pairs in lists]),
        "queries_in_order": {
            "queries": len(judged),
            "in_order": sum(min(s for *_, s in pairs) > 0 for pairs in judged),
        },
        "levels": [
            {"low": low, "high": high, "adjacent": levels.index(high) == levels.index(low) + 1}
            | _tested([[sign for one, other, sign in pairs if (one, other) == (low, high)] for pairs in lists])
            for low, high in sorted(combinations(levels, 2), key=lambda pair: pair[1] - pair[0])
        ],
    }


def _pairs(grades: NDArray[np.int64], scores: NDArray[np.float64]) -> Iterator[tuple[int, int, int]]:
    """(lower grade, higher grade, 1 if their scores are in that order, -1 if not, 0 if equal) of each pair of a query."""
    order = np.argsort(grades, kind="stable")
    for first, second in combinations(order.tolist(), 2):
        if grades[first] < grades[second]:
            yield int(grades[first]), int(grades[second]), int(np.sign(scores[second] - scores[first]))


def _tested(signs: list[list[int]]) -> dict[str, Any]:
    """What the signs of the pairs of each query say."""
    from scipy.stats import binomtest

    flat = [sign for of in signs for sign in of]
    right, equal = flat.count(1), flat.count(0)
    votes = [np.sign(sum(of)) for of in signs]
    better, worse = votes.count(1), votes.count(-1)
    found: dict[str, Any] = {"pairs": len(flat), "right": right, "equal": equal, "share": None}
    found |= {"better": better, "worse": worse, "p": None}
    if flat:
        found["share"] = round((right + equal / 2) / len(flat), 4)
    if better + worse:
        found["p"] = float(binomtest(better, better + worse, alternative="greater").pvalue)
    return found
