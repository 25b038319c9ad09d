"""Which scores are too close to the positive's: the rules that keep false negatives out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Against = Literal["highest", "lowest", "mean"]
Missing = Literal["skip", "keep", "lowest"]
Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


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
            is passed over, since all its documents outdo them and may be relevant and not judged; a `margin` in graded lists
            (`gradir.data.composition`) means the same. `keep`: where it holds none, nothing is compared. `lowest`: each counts
            with the lowest score of the ranking, which its own does not exceed.
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

    def references(self, owners: Places, held: Scores, positives: Places, lowest: Scores) -> Scores:
        """The positive's score that each ranking is compared with, [p]; NaN where it holds none.

        Args:
            owners: The ranking of each positive that one holds, [h].
            held: The scores of these positives, [h].
            positives: How many positives the query of each ranking has, [p].
            lowest: The lowest score of each ranking, NaN where there is none, [p].
        """
        number = len(positives)
        if self.missing == "lowest":
            lost = np.where(np.isnan(lowest), 0, positives - np.bincount(owners, minlength=number))
            owners = np.concatenate([owners, np.repeat(np.arange(number), lost)])
            held = np.concatenate([held, np.repeat(lowest, lost)])
        found = np.full(number, np.nan)
        if self.against == "mean":
            counts = np.bincount(owners, minlength=number)
            np.divide(np.bincount(owners, held, number), counts, out=found, where=counts > 0)
        else:
            better = np.fmax if self.against == "highest" else np.fmin  # which pass over NaN
            better.at(found, owners, held)
        return found

    def dropped(self, scores: Scores, positives: Scores, sizes: Places) -> Iterator[tuple[str, Mask]]:
        """(reason, which are dropped for it, [k]) for each rule in force. NaN is dropped by none.

        Args:
            scores: [k].
            positives: What they are compared with, [p]; NaN: the rules that compare are passed over.
            sizes: How many scores, one after another, are compared with each, [p]; k in all.
        """
        if self.margin is not None:
            yield "margin", scores >= np.repeat(relative_limit(positives, self.margin), sizes)
        if self.absolute_margin is not None:
            yield "absolute_margin", scores > np.repeat(positives - self.absolute_margin, sizes)
        if self.max_score is not None:
            yield "max_score", scores > self.max_score
        if self.min_score is not None:
            yield "min_score", scores < self.min_score


def relative_limit(positives: Scores, margin: float) -> Scores:
    """p - (1 - margin) x |p|, [p]: from this score on a document is dropped.

    That is `margin x p` for a positive score. Below zero, where `margin x p` would lie above p and drop nothing that is near, it
    lies as far below p as it does for -p: at margin 0.95, 9.5 for p = 10 and -10.5 for p = -10.
    """
    return positives * np.where(positives >= 0, margin, 2 - margin)
