"""Dropout on a processor at the price of a few passes over memory: random bits from NumPy's SFC64, laid over the numbers as a mask.

`torch.bernoulli` takes 7 ns for each number, more than all other work of an attention layer of a small encoder together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# Integers as wide as the numbers they mask.
_INTEGER = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


class Drop(NamedTuple):
    """Which numbers are dropped: each with this probability, drawn from this seed.

    Attributes:
        probability: From 0 to below 1; it is kept to 15 bits, that is within 1.6e-5, or better.
        seed: The same seed drops the same numbers, so that no mask need be stored for the way back.
    """

    probability: float
    seed: int

    @property
    def scale(self) -> float:
        """What kept numbers are multiplied by, so that the mean stays."""
        return 1.0 / (1.0 - self.probability)

    def masks(self) -> Callable[[Tensor], Tensor]:
        """`mask(x)`: sets dropped numbers of `x`, which must be contiguous, to 0 in place, and returns it; not scaled. Each call
        draws anew."""
        if not self.probability:
            return lambda x: x
        bits = np.random.Generator(np.random.SFC64(self.seed))
        return lambda x: _masked(x, _kept(bits, x, self.probability))


def seeds() -> Callable[[], int]:
    """A source of seeds, which torch's own random state decides: `torch.manual_seed`, and a state that is put back, hold for it."""
    first = int(torch.randint(2**62, ()))
    count = iter(range(2**62))
    return lambda: first + next(count)


def _kept(bits: np.random.Generator, like: Tensor, probability: float) -> Tensor:
    """-1, all bits set, for each number that is kept and 0 for one that is dropped, int [*]."""
    integer = _INTEGER[like.dtype]
    width = 8 * like.element_size() - 1
    count = -(-like.numel() * like.element_size() // 8) or 1  # torch lays nothing anew over no words at all
    words = bits.integers(0, 2**64, count, dtype=np.uint64)
    drawn = torch.from_numpy(words.view(np.int64)).view(integer)[: like.numel()].view(like.shape)
    # With the sign bit set, each is one of the 2**width negative numbers; adding carries the share to be dropped over 0.
    drawn.bitwise_or_(-(2**width)).add_(round(probability * 2**width))
    return drawn.bitwise_right_shift_(width)


def _masked(x: Tensor, kept: Tensor) -> Tensor:
    x.view(kept.dtype).bitwise_and_(kept)
    return x


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drop: Drop) -> Tensor:
        ctx.drop = drop
        return drop.masks()(x * drop.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.drop.masks()(gradients[0] * ctx.drop.scale), None


def dropped(x: Tensor, drop: Drop) -> Tensor:
    """`x` after dropout."""
    if not drop.probability:
        return x
    result: Tensor = _Dropped.apply(x.contiguous(), drop)
    return result
