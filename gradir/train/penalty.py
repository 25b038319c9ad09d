"""The regularisers of a SPLADE training: what they add to the loss of a step, and how strongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradir.train.config import Regularise, Side
from gradir.train.devices import cross_device_mean, gather_rows, total_rows
from gradir.train.regularisers import DocumentFrequency, anti_collapse, df_flops, empty_share, flops, l0, l1
from gradir.train.sparsity import CollapseAlarm, Schedule, TermController

_START = 1e-3  # the weight from which one that reaches `target_terms` is searched, where none is given


class Penalty(nn.Module):
    """Adds `lambda_q R_q(queries) + lambda_d R_d(documents)`, over the batch of all devices, with weights that grow.

    Args:
        settings: What the configuration says.
        terms: V.

    Attributes:
        step: Steps so far.
    """

    def __init__(self, settings: Regularise, terms: int):
        super().__init__()
        self.settings, self.step = settings, 0
        self.schedule = Schedule(settings.schedule, 0 if settings.steps < 1 else int(settings.steps))
        self.alarm = CollapseAlarm(terms)
        sides = {"query": settings.query, "doc": settings.doc}
        self.controllers = {
            name: TermController(side.target_terms, side.weight or _START)
            for name, side in sides.items()
            if side.target_terms
        }
        self.frequencies = nn.ModuleDict(
            {name: DocumentFrequency(terms) for name, side in sides.items() if side.kind == "df_flops"}
        )

    def plan(self, steps: int) -> None:
        """Told how many steps there will be, of which the schedule may take a share."""
        self.schedule = Schedule.of(self.settings.schedule, self.settings.steps, steps)

    def forward(self, queries: Tensor, documents: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What is added to the loss, and numbers for the log.

        Args:
            queries: Term weights of all queries of the step, float32 [B, V].
            documents: Of all its documents, float32 [M, V].

        Raises:
            GradirError: The vectors have collapsed.
        """
        rows = {"query": queries, "doc": documents}
        means = {name: cross_device_mean(weights) for name, weights in rows.items()}  # [V] each
        factor, total, parts = self.schedule.factor(self.step), queries.new_zeros(()), {}
        for name, side in (("query", self.settings.query), ("doc", self.settings.doc)):
            weight = factor * self._weight(name, side)
            if weight and rows[name].requires_grad:
                value = self._value(name, side, means[name], rows[name])
                total = total + weight * value
                parts[f"{side.kind}_{name}"] = value.detach()
        if self.settings.anti_collapse:
            totals = [means[name].sum() * total_rows(weights) for name, weights in rows.items()]
            total = total + self.settings.anti_collapse * anti_collapse(*totals)
        seen = torch.stack([l0(queries), l0(documents), empty_share(queries), empty_share(documents)])
        seen = gather_rows(seen.unsqueeze(0)).mean(0)  # the same on every device
        active, empty = seen.tolist()[:2], seen.tolist()[2:]
        trained = [weights.requires_grad for weights in rows.values()]
        self._observe(list(zip(rows, active, empty, trained, strict=True)))
        parts |= {"terms_query": seen[0], "terms_doc": seen[1], "empty": (seen[2] + seen[3]) / 2}
        parts |= {f"lambda_{name}": torch.tensor(one.weight) for name, one in self.controllers.items()}
        return total, parts

    def _weight(self, name: str, side: Side) -> float:
        return self.controllers[name].weight if name in self.controllers else side.weight

    def _value(self, name: str, side: Side, mean: Tensor, weights: Tensor) -> Tensor:
        if side.kind == "l1":
            return l1(mean)
        if side.kind == "flops":
            return flops(mean)
        frequency: Any = self.frequencies[name]
        return df_flops(mean, frequency.update(weights))

    def _observe(self, sides: list[tuple[str, float, float, bool]]) -> None:
        """Adjust the weights; see to it that nothing has collapsed. Queries without a model are as they are.

        Args:
            sides: (name, active terms, share of empty vectors, whether it is trained) of each.
        """
        complete = self.schedule.complete(self.step)
        for name, terms, empty, trained in sides:
            if name in self.controllers:
                self.controllers[name].observe(terms, complete)
            if trained:
                self.alarm.observe(name, terms, empty, complete)
        self.step += 1

    def memory(self) -> dict[str, Any]:
        """What a checkpoint must keep, besides the buffers."""
        controllers = {name: one.state_dict() for name, one in self.controllers.items()}
        return {"step": self.step, "alarm": self.alarm.state_dict(), "controllers": controllers}

    def remember(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.step = memory["step"]
        self.alarm.load_state_dict(memory["alarm"])
        for name, state in memory["controllers"].items():
            self.controllers[name].load_state_dict(state)
