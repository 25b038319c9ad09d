"""How much of the exact answer an approximate Lucene index of dense vectors finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradir.index.faiss_factory import sample
from gradir.index.faiss_recall import QUERIES, exact_rows
from gradir.index.source import Source


def recall(
    folder: Path, source: Source, queries: NDArray[np.float32] | None = None, hits: Sequence[int] = (10, 100)
) -> dict[str, float]:
    """As `faiss_recall.recall`, of a graph or of vectors in 8 bits.

    Args:
        folder: Of the index, over all of `source`.
        source: The vectors it was made from.
        queries: [Q, D]; a fixed sample of document vectors if not given.
        hits: Values of k; those above the number of documents are left out.
    """
    from gradir.engine.lucene_dense import LuceneDenseSearcher

    asked = sample(source, QUERIES) if queries is None else queries
    hits = [k for k in hits if k <= len(source)]
    if not hits:
        return {}
    searcher = LuceneDenseSearcher(folder, 1)
    found = searcher.search(asked, max(hits))
    searcher.close()
    exact = exact_rows(source, asked, max(hits))
    wanted = set(exact.ravel().tolist())
    names = {row: docid for row, docid in enumerate(source.docids()) if row in wanted}
    pairs = [
        (ranking.docids, [names[row] for row in rows]) for ranking, rows in zip(found, exact.tolist(), strict=True)
    ]
    return {
        f"recall@{k}": round(float(np.mean([len(set(ours[:k]) & set(best[:k])) / k for ours, best in pairs])), 4)
        for k in hits
    }
