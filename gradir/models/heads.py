"""Pooling heads: from token states to one vector a text. Plain functions of tensors."""

from __future__ import annotations

from typing import Literal

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


def splade_pool(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, tile: int = VOCAB_TILE) -> Tensor:
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
    return (max_products(hidden, mask, weight, tile).float() + bias.float()).relu_().log1p_()


def max_products(hidden: Tensor, mask: Tensor, weight: Tensor, tile: int = VOCAB_TILE) -> Tensor:
    """`max_i h_i . e_j`, one tile of the vocabulary at a time: `[B, S, V]` never exists.

    Arguments as in `splade_pool`. Returns [B, V] in the dtype of `hidden`.
    """
    # A padding position repeats the first token: a repeated value does not change a maximum, and no tile needs a mask.
    states = torch.where(mask.unsqueeze(-1).bool(), hidden, hidden[:, :1])  # [B, S, H]
    return torch.cat([(states @ rows.T).amax(1) for rows in weight.split(tile)], dim=-1)  # [B, V]
