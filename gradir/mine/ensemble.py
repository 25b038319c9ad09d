"""Scores of several members for one query, brought to one scale and put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Normalization = Literal["none", "min-max", "z"]
Combination = Literal["mean", "median"]
Scores = NDArray[np.float64]


def min_max(scores: Scores) -> Scores:
    """Rows moved and stretched to [0, 1]; 0 where all of a row are equal, [M, n]."""
    low = scores.min(1, keepdims=True)
    span = scores.max(1, keepdims=True) - low
    return np.divide(scores - low, span, out=np.zeros_like(scores), where=span > 0)


def z_score(scores: Scores) -> Scores:
    """(score - mean) / standard deviation of the row; 0 where all of a row are equal, [M, n]."""
    span = np.ptp(scores, axis=1, keepdims=True)
    deviation = scores.std(1, keepdims=True)
    centred = scores - scores.mean(1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(scores), where=(span > 0) & (deviation > 0))


NORMALIZATIONS: dict[Normalization, Callable[[Scores], Scores]] = {
    "none": np.copy,
    "min-max": min_max,
    "z": z_score,
}
COMBINATIONS: dict[Combination, Callable[[Scores], Scores]] = {
    "mean": lambda scores: scores.mean(0),
    "median": lambda scores: np.asarray(np.median(scores, axis=0)),
}


class Spread:
    """Mean and standard deviation (of the population) of numbers that come in pieces."""

    def __init__(self) -> None:
        self.number, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, numbers: Scores) -> None:
        """Take in some more (Chan, Golub & LeVeque's update, which does not cancel as a sum of squares would)."""
        if not len(numbers):
            return
        number, mean = self.number + len(numbers), float(numbers.mean())
        apart = mean - self.mean
        self._squares += float(((numbers - mean) ** 2).sum()) + apart**2 * self.number * len(numbers) / number
        self.mean += apart * len(numbers) / number
        self.number = number

    @property
    def deviation(self) -> float:
        """Standard deviation; 0 of no numbers."""
        return float((self._squares / self.number) ** 0.5) if self.number else 0.0


def like(scores: Scores, own: Spread, other: Spread) -> Scores:
    """Scores moved and stretched so that numbers spread as `own` come to be spread as `other`, [n]."""
    factor = other.deviation / own.deviation if own.deviation > 0 else 1.0
    return (scores - own.mean) * factor + other.mean
