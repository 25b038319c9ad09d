"""SPLADE's max pooling for inference on a CPU: products, bias and relu in one pass, the maximum over integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradir.engine.compact import PackedProduct

# Columns at a time: with 4,096 tokens a tile of bfloat16 is 8 MiB. From 32 MiB on, the C library maps fresh pages for every tile,
# and these cost more than the products.
_TILE = 1024
_AS_INTEGER = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


class PackedHead(nn.Module):
    """`max_i relu(h_i . e_j + b_j)`: what SPLADE takes `log1p` of (Formal et al. 2021, arXiv 2109.10086), [B, V].

    The bits of floating-point numbers that are not negative, read as integers, stand in the same order, and the maximum of integers
    takes a fifth of the time.

    Args:
        decoder: The output layer, [V, H] and bias.
        dropped: Terms that are always 0.
        dtype: Number format, bfloat16 or float32.
    """

    def __init__(self, decoder: nn.Linear, dropped: Tensor, dtype: torch.dtype):
        super().__init__()
        weight, bias = decoder.weight.detach(), torch.zeros(decoder.out_features)
        if decoder.bias is not None:
            bias = decoder.bias.detach().clone()
        bias[dropped] = -torch.inf
        self.dtype = dtype
        tiles = zip(weight.split(_TILE), bias.split(_TILE), strict=True)
        self.tiles = [PackedProduct(rows, shift, dtype) for rows, shift in tiles]

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The largest activation of each term, not negative, [B, V] in the head's number format.

        Args:
            hidden: Token states after the head's transform, [B, S, H].
            mask: 1 for a token, 0 for padding, int [B, S]; the first token of a text is never padding.
        """
        batch, length, _ = hidden.shape
        if not mask.all():  # padding repeats the first token: a repeated value does not change a maximum
            hidden = torch.where(mask.unsqueeze(-1).bool(), hidden, hidden[:, :1])
        states, integer = hidden.reshape(batch * length, -1), _AS_INTEGER[self.dtype]
        pooled = [tile.relu(states).view(integer).view(batch, length, -1).amax(1) for tile in self.tiles]
        return torch.cat(pooled, dim=-1).view(self.dtype)
