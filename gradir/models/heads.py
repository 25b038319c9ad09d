"""Pooling heads: from token states to one vector a text. Plain functions of tensors."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

DensePooling = Literal["mean", "cls"]

# Columns of the vocabulary multiplied at a time: 256 tokens x 1,024 columns stay in a core's cache.
VOCAB_TILE = 1024


def dense_pool(hidden: Tensor, mask: Tensor, pooling: DensePooling, normalize: bool) -> Tensor:
    """One vector a text.

    Args:
        hidden: Token states, float [B, S, H].
        mask: 1 for a token, 0 for padding, int [B, S].
        pooling: `mean` over tokens, or the state of the first token (`cls`).
        normalize: Scale to unit Euclidean length.

    Returns:
        float32 [B, H].
    """
    if pooling == "cls":
        pooled = hidden[:, 0].float()  # [B, H]
    else:
        weights = mask.unsqueeze(-1).float()  # [B, S, 1]
        pooled = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)  # [B, H]
    return torch.nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def splade_pool(
    hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None, tile: int = VOCAB_TILE
) -> Tensor:
    """SPLADE's term weights, `w_j = max_i log(1 + relu(h_i . e_j + b_j))` (SPLADE v2, Formal et al. 2021, arXiv 2109.10086).

    `log1p(relu(.))` grows monotonically and the bias does not depend on the token, so the raw products are pooled first and
    `[B, V]` is activated once.

    Args:
        hidden: Token states after the head's transform, float [B, S, H].
        mask: 1 for a token, 0 for padding, int [B, S]; the first token of a text is never padding.
        weight: Output embeddings, float [V, H].
        bias: Output bias, float [V].
        tile: Vocabulary columns at a time.

    Returns:
        float32 [B, V], not negative.
    """
    logits = max_products(hidden, mask, weight, tile).float()  # [B, V]
    if bias is not None:
        logits = logits + bias.float()
    return logits.relu().log1p()


def max_products(hidden: Tensor, mask: Tensor, weight: Tensor, tile: int = VOCAB_TILE) -> Tensor:
    """`max_i h_i . e_j`, one tile of the vocabulary at a time: `[B, S, V]` never exists, also not for the gradient.

    Arguments as in `splade_pool`. Returns [B, V] in the dtype of the products.
    """
    # A padding position repeats the first token: a repeated value does not change a maximum, and no tile needs a mask.
    states = torch.where(mask.unsqueeze(-1).bool(), hidden, hidden[:, :1])  # [B, S, H]
    if torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad):
        pooled: Tensor = _MaxProducts.apply(states, weight, tile)
        return pooled
    return torch.cat([(states @ rows.T).amax(1) for rows in weight.split(tile)], dim=-1)  # [B, V]


class _MaxProducts(torch.autograd.Function):
    """`max_i h_i . e_j` that keeps of each product only the position of its maximum for the gradient."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, tile: int) -> Tensor:
        pooled = [(states @ rows.T).max(1) for rows in weight.split(tile)]
        places = torch.cat([found.indices.to(torch.int32) for found in pooled], dim=-1)  # [B, V]
        ctx.save_for_backward(states, weight, places)
        ctx.tile = tile
        return torch.cat([found.values for found in pooled], dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        states, weight, places = ctx.saved_tensors
        (gradient,) = gradients  # [B, V], in the dtype of the products, which autocast may have lowered
        inputs = states.to(gradient.dtype)
        for_states = torch.zeros_like(states)
        for_weight = []
        tiles = zip(weight.split(ctx.tile), places.split(ctx.tile, 1), gradient.split(ctx.tile, 1), strict=True)
        for rows, place, share in tiles:
            products = gradient.new_zeros(*states.shape[:2], len(rows))  # [B, S, tile]
            products.scatter_(1, place.long().unsqueeze(1), share.unsqueeze(1))
            for_states += products @ rows.to(gradient.dtype)
            for_weight.append(products.flatten(0, 1).T @ inputs.flatten(0, 1))  # [tile, H]
        return for_states, torch.cat(for_weight).to(weight.dtype), None
