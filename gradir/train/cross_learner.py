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
from gradir.train.losses.terms import terms_of
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
        entries = checked_losses(losses or [DEFAULT[cross.method]], positive_grade)
        self.generation = [one for one in entries if one["name"] == _GENERATION]
        if self.generation and cross.method != "mono-t5":
            raise GradirError(f"the loss generation is for T5 models, not for {cross.method}. Give bce.")
        self.positive_grade = positive_grade
        self.pointwise = all(one["name"] in _POINTWISE for one in entries)
        others = [one for one in entries if one["name"] != _GENERATION]
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


def checked_losses(losses: Sequence[Any], positive_grade: float = 1) -> list[dict[str, Any]]:
    """The `losses:` of a reranker as mappings; those of retrievers with `scope: own`, as there are no scores for other documents.

    Args:
        losses: Names or mappings.
        positive_grade: As for `Objective`.

    Raises:
        GradirError: All that is wrong with them.
    """
    entries: list[Any] = [{"name": one} if isinstance(one, str) else one for one in losses]
    problems = [problem for one in entries for problem in _problems(one)]
    if problems:
        raise GradirError("cannot train a reranker with these losses: " + "; ".join(problems))
    found = [{**one, "scope": "own"} if one["name"] != _GENERATION else dict(one) for one in entries]
    others = [one for one in found if one["name"] != _GENERATION]
    if others:
        terms_of(others, positive_grade)
    return found


def _problems(entry: Any) -> list[str]:
    """What is wrong with an entry, besides what `Objective` will find."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return [f"{entry!r} is neither a name nor a mapping with a name"]
    name, known = entry["name"], [*LOSSES, _GENERATION]
    if name not in known:
        return [f"no loss '{name}'{nearest(name, known)}; there are {', '.join(known)}"]
    if entry.get("scope") == "batch":
        return [f"{name}: a reranker scores a query with its own documents only: leave out `scope`"]
    if name != _GENERATION:
        return []
    found, options = [], ("weight", "positive_grade")
    for key, value in entry.items():
        if key in options and not _is_above_0(value):
            found.append(f"{name}: {key} is {value!r}, not a number above 0")
        elif key not in (*options, "name", "scope"):
            found.append(f"{name}: no option '{key}'{nearest(str(key), options)}")
    return found


def _is_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
