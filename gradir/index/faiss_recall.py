"""How much of the exact answer an approximate FAISS index finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradir.data.faiss_files import open_faiss, read_faiss_folder, wide_enough
from gradir.index.faiss_factory import sample
from gradir.index.source import Source

QUERIES = 100


def recall(
    folder: Path, source: Source, queries: NDArray[np.float32] | None = None, hits: Sequence[int] = (10, 100)
) -> dict[str, float]:
    """The share of the exact top k that the index has in its top k, the mean over the queries, for each k.

    The exact answer is found in one pass over the vectors, of which one part is in memory.

    Args:
        folder: Of the index, over all of `source`.
        source: The vectors it was made from.
        queries: [Q, D]; a fixed sample of 100 document vectors if not given. A document is among its own neighbours and lies
            where documents lie, so real queries may find less.
        hits: Values of k; those above the number of documents are left out.

    Returns:
        `recall@k` for each k, rounded to four digits.
    """
    asked = sample(source, QUERIES) if queries is None else queries
    hits = [k for k in hits if k <= len(source)]
    if not hits:
        return {}
    index, _ = read_faiss_folder(folder)
    with wide_enough(index, max(hits)):  # as our searcher does
        _, found = index.search(asked, max(hits))
    exact = exact_rows(source, asked, max(hits))
    return {f"recall@{k}": round(_overlap(found[:, :k], exact[:, :k]), 4) for k in hits}


def exact_rows(source: Source, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """[Q, k] rows of the vectors with the largest inner products, best first."""
    faiss = open_faiss()
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    first = 0
    for _, docids, vectors in source.dense():
        scores, places = faiss.knn(queries, vectors, min(k, len(docids)), metric=faiss.METRIC_INNER_PRODUCT)
        best, rows = np.hstack([best, scores]), np.hstack([rows, places + first])
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
        first += len(docids)
    return rows


def _overlap(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    same = [np.isin(one, other).sum() for one, other in zip(exact, found, strict=True)]
    return float(np.sum(same)) / exact.size
