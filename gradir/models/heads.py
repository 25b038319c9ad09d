"""Pooling heads: from token states to one vector a text. Plain functions of tensors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gradir.models.head_max import max_weights

DensePooling = Literal["mean", "cls", "max", "last"]
Activation = Literal["relu", "log1p_relu"]

# Columns of the vocabulary multiplied at a time: 256 tokens x 1,024 columns stay in a core's cache.
VOCAB_TILE = 1024


def dense_pool(hidden: Tensor, mask: Tensor, pooling: DensePooling, normalize: bool) -> Tensor:
    """One vector a text, over its real tokens, on whichever side the padding stands.

    Args:
        hidden: Token states, float [B, S, H].
        mask: 1 for a token, 0 for padding, int [B, S].
        pooling: `mean` over the tokens, the largest value of each number (`max`), or the state of the first token (`cls`)
            or of the `last`.
        normalize: Scale to unit Euclidean length.

    Returns:
        float32 [B, H].
    """
    if pooling in ("cls", "last"):
        pooled = _state_at_end(hidden, mask, first=pooling == "cls").float()  # [B, H]
    elif pooling == "max":
        pooled = hidden.float().masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    else:
        weights = mask.unsqueeze(-1).float()  # [B, S, 1]
        pooled = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)  # [B, H]
    return torch.nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def _state_at_end(hidden: Tensor, mask: Tensor, first: bool) -> Tensor:
    """The state of the first or the last real token, [B, H]. (Not by argmax, which ONNX Runtime lacks for integers.)"""
    end = mask.shape[1] - 1
    places = torch.arange(end + 1, device=mask.device)  # [S]
    farthest = (mask * (end - places if first else places)).amax(1).long()  # [B]
    place = end - farthest if first else farthest
    return hidden.gather(1, place.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])).squeeze(1)


def splade_pool(
    hidden: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    tile: int = VOCAB_TILE,
    pooling: Literal["max", "sum"] = "max",
    activation: Activation = "relu",
) -> Tensor:
    """SPLADE's term weights, `w_j = pool_i log(1 + relu(h_i . e_j + b_j))`: the largest over the tokens (SPLADE v2, Formal et al.
    2021, arXiv 2109.10086), or their sum (SPLADE, Formal et al. 2021, arXiv 2107.05720).

    For the maximum: `log1p(relu(.))` grows monotonically and the bias does not depend on the token, so the raw products are
    pooled first and `[B, V]` is activated once.

    Args:
        hidden: Token states after the head's transform, float [B, S, H].
        mask: 1 for a token, 0 for padding, int [B, S]; the first token of a text is never padding.
        weight: Output embeddings, float [V, H].
        bias: Output bias, float [V].
        tile: Vocabulary columns at a time.
        pooling: `max` or `sum`.
        activation: `relu`; or `log1p_relu`, which takes `log(1 + relu(.))` in its place, so that there are two logarithms.

    Returns:
        float32 [B, V], not negative.
    """
    if pooling == "sum":
        return _sum_activated(hidden, mask, weight, bias, tile, activation)
    if not (torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (hidden, weight, bias))):
        logits = max_products(hidden, mask, weight, tile).float()  # plain operations, which an ONNX graph has
        return _activated(logits if bias is None else logits + bias.float(), activation)
    twice = activation == "log1p_relu"
    return max_weights(
        repeated(hidden, mask).flatten(0, 1), [(hidden.shape[0], hidden.shape[1])], weight, bias, tile, twice
    )


def _activated(logits: Tensor, activation: Activation) -> Tensor:
    weights = logits.relu().log1p()
    return weights.log1p() if activation == "log1p_relu" else weights


def _sum_activated(
    hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, tile: int, activation: Activation
) -> Tensor:
    """`sum_i log(1 + relu(h_i . e_j + b_j))`, float32 [B, V], one tile of the vocabulary at a time.

    The gradient makes each tile of [B, S, tile] anew, so that no more than one of them is ever in memory.
    """
    real = mask.unsqueeze(-1).bool()  # [B, S, 1]
    states = hidden.masked_fill(~real, 0.0)  # garbage on padding, times 0, could still be no number

    def pooled(states: Tensor, rows: Tensor, shift: Tensor | None) -> Tensor:
        logits = (states @ rows.T).float()  # [B, S, tile]
        logits = logits if shift is None else logits + shift.float()
        return _activated(logits, activation).masked_fill(~real, 0.0).sum(1)

    learning = torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad)
    shifts = [None] * -(-len(weight) // tile) if bias is None else bias.split(tile)
    parts = []
    for rows, shift in zip(weight.split(tile), shifts, strict=True):
        if learning:
            parts.append(checkpoint(pooled, states, rows, shift, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(pooled(states, rows, shift))
    return torch.cat(parts, dim=-1)


def max_products(hidden: Tensor, mask: Tensor, weight: Tensor, tile: int = VOCAB_TILE) -> Tensor:
    """`max_i h_i . e_j` without gradient, one tile of the vocabulary at a time.

    Arguments as in `splade_pool`. Returns [B, V] in the dtype of the products.
    """
    states = repeated(hidden, mask)
    with torch.no_grad():
        return torch.cat([(states @ rows.T).amax(1) for rows in weight.split(tile)], dim=-1)  # [B, V]


def repeated(hidden: Tensor, mask: Tensor) -> Tensor:
    """A padding position repeats the first token: a repeated value does not change a maximum, and no tile needs a mask."""
    return torch.where(mask.unsqueeze(-1).bool(), hidden, hidden[:, :1])  # [B, S, H]
