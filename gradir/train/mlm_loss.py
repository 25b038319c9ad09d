"""The masked-language loss at masked positions alone, without logits of all tokens in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_TILE = 1 << 23  # logits at a time: 32 MiB of float32


def masked_loss(
    states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None, sparse: bool = False, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the hidden tokens, summed over the masked positions i, with logits `z_ij = h_i . e_j + b_j`:

        L = sum_i [ log sum_j exp(z_ij) - z_it ]

    and, with `sparse`, the same of SPLADE's term weights `w_ij = log(1 + relu(z_ij))` in place of the logits:

        L + sum_i [ log sum_j (1 + relu(z_ij)) - w_it ]

    The first does not notice where all logits of a position become smaller by the same number, which is what a regulariser of
    the weights would soon make them do; the second holds the weights of hidden tokens up.

    Tiles of positions are multiplied one after the other, and the gradient of each is taken at once: beside the gradient of the
    embeddings nothing is kept. Products are in autocast's dtype where that is on, the softmax in float32.

    Args:
        states: What enters the decoder at the masked positions, float [M, H].
        targets: The hidden tokens, int64 [M].
        weight: Output embeddings, float [V, H].
        bias: Output bias, float [V].
        sparse: Add the second term.
        tile: Positions at a time; chosen by V if None.

    Returns:
        (the loss to be learnt from, its first term without a gradient), scalars, float32.
    """
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    rows = tile or max(16, _TILE // len(weight))
    with torch.autocast(kind, enabled=False):
        total, plain = _MaskedLoss.apply(states, targets, weight, bias, sparse, rows, dtype)
    return total, plain


class _MaskedLoss(torch.autograd.Function):
    """Loss and gradient in one pass over tiles of positions."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sparse: bool,
        tile: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        learning = any(ctx.needs_input_grad)
        embeddings, shift = weight.to(dtype), None if bias is None else bias.float()
        plain = second = states.new_zeros((), dtype=torch.float32)
        for_states = torch.zeros_like(states, dtype=torch.float32) if learning else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if learning else None
        for_bias = torch.zeros_like(shift) if learning and shift is not None else None
        for start in range(0, len(states), tile):
            some, wanted = states[start : start + tile].to(dtype), targets[start : start + tile, None]
            logits = (some @ embeddings.T).float()  # [tile, V]
            logits = logits if shift is None else logits.add_(shift)
            loss, of_weights, gradient = _cross_entropy(logits, wanted, sparse, learning)
            plain, second = plain + loss, second + of_weights
            if gradient is None or for_states is None or for_weight is None:
                continue
            if for_bias is not None:
                for_bias += gradient.sum(0)
            gradient = gradient.to(dtype)
            for_states[start : start + tile] = gradient @ embeddings
            for_weight += gradient.T @ some
        ctx.save_for_backward(for_states, for_weight, for_bias)
        ctx.dtypes = states.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(plain)
        return plain + second, plain

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        share = gradients[0]
        scaled = [
            None if one is None else (one * share).to(dtype)
            for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        for_states, for_weight, for_bias = scaled
        return for_states, None, for_weight, for_bias, None, None, None


def _cross_entropy(
    logits: Tensor, targets: Tensor, sparse: bool, learning: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(first term, second term, gradient of their sum [n, V]) of logits [n, V], float32, which are used up."""
    wanted = logits.gather(1, targets)  # [n, 1]
    of_all = logits.logsumexp(1, keepdim=True)  # [n, 1]
    plain = (of_all - wanted).sum()
    active = logits.relu().add_(1.0) if sparse else None  # [n, V], exp(w)
    gradient = logits.sub_(of_all).exp_() if learning else None
    one = -torch.ones_like(wanted)
    if gradient is not None:
        gradient.scatter_add_(1, targets, one)
    if active is None:
        return plain, torch.zeros_like(plain), gradient
    mass, own = active.sum(1, keepdim=True), active.gather(1, targets)  # [n, 1]
    second = (mass.log() - own.log()).sum()
    if gradient is not None:
        gradient += (active > 1.0) / mass
        gradient.scatter_add_(1, targets, one * (own > 1.0) / own)
    return plain, second, gradient
