"""How strongly sparsity is asked for, and whether it went wrong: schedules, a controller of active terms, an alarm.

All are plain objects whose `state_dict()` can be written as JSON; they depend on what they are told alone, so a resumed training
goes on as an uninterrupted one. On several devices they must be told the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from gradir.errors import GradirError

Growth = Literal["quadratic", "linear", "constant"]

_EXPONENTS: dict[Growth, int] = {"constant": 0, "linear": 1, "quadratic": 2}


@dataclass(frozen=True)
class Schedule:
    """How the weight of a regulariser grows: a model that is to be sparse at once never learns which terms it needs.

    Attributes:
        growth: `quadratic`: (t / T)^2 (Formal et al. 2021, arXiv 2107.05720), `linear`, or `constant`: whole at once.
        steps: T, after which the weight is whole.
    """

    growth: Growth = "quadratic"
    steps: int = 0

    @classmethod
    def of(cls, growth: Growth, steps: float, total: int) -> Schedule:
        """From a configuration: `steps` below 1 are a share of the `total`."""
        return cls(growth, round(steps * total) if steps < 1 else int(steps))

    def factor(self, step: int) -> float:
        """The share of the weight at a step counted from 0."""
        return 1.0 if self.complete(step) else (step / self.steps) ** _EXPONENTS[self.growth]

    def complete(self, step: int) -> bool:
        """The weight is whole."""
        return self.growth == "constant" or step >= self.steps


class TermController:
    """Adjusts the weight of a regulariser until vectors have so many active terms.

    After each step, with e = log(active terms / target) smoothed over about `smoothing` steps: `log weight += rate e + damping
    (change of e)`. The second part slows it down when the number already moves, which it does long after the weight.

    Attributes:
        weight: What the regulariser is to be multiplied by.

    Args:
        target: Active terms wanted, the mean over the batch.
        weight: Where it starts.
        rate: Of the adjustment.
        damping: See above.
        smoothing: Steps.
        limit: The weight stays within weight / limit and weight x limit.

    Raises:
        GradirError: `target` or `weight` is not above 0.
    """

    def __init__(
        self,
        target: float,
        weight: float,
        rate: float = 0.02,
        damping: float = 0.5,
        smoothing: float = 10.0,
        limit: float = 1e6,
    ):
        if target <= 0 or weight <= 0:
            raise GradirError(
                f"target_terms {target:g} with weight {weight:g}: both must be above 0; the weight is where the search for "
                "the right one starts"
            )
        self.target, self.rate, self.damping, self.keep = target, rate, damping, 1 - 1 / max(1.0, smoothing)
        self._log_weight = math.log(weight)
        self._ends = self._log_weight - math.log(limit), self._log_weight + math.log(limit)
        self._error: float | None = None

    @property
    def weight(self) -> float:
        return math.exp(self._log_weight)

    def observe(self, terms: float, complete: bool = True) -> float:
        """Adjust to what a step showed; returns the new weight.

        Args:
            terms: Active terms, the mean over the batch.
            complete: The schedule is through. Before, the weight is only lowered: that there are too many terms shows nothing yet.
        """
        error = math.log(max(terms, self.target / 100) / self.target)
        before = error if self._error is None else self._error
        self._error = self.keep * before + (1 - self.keep) * error
        change = self.rate * self._error + self.damping * (self._error - before)
        if complete or (change < 0 and self._error < 0):
            lowest, highest = self._ends
            self._log_weight = min(max(self._log_weight + change, lowest), highest)
        return self.weight

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"log_weight": self._log_weight, "error": self._error}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._log_weight, self._error = state["log_weight"], state["error"]


class CollapseAlarm:
    """Stops a training whose vectors have become useless.

    Collapsed is a side (queries or documents) of which at least `most_empty` of the vectors have no term; or, once the schedule is
    through, one with at least `most_dense` of the vocabulary active. Before, an uncalibrated start may well have all terms.

    Args:
        terms: Size of the vocabulary.
        patience: Steps in a row that must be so.
        most_empty: Share of vectors.
        most_dense: Share of the vocabulary.
    """

    def __init__(self, terms: int, patience: int = 50, most_empty: float = 0.5, most_dense: float = 0.9):
        self.terms, self.patience, self.most_empty, self.most_dense = terms, patience, most_empty, most_dense
        self._counts: dict[str, int] = {}

    def observe(self, side: str, active: float, empty: float, complete: bool = True) -> None:
        """Look at one side of a step.

        Args:
            side: `query` or `doc`.
            active: Active terms, the mean over the batch.
            empty: Share of vectors without any.
            complete: The schedule is through.

        Raises:
            GradirError: This side has been collapsed for `patience` steps.
        """
        self._count(f"{side} empty", empty >= self.most_empty)
        self._count(f"{side} dense", complete and active >= self.most_dense * self.terms)
        if self._counts.get(f"{side} empty", 0) >= self.patience:
            raise GradirError(
                f"the {side} vectors collapsed: for {self.patience} steps {empty:.0%} of a batch or more had no term at all. "
                f"Lower regularise.{side}.weight, lengthen regularise.steps, set regularise.anti_collapse, or start from an "
                "earlier checkpoint with a lower learning_rate"
            )
        if self._counts.get(f"{side} dense", 0) >= self.patience:
            raise GradirError(
                f"the {side} vectors stay dense: for {self.patience} steps about {active:.0f} of {self.terms} terms were active "
                f"though the regulariser is whole. Raise regularise.{side}.weight (or give target_terms), or start from a "
                "calibrated encoder (gradir train init-splade)"
            )

    def _count(self, reason: str, so: bool) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1 if so else 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return dict(self._counts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._counts = dict(state)
