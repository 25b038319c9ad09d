"""What the losses share: precision, masked softmax, gains, pairs, the mean over usable rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Gain = Literal["linear", "exponential"]


def at_least_float32(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores as float32 (float64 stays), 0 where the mask is False: whatever stands there gets no gradient and does no harm."""
    wide = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    return wide.masked_fill(~mask, 0.0)


def log_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax over the entries of each row that the mask holds, [B, N]; 0 elsewhere, and all through an empty row."""
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.log_softmax(1).masked_fill(~mask, 0.0)


def softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the entries of each row that the mask holds (None: all), [B, N]; 0 elsewhere."""
    if mask is None:
        return scores.softmax(1)
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.softmax(1).masked_fill(~mask, 0.0)


def gains(grades: Tensor, gain: Gain) -> Tensor:
    """The worth of a grade l: l itself (`linear`), or 2^l - 1 (`exponential`)."""
    return torch.exp2(grades) - 1 if gain == "exponential" else grades


def mean_of_rows(values: Tensor, usable: Tensor) -> Tensor:
    """Mean of values [B] over usable rows, bool [B]; 0 with a gradient of 0 where no row is usable."""
    kept = values.masked_fill(~usable, 0.0)
    return kept.sum() / usable.sum().clamp(min=1)


def mean_of_pairs(values: Tensor, pairs: Tensor) -> Tensor:
    """Mean over rows of the mean over a row's pairs; rows without a pair are left out.

    Args:
        values: [B, N, N].
        pairs: Which to take, bool [B, N, N].
    """
    counts = pairs.sum((1, 2))  # [B]
    sums = values.masked_fill(~pairs, 0.0).sum((1, 2))
    return mean_of_rows(sums / counts.clamp(min=1), counts > 0)


def differences(values: Tensor) -> Tensor:
    """`values_i - values_j`, [B, N, N] of [B, N]."""
    return values.unsqueeze(2) - values.unsqueeze(1)


def preferences(target: Tensor, mask: Tensor) -> Tensor:
    """Pairs (i, j) of which both take part and i has the higher grade, bool [B, N, N]."""
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    return both & (target.unsqueeze(2) > target.unsqueeze(1))
