"""Term weights to impacts, on the device they lie on; no dictionary is ever made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors
from gradir.errors import GradirError

if TYPE_CHECKING:
    from torch import Tensor


class UnsoundVector(GradirError):
    """A model gave numbers that are none.

    Args:
        row: The place of the text among those given.
        name: What to call the text.
    """

    def __init__(self, row: int, name: str = ""):
        self.row = row
        super().__init__(
            f"{name or f'text {row}'}: its vector holds NaN, infinity or an impact of 2**31 or more. "
            "Are the model's weights sound? Try --dtype float32."
        )


def quantise(
    weights: Tensor, scale: float, top_k: int | None = None, activation: Callable[[Tensor], Tensor] | None = None
) -> SparseVectors:
    """Impacts `round(weight * scale)` of term weights, rounded half to even as in Pyserini; those of 0 are left out.

    Args:
        weights: [B, V], not negative, in any number format, on any device.
        scale: 51.2 in Pyserini and Anserini.
        top_k: Keep only the largest weights of each text (the lower term id where they tie).
        activation: Makes the weights of the given values, float32 [nnz]: rising, 0 at 0. Zeros do not go through it.

    Raises:
        UnsoundVector: A weight is NaN, infinite or negative, or its impact does not fit 32 bits.
    """
    import torch

    if top_k is not None and top_k < weights.shape[1]:
        kept = torch.sort(weights, dim=1, descending=True, stable=True).indices[:, :top_k]
        weights = torch.zeros_like(weights).scatter_(1, kept, weights.gather(1, kept))
    rows, terms = torch.nonzero(weights, as_tuple=True)  # [nnz] each; NaN is not zero
    values = weights[rows, terms].float()
    impacts = torch.round((activation(values) if activation else values) * scale)
    sound = (values >= 0) & (impacts < 2.0**31)  # NaN is neither
    if not sound.all():
        raise UnsoundVector(int(rows[~sound][0]))
    kept = impacts > 0
    rows, terms, impacts = rows[kept], terms[kept].to(torch.int32), impacts[kept].to(torch.int32)
    counts = torch.bincount(rows, minlength=len(weights)).cpu().numpy()
    indptr: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SparseVectors(indptr, terms.cpu().numpy(), impacts.cpu().numpy())


def quantise_array(weights: NDArray[np.float32], scale: float, top_k: int | None = None) -> SparseVectors:
    """As `quantise`, of an array: for processes that never load torch.

    Args:
        weights: [B, V], finite and not negative.
        scale: 51.2 in Pyserini and Anserini.
        top_k: Keep only the largest weights of each text (the lower term id where they tie).

    Raises:
        UnsoundVector: An impact does not fit 32 bits.
    """
    if top_k is not None and top_k < weights.shape[1]:
        dropped = np.argsort(-weights, axis=1, kind="stable")[:, top_k:]
        weights = weights.copy()
        np.put_along_axis(weights, dropped, 0, axis=1)
    impacts = np.rint(weights * np.float32(scale))  # [B, V]
    rows, terms = np.nonzero(impacts)
    values = impacts[rows, terms]
    if (values >= 2.0**31).any():
        raise UnsoundVector(int(rows[np.argmax(values >= 2.0**31)]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))]).astype(np.int64)
    return SparseVectors(indptr, terms.astype(np.int32), values.astype(np.int32))


def emptied(vectors: SparseVectors, blank: Sequence[bool]) -> SparseVectors:
    """The vectors with those of blank texts emptied: their special tokens alone would expand to the same terms every time."""
    if not any(blank):
        return vectors
    lengths = np.diff(vectors.indptr)
    kept = ~np.repeat(blank, lengths)
    indptr = np.concatenate([[0], np.cumsum(np.where(blank, 0, lengths))]).astype(np.int64)
    return SparseVectors(indptr, vectors.terms[kept], vectors.impacts[kept])
