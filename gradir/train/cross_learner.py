"""The loss of a cross-encoder's step: over each query's own list, as for retrievers, or of T5's word for each document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradir.errors import GradirError, nearest
from gradir.train.batches import Batch
from gradir.train.cross import CrossModel, Scored
from gradir.train.cross_losses import generation
from gradir.train.losses import LOSSES
from gradir.train.objective import Objective

DEFAULT = {"mono-bert": "bce", "mono-t5": "generation"}  # what a method was published with
_GENERATION = "generation"
_POINTWISE = ("bce", _GENERATION)


class CrossLearner(nn.Module):
    """A cross-encoder and what it is to learn.

    Attributes:
        pointwise: Each document is looked at by itself: lists without relevant ones serve as well.

    Args:
        cross: What is trained.
        losses: Names or mappings as for `gradir.train.objective.Objective`, each over a query's own list; for T5 models also
            `generation`. None given: the one that the method was published with.
        positive_grade: For losses whose entry gives none.

    Raises:
        GradirError: All that is wrong with the losses.
    """

    def __init__(self, cross: CrossModel, losses: Sequence[Any] = (), positive_grade: float = 1):
        super().__init__()
        self.cross = cross
        entries: list[Any] = [
            {"name": one} if isinstance(one, str) else one for one in losses or [DEFAULT[cross.method]]
        ]
        problems = [problem for one in entries if isinstance(one, Mapping) for problem in _problems(one, cross.method)]
        if problems:
            raise GradirError("cannot train a reranker with these losses: " + "; ".join(problems))
        self.generation = [one for one in entries if _name(one) == _GENERATION]
        self.positive_grade = positive_grade
        self.pointwise = all(_name(one) in _POINTWISE for one in entries)
        # there are no scores for the documents of other queries
        others = [{**one, "scope": "own"} if isinstance(one, Mapping) else one for one in entries]
        others = [one for one in others if _name(one) != _GENERATION]
        self.objective = Objective(others, positive_grade) if others else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, which is to be minimised, and its parts for the log.

        Args:
            batch: What `CrossModel.collate` gives.
        """
        return self.loss_of(self.cross(batch))

    def loss_of(self, scored: Scored) -> dict[str, Tensor]:
        """The same, from what the model says of a batch."""
        total, parts = torch.zeros((), device=scored.scores.device), dict[str, Tensor]()
        for one in self.generation:
            grade = one.get("positive_grade", self.positive_grade)
            if scored.words is None:
                raise TypeError("generation needs the words of a T5 model")
            loss = generation(scored.words, scored.labels.grades, scored.labels.own, grade)
            total, parts[_GENERATION] = total + float(one.get("weight", 1.0)) * loss, loss.detach()
        if self.objective is not None:
            loss, found = self.objective(scored.scores, scored.labels)
            total, parts = total + loss, parts | found
        return {"loss": total, **parts}


def _name(entry: Any) -> str:
    return str(entry.get("name", "")) if isinstance(entry, Mapping) else ""


def _problems(entry: Mapping[str, Any], method: str) -> list[str]:
    """What is wrong with an entry, besides what `Objective` will find."""
    name = _name(entry)
    if entry.get("scope") == "batch":
        return [f"{name}: a reranker scores a query with its own documents only: leave out `scope`"]
    if name != _GENERATION:
        known = [*LOSSES, _GENERATION]
        return [] if name in LOSSES else [f"no loss '{name}'{nearest(name, known)}; there are {', '.join(known)}"]
    found = [] if method == "mono-t5" else [f"{name} is for T5 models, not for {method}: give bce"]
    for key, value in entry.items():
        if key not in ("name", "weight", "positive_grade", "scope"):
            found.append(f"{name}: no option '{key}'{nearest(str(key), ('weight', 'positive_grade'))}")
        elif key in ("weight", "positive_grade") and not _is_above_0(value):
            found.append(f"{name}: {key} is {value!r}, not a number above 0")
    return found


def _is_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
