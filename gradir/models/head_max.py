"""SPLADE's max pooling with its gradient: `[T, V]` never exists, neither forwards nor backwards.

The gradient of a term's weight goes to one token of the text, and only where the weight is above 0. A trained encoder gives a text
some 1% of the terms. So the way forwards keeps the weights alone, and the way backwards multiplies again just the terms that are
active in a text, to see at which token each was largest. Columns of the vocabulary in which many texts are active are multiplied
whole, as an untrained head has them, and there the place of each maximum is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Share of active weights from which a tile of columns is multiplied whole in the backward pass.
DENSE = 0.2
# Numbers in a piece of work of the sparse way back: 4 MiB on a processor.
_PIECE = {"cpu": 2**20}
_PIECE_ELSEWHERE = 2**26

# Terms of a text are filled up to multiples of this: oneDNN compiles a product for every new shape, and keeps it.
_TERMS = 128

Shapes = Sequence[tuple[int, int]]  # (texts, tokens of each) of every block


def max_weights(
    states: Tensor, shapes: Shapes, weight: Tensor, bias: Tensor | None, tile: int, twice: bool = False
) -> Tensor:
    """`log(1 + relu(max_i h_i . e_j + b_j))`; under autocast the products are in its dtype.

    Args:
        states: States of all tokens, block after block, float [T, H]; further rows may follow. Padding repeats another token of its
            text.
        shapes: (texts, tokens of each) of every block.
        weight: Output embeddings, float [V, H].
        bias: Output bias, float [V].
        tile: Vocabulary columns at a time.
        twice: Take the logarithm twice, `log(1 + log(1 + relu(.)))`.

    Returns:
        float32 [B, V], or float64 for states of float64; texts in the order of the blocks.
    """
    weights: Tensor = _MaxWeights.apply(states, weight, bias, tuple(shapes), tile, twice, torch.is_grad_enabled())
    return weights


def products_dtype(states: Tensor) -> torch.dtype:
    """The number format of products with these states: autocast's, where it is on."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype


class _MaxWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shapes: Shapes,
        tile: int,
        twice: bool,
        learning: bool,
    ) -> Tensor:
        dtype = products_dtype(states)
        wide = torch.promote_types(dtype, torch.float32)
        ctx.dense = []  # first columns of the tiles whose places are kept
        weights = states.new_empty(sum(texts for texts, _ in shapes), len(weight), dtype=wide)  # [B, V]
        places = []
        with torch.autocast(states.device.type, enabled=False):
            low = states.to(dtype)  # [T, H]
            for start, end in _tiles(len(weight), tile):
                products = low @ weight[start:end].to(dtype).T  # [T, tile]
                logits = _largest(products, shapes).to(wide)  # [B, tile]
                if bias is not None:
                    logits += bias[start:end]
                weights[:, start:end] = logits
                if learning and any(ctx.needs_input_grad) and (logits > 0).float().mean() > DENSE:
                    ctx.dense.append(start)
                    places.append(_places(products, shapes))
        weights.relu_().log1p_()
        if twice:
            weights.log1p_()
        ctx.save_for_backward(low, weight, weights, *places)
        ctx.shapes, ctx.tile, ctx.twice = shapes, tile, twice
        ctx.bias_dtype, ctx.states_dtype = None if bias is None else bias.dtype, states.dtype
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        low, weight, weights, *places = ctx.saved_tensors
        share = _before_activation(gradients[0], weights, ctx.twice)  # [B, V]
        for_bias = None if ctx.bias_dtype is None else share.sum(0).to(ctx.bias_dtype)
        back = _Back(
            torch.zeros(low.shape, dtype=share.dtype, device=low.device),
            torch.zeros(weight.shape, dtype=share.dtype, device=low.device) if ctx.needs_input_grad[1] else None,
        )
        with torch.autocast(low.device.type, enabled=False):
            for start, place in zip(ctx.dense, places, strict=True):
                columns = slice(start, min(start + ctx.tile, len(weight)))
                _dense(back, low, weight, ctx.shapes, share, place, columns)
                share[:, columns] = 0.0
            if len(ctx.dense) * ctx.tile < len(weight):
                for block in _blocks(low, ctx.shapes, share):
                    _sparse(back, weight, block)
        for_weight = None if back.weight is None else back.weight.to(weight.dtype)
        return back.states.to(ctx.states_dtype), for_weight, for_bias, None, None, None, None


class _Back(NamedTuple):
    """Gradients that are being added up: of the states [T, H] and, unless it is frozen, of the weight [V, H]."""

    states: Tensor
    weight: Tensor | None


