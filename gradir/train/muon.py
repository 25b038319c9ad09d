"""Muon for the matrices inside a model and AdamW for all else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_BETAS = (0.9, 0.98)


class MuonAdamW(torch.optim.Optimizer):
    """Steps of equal length in all directions for matrices (Jordan et al. 2024, "Muon"), AdamW for embeddings, norms and biases.

    Muon's update of a matrix [m, n] is made orthogonal and as long as AdamW's is, 0.2 * sqrt(max(m, n)) (Liu et al. 2025,
    arXiv 2502.16982), so that both parts take the same learning rate. Weights with one dimension do not decay, nor do embeddings.

    Args:
        model: Whose parameters are trained.
        learning_rate: Of both parts.
        weight_decay: Of the matrices.
    """

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float):
        embeddings = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        inner = [one for one in trained if one.ndim == 2 and id(one) not in embeddings]
        chosen = {id(one) for one in inner}
        super().__init__(trained, {"lr": learning_rate})
        muon = torch.optim.Muon(inner, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        others = [one for one in trained if id(one) not in chosen]
        self.parts = [muon, torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.0, betas=_BETAS)]
        self._share_groups()

    def _share_groups(self) -> None:
        """A schedule that sets learning rates here sets those of the parts."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Those of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
