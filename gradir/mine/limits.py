"""Which scores are too close to the positive's: the rules that keep false negatives out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Against = Literal["highest", "lowest", "mean"]
Missing = Literal["skip", "keep", "lowest"]
Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]

_REFERENCES: dict[Against, Callable[[Scores], Any]] = {"highest": np.max, "lowest": np.min, "mean": np.mean}


@dataclass(frozen=True)
class Limits:
    """Rules over scores; those that are None are not in force.

    Attributes:
        margin: Share of the positive's score from which on a document is dropped. TopK-PercPos of NV-Retriever (Moreira et al.,
            arXiv 2407.15831).
        absolute_margin: A document is dropped above the positive's score less this.
        max_score: A document is dropped above it.
        min_score: A document is dropped below it.
        against: Which positive counts where a query has several.
        missing: What becomes of positives that the ranking does not hold. `skip`: they do not count, and where it holds none it
            is passed over. `keep`: where it holds none, nothing is compared. `lowest`: each counts with the lowest score of
            the ranking, which its own does not exceed.
    """

    margin: float | None = 0.95
    absolute_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None
    against: Against = "highest"
    missing: Missing = "skip"

    @property
    def compares(self) -> bool:
        """Whether a positive's score is needed."""
        return self.margin is not None or self.absolute_margin is not None

    def reference(self, held: Scores, positives: int, scores: Scores) -> float | None:
        """The positive's score that a ranking is compared with; None where it holds none.

        Args:
            held: Scores of the positives that it holds, [p].
            positives: How many positives the query has.
            scores: All its scores, [k].
        """
        if self.missing == "lowest" and len(held) < positives and len(scores):
            held = np.append(held, np.full(positives - len(held), scores.min()))
        if len(held) == 1:  # nearly always, and NumPy would take longer
            return float(held[0])
        return float(_REFERENCES[self.against](held)) if len(held) else None

    def dropped(self, scores: Scores, positive: float | None) -> Iterator[tuple[str, Mask]]:
        """(reason, which are dropped for it) for each rule in force. NaN is dropped by none.

        Args:
            scores: [k].
            positive: What they are compared with; None: the rules that compare are passed over.
        """
        if positive is not None and self.margin is not None:
            yield "margin", scores >= relative_limit(positive, self.margin)
        if positive is not None and self.absolute_margin is not None:
            yield "absolute_margin", scores > positive - self.absolute_margin
        if self.max_score is not None:
            yield "max_score", scores > self.max_score
        if self.min_score is not None:
            yield "min_score", scores < self.min_score


def relative_limit(positive: float, margin: float) -> float:
    """p - (1 - margin) x |p|: from this score on a document is dropped.

    That is `margin x p` for a positive score. Below zero, where `margin x p` would lie above p and drop nothing that is near, it
    lies as far below p as it does for -p: at margin 0.95, 9.5 for p = 10 and -10.5 for p = -10.
    """
    return positive * (margin if positive >= 0 else 2 - margin)
