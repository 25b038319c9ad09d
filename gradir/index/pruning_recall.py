"""What pruning costs: how many of the documents that whole vectors rank first are also found first by pruned ones.

Impact search is exact, so the answers of the pruned index are those of the pruned vectors, multiplied out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors, concatenate_sparse
from gradir.index.source import Prune, Source

_DOCUMENTS, _SEED = 100, 13
_SCORES = 1 << 21  # of documents for queries, in memory at a time


def recall(
    source: Source, prune: Prune, topics: SparseVectors | None, depths: Sequence[int] = (10, 100)
) -> dict[str, float]:
    """`recall@10` and so on: the mean share of the exact top documents among as many of the pruned.

    Ties go to the earlier document, documents with a score of 0 are not found, and queries that find nothing do not count.

    Args:
        source: What was indexed; its whole vectors are read again.
        prune: What became of them.
        topics: Queries, with the term ids of the source. Without them, a seeded sample of 100 documents are asked, each not
            looking for itself: they are longer than topics mostly, so they lose less.
        depths: Ascending.
    """
    own, queries = (None, topics) if topics is not None else _drawn(source)
    exact, pruned = (_Best(len(queries), depths[-1], own) for _ in range(2))
    first, terms, step = 0, len(source.vocab()), max(1, _SCORES // max(1, len(queries)))
    weights = _matrix(queries, terms).T.tocsc()  # [V, Q]
    for _, _, vectors in source.unpruned().sparse():
        for start in range(0, len(vectors), step):
            rows = vectors.rows(slice(start, min(start + step, len(vectors))))
            exact.add((_matrix(rows, terms) @ weights).toarray(), first)
            pruned.add((_matrix(prune(rows), terms) @ weights).toarray(), first)
            first += len(rows)
    return {f"recall@{depth}": _share(exact, pruned, depth) for depth in depths}


class _Best:
    """The best documents of each query so far."""

    def __init__(self, queries: int, depth: int, own: NDArray[np.int64] | None):
        self.depth, self.own = depth, own
        self.documents = [np.zeros(0, np.int64) for _ in range(queries)]
        self.scores = [np.zeros(0, np.int64) for _ in range(queries)]

    def add(self, scores: NDArray[np.int64], first: int) -> None:
        """Add the next documents: scores [n, Q] of those from `first` on."""
        for query in range(scores.shape[1]):
            kept = self.scores[query]
            floor = kept[-1] if len(kept) == self.depth else 0
            rows = np.flatnonzero(scores[:, query] > floor)
            if self.own is not None:
                rows = rows[rows + first != self.own[query]]
            found = np.concatenate([kept, scores[rows, query]])
            order = np.argsort(-found, kind="stable")[: self.depth]
            self.scores[query] = found[order]
            self.documents[query] = np.concatenate([self.documents[query], rows + first])[order]


def _share(exact: _Best, pruned: _Best, depth: int) -> float:
    pairs = [
        (truth[:depth], found[:depth])
        for truth, found in zip(exact.documents, pruned.documents, strict=True)
        if len(truth)
    ]
    shares = [len(np.intersect1d(truth, found)) / len(truth) for truth, found in pairs]
    return round(float(np.mean(shares)), 4) if shares else 1.0


def _matrix(vectors: SparseVectors, terms: int) -> Any:
    from scipy.sparse import csr_array

    return csr_array((vectors.impacts.astype(np.int64), vectors.terms, vectors.indptr), shape=(len(vectors), terms))


def _drawn(source: Source) -> tuple[NDArray[np.int64], SparseVectors]:
    """(positions, whole vectors) of a sample of the documents, ascending."""
    size = min(_DOCUMENTS, len(source))
    positions = np.sort(np.random.default_rng(_SEED).choice(len(source), size, replace=False)).astype(np.int64)
    taken, first = [], 0
    for _, _, vectors in source.unpruned().sparse():
        here = positions[(positions >= first) & (positions < first + len(vectors))]
        taken.append(vectors.take(here - first))
        first += len(vectors)
    return positions, concatenate_sparse(taken)
