"""Self-attention on a processor, forwards and backwards, as plain matrix products.

Torch's fused attention takes four times as long backwards as these products in bfloat16, and with dropout it falls back to a form
that keeps every intermediate result in float32. Here the attention weights are computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradir.models.fast_dropout import Drop

# Attention weights at a time: 4 MiB in bfloat16; larger pieces are no faster, and several of them are in memory at once.
_WEIGHTS = 2**21


def attention(
    together: Tensor, shapes: Sequence[tuple[int, int]], masks: Sequence[Tensor | None], heads: int, drop: Drop
) -> Tensor:
    """Multi-head attention within each text, `softmax(q k^T / sqrt(d)) v`, with dropout of the softmax.

    Args:
        together: Queries, keys and values of all tokens, block after block, float [T, 3 H]; further rows may follow.
        shapes: (texts, tokens of each) of every block.
        masks: Of every block True for a token, False for padding, bool [B, S]; None where no text has padding.
        heads: Attention heads.
        drop: Dropout.

    Returns:
        [T, H]; 0 in further rows.
    """
    states: Tensor = _Attention.apply(together, tuple(shapes), tuple(masks), heads, drop)
    return states


class _Part(NamedTuple):
    """Texts of one block: their rows, their number and length, and what is added to their scores, [b, 1, 1, S]."""

    rows: slice
    texts: int
    tokens: int
    hidden: Tensor | None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        together: Tensor,
        shapes: Sequence[tuple[int, int]],
        masks: Sequence[Tensor | None],
        heads: int,
        drop: Drop,
    ) -> Tensor:
        ctx.save_for_backward(together, *(mask for mask in masks if mask is not None))
        ctx.masked, ctx.shapes, ctx.heads, ctx.drop = [mask is not None for mask in masks], shapes, heads, drop
        size = together.shape[1] // 3
        states = together.new_zeros(len(together), size)
        keep = drop.masks()
        for part in _parts(shapes, masks, heads, together.dtype):
            query, key, value = _split(together[part.rows], part, 3, heads)  # [b * heads, S, d] each
            weights = keep(_weights(query, key, part))
            found = torch.bmm(weights, value)
            _join(states[part.rows], found.mul_(drop.scale) if drop.probability else found, part, heads)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        together, *given = ctx.saved_tensors
        rest = iter(given)
        masks = [next(rest) if masked else None for masked in ctx.masked]
        result, drop, heads = torch.zeros_like(together), ctx.drop, ctx.heads
        keep = drop.masks()
        for part in _parts(ctx.shapes, masks, heads, together.dtype):
            query, key, value = _split(together[part.rows], part, 3, heads)
            (gradient,) = _split(gradients[0][part.rows], part, 1, heads)  # [b * heads, S, d]
            gradient = gradient * drop.scale if drop.probability else gradient
            weights = _weights(query, key, part)
            kept = keep(torch.ones_like(weights)) if drop.probability else None
            used = weights if kept is None else weights * kept
            for_value = torch.bmm(used.transpose(1, 2), gradient)
            for_weights = torch.bmm(gradient, value.transpose(1, 2))
            if kept is not None:
                for_weights *= kept
            scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
            scores *= query.shape[-1] ** -0.5
            for_query, for_key = torch.bmm(scores, key), torch.bmm(scores.transpose(1, 2), query)
            for place, found in zip(result[part.rows].chunk(3, 1), (for_query, for_key, for_value), strict=True):
                _join(place, found, part, heads)
        return result, None, None, None, None


def _parts(
    shapes: Sequence[tuple[int, int]], masks: Sequence[Tensor | None], heads: int, dtype: torch.dtype
) -> Iterator[_Part]:
    """Each block in pieces of so many texts that their attention weights are no more than a piece of work."""
    row = 0
    for (texts, tokens), mask in zip(shapes, masks, strict=True):
        added = None
        if mask is not None:
            added = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -torch.inf)[:, None, None]
        size = max(1, _WEIGHTS // (heads * tokens * tokens))
        for first in range(0, texts, size):
            count = min(size, texts - first)
            hidden = None if added is None else added[first : first + count]
            yield _Part(slice(row, row + count * tokens), count, tokens, hidden)
            row += count * tokens


def _weights(query: Tensor, key: Tensor, part: _Part) -> Tensor:
    """`softmax(q k^T / sqrt(d))`, [b * heads, S, S]."""
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(query.shape[-1] ** -0.5)
    if part.hidden is not None:
        scores.view(part.texts, -1, part.tokens, part.tokens).add_(part.hidden)
    return scores.softmax(-1)


def _split(rows: Tensor, part: _Part, count: int, heads: int) -> Tensor:
    """From [b * S, count * H] to [count, b * heads, S, d], contiguous."""
    seen = rows.view(part.texts, part.tokens, count, heads, -1).permute(2, 0, 3, 1, 4)  # [count, b, heads, S, d]
    return seen.reshape(count, part.texts * heads, part.tokens, -1)


def _join(rows: Tensor, found: Tensor, part: _Part, heads: int) -> None:
    """Write [b * heads, S, d] to where `_split` would take it from, [b * S, H]."""
    seen = rows.unflatten(0, (part.texts, part.tokens)).unflatten(2, (heads, -1)).transpose(1, 2)  # [b, heads, S, d]
    seen.copy_(found.view(seen.shape))
