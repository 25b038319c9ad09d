"""Batches of texts of like length, filled to a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


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
