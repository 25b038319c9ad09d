"""Do numbers order documents as their grades do? Counts of pairs, and what follows from them.

Two kinds of numbers are given. Within groups only documents of the same query are compared, which is what a ranker does; over all,
documents of different queries are compared too, which is what a model without the query could learn.

    tau-b = (C - D) / sqrt(G V): C and D pairs in the same and in opposite order, G pairs of different grades, V of different values
            (Kendall, Biometrika 1945)
    AUC   = share of pairs (grade >= 2, grade < 2) where the first has the higher value; equal values count half

Intervals are 95% and take the query as the unit, as documents of one query are not independent: within groups by a bootstrap over
queries (Efron, 1979), over all by the variance of the AUC's components summed by query (Obuchowski, Biometrics 1997).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

POSITIVE = 2  # lowest grade of what counts as relevant
_RESAMPLES = 1000
_NORMAL = 1.959963984540054  # 97.5% quantile


class Interval(NamedTuple):
    """A value with its 95% interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        return {name: None if np.isnan(one) else round(one, 4) for name, one in self._asdict().items()}


_UNKNOWN = Interval(np.nan, np.nan, np.nan)


def grouped(groups: NDArray[np.int64], *columns: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """The columns of each group, [n] each, groups in the order of their numbers."""
    order = np.argsort(groups, kind="stable")
    bounds = np.flatnonzero(np.diff(groups[order], prepend=-1, append=-1))
    for start, end in pairwise(bounds):
        yield tuple(column[order[start:end]] for column in columns)


def within(
    groups: NDArray[np.int64], grades: NDArray[np.int64], values: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """tau-b and AUC of pairs of the same group."""
    counts = np.array([_counts(*of) for of in grouped(groups, grades, values)], np.float64).reshape(-1, 6)
    draw = np.random.default_rng(seed)
    samples = np.array([counts[draw.integers(0, len(counts), len(counts))].sum(0) for _ in range(_RESAMPLES)])
    whole = counts.sum(0)[None]
    return {
        "tau_b": _interval(_tau_b(whole)[0], _tau_b(samples)).as_dict(),
        "auc": _interval(_auc(whole)[0], _auc(samples)).as_dict(),
    }


def _counts(grades: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[float, ...]:
    """C, D, G, V of one group, and of its pairs (relevant, not relevant): those in order, and all."""
    first, second = np.triu_indices(len(grades), 1)
    grade, value = np.sign(grades[first] - grades[second]), np.sign(values[first] - values[second])
    same = grade * value
    high = values[grades >= POSITIVE][:, None] - values[grades < POSITIVE][None]
    right = float((high > 0).sum() + 0.5 * (high == 0).sum())
    return (same > 0).sum(), (same < 0).sum(), (grade != 0).sum(), (value != 0).sum(), right, high.size


def _tau_b(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.sqrt(counts[:, 2] * counts[:, 3])
    return np.divide(counts[:, 0] - counts[:, 1], root, out=np.full(len(counts), np.nan), where=root > 0)


def _auc(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(counts[:, 4], counts[:, 5], out=np.full(len(counts), np.nan), where=counts[:, 5] > 0)


def _interval(value: float, samples: NDArray[np.float64]) -> Interval:
    known = samples[~np.isnan(samples)]
    if not len(known):
        return _UNKNOWN
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(float(value), float(low), float(high))


def over_all(groups: NDArray[np.int64], grades: NDArray[np.int64], values: NDArray[np.float64]) -> dict[str, Any]:
    """tau-b and AUC of all pairs."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(values, grades, variant="b").statistic) if len(set(grades.tolist())) > 1 else np.nan
    return {"tau_b": None if np.isnan(tau) else round(tau, 4), "auc": auc(groups, grades >= POSITIVE, values).as_dict()}


def auc(groups: NDArray[np.int64], relevant: NDArray[np.bool_], values: NDArray[np.float64]) -> Interval:
    """The AUC over all pairs (relevant, not relevant), with an interval for data in groups."""
    from scipy.stats import rankdata

    high, low = values[relevant], values[~relevant]
    if not len(high) or not len(low):
        return _UNKNOWN
    ranks = rankdata(values)  # of equal values the mean
    # of each relevant one the share of the others below it, of each other one the share of the relevant ones above it
    parts = np.empty(len(values))
    parts[relevant] = (ranks[relevant] - rankdata(high)) / len(low)
    parts[~relevant] = 1 - (ranks[~relevant] - rankdata(low)) / len(high)
    area = float(parts[relevant].mean())
    sizes = np.where(relevant, len(high), len(low))
    influence = np.bincount(groups, (parts - area) / sizes)
    number = len(np.unique(groups))
    if number < 2:
        return Interval(area, np.nan, np.nan)
    spread = _NORMAL * float(np.sqrt(number / (number - 1) * np.square(influence).sum()))
    return Interval(area, max(0.0, area - spread), min(1.0, area + spread))
