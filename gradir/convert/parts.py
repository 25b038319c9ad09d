"""Vectors that come in blocks of any size, in parts of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gradir.convert.foreign import Block
from gradir.data.vectors import SparseVectors, Vectors, concatenate_sparse


def parts(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """The same documents in the same order, `size` at a time; the last part holds what is left."""
    waiting: list[Block] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count < size:
            continue
        docids, vectors = _joined(waiting)
        whole = count - count % size
        for start in range(0, whole, size):
            yield docids[start : start + size], _rows(vectors, start, start + size)
        waiting, count = [(docids[whole:], _rows(vectors, whole, count))], count % size
    if count:
        yield _joined(waiting)


def _joined(blocks: Sequence[Block]) -> Block:
    docids = [docid for ids, _ in blocks for docid in ids]
    sparse = [vectors for _, vectors in blocks if isinstance(vectors, SparseVectors)]
    if sparse:
        return docids, concatenate_sparse(sparse)
    return docids, np.concatenate([vectors for _, vectors in blocks if not isinstance(vectors, SparseVectors)])


def _rows(vectors: Vectors, start: int, stop: int) -> Vectors:
    return vectors.take(np.arange(start, stop)) if isinstance(vectors, SparseVectors) else vectors[start:stop]
