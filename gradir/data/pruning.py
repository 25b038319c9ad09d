"""Fewer terms of sparse vectors: what indexes keep of documents, and the first of two steps of queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors


def keep(vectors: SparseVectors, kept: NDArray[np.bool_]) -> SparseVectors:
    """The vectors with those postings that are marked."""
    counts = np.concatenate([[0], np.cumsum(kept)])
    return SparseVectors(counts[vectors.indptr].astype(np.int64), vectors.terms[kept], vectors.impacts[kept])


def top_k(vectors: SparseVectors, k: int) -> SparseVectors:
    """The k largest impacts of each row, of equal ones those with the smaller term ids."""
    lengths = np.diff(vectors.indptr)
    if not len(lengths) or lengths.max() <= k:
        return vectors
    rows = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    # Stable, and terms ascend: equal impacts of a row stay in the order of their terms.
    order = np.argsort((rows << 32) - vectors.impacts, kind="stable")
    kept = np.zeros(len(vectors.terms), dtype=bool)
    kept[order[np.arange(len(rows)) - vectors.indptr[rows] < k]] = True
    return keep(vectors, kept)