class _Block(NamedTuple):
    """Some texts of one block: places of their first and last row, states [b, S, H], gradient before the activation [b, V]."""

    first: int
    last: int
    states: Tensor
    share: Tensor


def _tiles(columns: int, tile: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, columns, tile), columns])


def blocks_of(rows: Tensor, shapes: Shapes) -> list[Tensor]:
    """The rows of each block, [texts, tokens, columns], views."""
    ends = [0, *accumulate(texts * tokens for texts, tokens in shapes)]
    return [rows[a:b].view(*shape, -1) for (a, b), shape in zip(pairwise(ends), shapes, strict=True)]


def _largest(products: Tensor, shapes: Shapes) -> Tensor:
    """The largest product of each text, [B, tile]."""
    found = [part.amax(1) for part in blocks_of(products, shapes)]
    return found[0] if len(found) == 1 else torch.cat(found)


def _places(products: Tensor, shapes: Shapes) -> Tensor:
    """At which token of its text each product is largest, int32 [B, tile]."""
    return torch.cat([part.max(1).indices.to(torch.int32) for part in blocks_of(products, shapes)])


def _before_activation(gradient: Tensor, weights: Tensor, twice: bool) -> Tensor:
    """The gradient of the logits, from that of `log(1 + relu(logits))` and its values: divided by `1 + logits`, and 0 where the
    value is 0."""
    inner = weights.expm1() if twice else weights
    share = gradient * inner.neg().exp_()
    if twice:
        share *= weights.neg().exp_()
    return share.masked_fill_(weights <= 0, 0.0)


def _dense(
    back: _Back, low: Tensor, weight: Tensor, shapes: Shapes, share: Tensor, place: Tensor, columns: slice
) -> None:
    """Add the gradients of a tile of columns, as products of whole matrices."""
    part = low.new_zeros(len(low), place.shape[1])  # [T, tile]
    texts = [texts for texts, _ in shapes]
    pieces = zip(blocks_of(part, shapes), place.split(texts), share[:, columns].split(texts), strict=True)
    for piece, where, value in pieces:
        piece.scatter_(1, where.long().unsqueeze(1), value.to(low.dtype).unsqueeze(1))
    back.states.add_(part @ weight[columns].to(low.dtype))
    if back.weight is not None:
        back.weight[columns] += part.T @ low


def _blocks(low: Tensor, shapes: Shapes, share: Tensor) -> Iterator[_Block]:
    """Pieces of a few texts of one block, as many as a piece of work takes."""
    most = _PIECE.get(low.device.type, _PIECE_ELSEWHERE)
    row = text = 0
    for texts, tokens in shapes:
        active = int((share[text : text + texts] != 0).sum(1).max()) if texts else 0
        size = max(1, most // (_filled(active) * max(tokens, low.shape[1])))
        for start in range(0, texts, size):
            count = min(size, texts - start)
            first = row + start * tokens
            last = first + count * tokens
            values = share[text + start : text + start + count]
            yield _Block(first, last, low[first:last].view(count, tokens, -1), values)
        row, text = row + texts * tokens, text + texts


def _filled(terms: int) -> int:
    return max(1, -(-terms // _TERMS)) * _TERMS


def _sparse(back: _Back, weight: Tensor, block: _Block) -> None:
    """Add the gradients of some texts, of which only active terms are looked at."""
    texts, terms = block.share.nonzero(as_tuple=True)  # [N] each, texts ascending
    if not len(texts):
        return
    states, dtype = block.states, block.states.dtype
    counts = torch.bincount(texts, minlength=len(states))  # [b]
    number = torch.arange(len(texts), device=texts.device) - (counts.cumsum(0) - counts)[texts]  # of a term in its text
    most = _filled(int(counts.max()))
    ids = terms.new_zeros(len(states), most)  # [b, n]; filled up with term 0, whose share is 0
    ids[texts, number] = terms
    value = block.share[texts, terms]  # [N]
    shares = states.new_zeros(len(states), most)
    shares[texts, number] = value.to(dtype)
    rows = weight[ids.flatten()].to(dtype).view(len(states), most, -1)  # [b, n, H]
    place = (states @ rows.transpose(1, 2)).max(1).indices  # [b, n]
    spread = states.new_zeros(len(states), states.shape[1], most)  # [b, S, n]
    spread.scatter_(1, place.unsqueeze(1), shares.unsqueeze(1))
    back.states[block.first : block.last] += (spread @ rows).flatten(0, 1)
    if back.weight is not None:
        token = texts * states.shape[1] + place[texts, number]  # [N]
        found = states.flatten(0, 1)[token].to(value.dtype) * value.unsqueeze(1)  # [N, H]
        back.weight.index_add_(0, terms, found)
