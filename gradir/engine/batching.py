"""Batches of texts of like length, filled to a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[NDArray[np.int64]]:
    """Positions of the texts of each batch, the longest texts first.

    Longest first: a batch that does not fit in memory fails at the start, not after an hour. The order depends on the
    lengths and the budget alone (ties stay in text order).

    Args:
        lengths: Tokens of each text.
        budget: Padded tokens of a batch, texts x longest; a single longer text is a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


# The attention of a processor takes twice the time where a length is not a multiple of this; a GPU's wants 8.
_STEP = 16


def padded(ids: Sequence[Sequence[int]], padding: int, positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """As `filled`, on a device."""
    import torch

    block, mask = filled(ids, padding, positions)
    return torch.from_numpy(block).to(device), torch.from_numpy(mask).to(device)


def filled(ids: Sequence[Sequence[int]], padding: int, positions: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(token ids, mask: 1 for a token and 0 for padding) of a batch, int64 [B, S] each.

    Args:
        ids: Token ids of each text.
        padding: The id that fills up.
        positions: The most tokens that may be filled up to; a longer text stays as it is.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    longest = int(lengths.max())
    longest = max(longest, min(-(-longest // _STEP) * _STEP, positions))
    mask = np.arange(longest) < lengths[:, None]  # [B, S]
    block = np.full(mask.shape, padding, np.int64)
    block[mask] = np.concatenate([np.asarray(row, np.int64) for row in ids])
    return block, mask.astype(np.int64)
