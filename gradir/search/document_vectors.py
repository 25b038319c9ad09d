"""The vectors of some documents, read from vector shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors, Vectors, VectorShards, concatenate_sparse
from gradir.errors import InputError


class ShardVectors:
    """Rows of vector shards by document id. Each call is a pass over the shards, of which one part is in memory.

    Args:
        shards: What the index was made from.
        vocab: Sparse: the terms by id of the vectors that are given; terms it lacks are left out.
    """

    def __init__(self, shards: VectorShards, vocab: Sequence[str] = ()):
        self._shards, self._known = shards, np.zeros(0, dtype=np.int64)
        if shards.kind == "splade":
            numbers = {term: number for number, term in enumerate(vocab)}
            # shards' term -> caller's term
            self._known = np.array([numbers.get(term, -1) for term in shards.vocab()], dtype=np.int64)

    def __call__(self, docids: Sequence[str]) -> Vectors:
        """The vectors of the documents, in their order: float32 [k, D] or k sparse ones.

        Raises:
            InputError: A document is not in the shards.
        """
        wanted = {docid: -1 for docid in docids}
        kept: list[Vectors] = []
        first = 0
        for names, vectors in self._shards.parts():
            rows = np.array([row for row, name in enumerate(names) if name in wanted], dtype=np.int64)
            wanted.update((names[row], first + place) for place, row in enumerate(rows.tolist()))
            first += len(rows)
            kept.append(vectors.take(rows) if isinstance(vectors, SparseVectors) else vectors[rows])
        missing = [docid for docid, place in wanted.items() if place < 0]
        if missing:
            problem = f"document {missing[0]} of the index is not in it"
            raise InputError(self._shards.folder, problem, "Give the vector shards that the index was made from")
        order = np.array([wanted[docid] for docid in docids], dtype=np.int64)
        sparse = [vectors for vectors in kept if isinstance(vectors, SparseVectors)]
        if sparse:
            return renumbered(concatenate_sparse(sparse).take(order), self._known)
        dense: Vectors = np.concatenate([vectors for vectors in kept if not isinstance(vectors, SparseVectors)])[order]
        return dense


def renumbered(vectors: SparseVectors, known: NDArray[np.int64]) -> SparseVectors:
    """The same vectors with other term ids, ascending in each row.

    Args:
        vectors: N rows.
        known: The new id of each term; what has -1 is left out.
    """
    terms = known[vectors.terms]
    owner = np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
    order = np.lexsort((terms, owner))
    order = order[terms[order] >= 0]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(owner[order], minlength=len(vectors)))]).astype(np.int64)
    return SparseVectors(indptr, terms[order].astype(np.int32), vectors.impacts[order])
