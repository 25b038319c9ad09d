"""Whether one run is better than another: paired over the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """Of two runs, by one measure.

    Attributes:
        mean: Of the differences over the queries.
        low: Lower end of the 95% confidence interval of that mean.
        high: Upper end.
        p: Two-sided, of the paired t-test.
    """

    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], p = {self.p:.2g}"


def paired_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p of the paired t-test (Student, 1908); 1 where no query differs.

    Args:
        ours: A measure of each query.
        theirs: The same of the same queries, in the same order.
    """
    from scipy import stats

    if list(ours) == list(theirs):
        return 1.0
    return float(stats.ttest_rel(ours, theirs).pvalue)


def difference(ours: Sequence[float], theirs: Sequence[float], samples: int = 10_000, seed: int = 13) -> Difference:
    """The mean difference with its percentile bootstrap interval (Efron and Tibshirani, 1993), queries drawn with replacement.

    Args:
        ours: A measure of each query.
        theirs: The same of the same queries, in the same order.
        samples: Draws.
        seed: Of the draws.
    """
    gaps = np.subtract(ours, theirs, dtype=np.float64)  # [Q]
    draw = np.random.default_rng(seed)
    means = [gaps[draw.integers(0, len(gaps), len(gaps))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float(gaps.mean()), float(low), float(high), paired_p(ours, theirs))
