"""Vector shards as an index writer takes them: whole or a contiguous shard of them, sparse vectors pruned on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradir.data.spans import shard_span
from gradir.data.vectors import DenseVectors, Kind, SparseVectors, VectorShards, read_part
from gradir.errors import InputError
from gradir.index.checks import check_dense, check_sparse

Prune = Callable[[SparseVectors], SparseVectors]


class Source:
    """Documents and their vectors in corpus order; one part is in memory at a time.

    Args:
        shards: Where they are read from.
        shard_id: Take only this one of `shard_num` contiguous shards; counted from 0.
        shard_num: Number of shards.
        prune: What becomes of sparse vectors; gives as many rows as it gets.

    Attributes:
        folder: Of the shards.
        metadata: Of their encoder.
        files: The parts that are read.
        prune: As given.
        postings_read: Postings in the latest pass over sparse vectors, before pruning.
        postings: After it.

    Raises:
        GradirError: `shard_id` is out of range, or there are fewer documents than shards.
    """

    def __init__(self, shards: VectorShards, shard_id: int = 0, shard_num: int = 1, prune: Prune | None = None):
        self.folder, self.metadata = shards.folder, shards.metadata
        self.prune, self._shards, self._shard = prune, shards, (shard_id, shard_num)
        self._span = shard_span(len(shards), shard_id, shard_num, "documents")
        self._pieces = _pieces(shards, *self._span)
        self.files = [file for file, _ in self._pieces]
        self.postings_read = self.postings = 0

    def __len__(self) -> int:
        start, stop = self._span
        return stop - start

    @property
    def kind(self) -> Kind:
        """`dense` or `splade`."""
        return self._shards.kind

    def pruned(self, prune: Prune | None) -> Source:
        """The same documents, their vectors pruned."""
        return Source(self._shards, *self._shard, prune)

    def unpruned(self) -> Source:
        """The same documents with their whole vectors."""
        return self.pruned(None)

    def collection(self) -> Source:
        """The whole vectors of the documents of all shards."""
        return Source(self._shards)

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id."""
        return self._shards.vocab()

    def docids(self) -> Iterator[str]:
        """The ids alone: their column is read, the vectors are not."""
        for file, rows in self._pieces:
            yield from _docids(file)[rows]

    def sparse(self) -> Iterator[tuple[Path, list[str], SparseVectors]]:
        """(file, docids, vectors) of each part, or of what the shard takes of it.

        Raises:
            InputError: The vectors are dense, a part is damaged, an impact is not above 0, terms are not ascending or not in
                the vocabulary.
        """
        self.postings_read = self.postings = 0
        terms = len(self.vocab())
        for file, rows in self._pieces:
            docids, vectors = read_part(file)
            if not isinstance(vectors, SparseVectors):
                raise InputError(self.folder, "holds dense vectors, sparse ones are needed", "Use --type flat or hnsw")
            check_sparse(file, docids, vectors, terms)
            vectors = vectors.rows(rows)
            self.postings_read += len(vectors.terms)
            if self.prune:
                vectors = self.prune(vectors)
            self.postings += len(vectors.terms)
            yield file, docids[rows], vectors

    def dense(self) -> Iterator[tuple[Path, list[str], NDArray[np.float32]]]:
        """(file, docids, vectors [N, D]) of each part, or of what the shard takes of it.

        Raises:
            InputError: The vectors are sparse, a part is damaged, or a vector holds NaN or infinity.
        """
        for file, rows in self._pieces:
            docids, vectors = read_part(file)
            if isinstance(vectors, SparseVectors):
                raise InputError(self.folder, "holds sparse vectors, dense ones are needed", "Use --type impact")
            check_dense(file, docids, vectors)
            yield file, docids[rows], vectors[rows]

    def sparse_parts(self) -> Iterator[tuple[list[str], SparseVectors]]:
        """As `sparse`, without the files."""
        return ((docids, vectors) for _, docids, vectors in self.sparse())

    def dense_parts(self) -> Iterator[tuple[list[str], DenseVectors]]:
        """As `dense`, without the files."""
        return ((docids, vectors) for _, docids, vectors in self.dense())


def _pieces(shards: VectorShards, start: int, stop: int) -> list[tuple[Path, slice]]:
    """The parts that hold rows of a span, and which of their rows."""
    pieces, first = list[tuple[Path, slice]](), 0
    for file, count in zip(shards.files, shards.counts, strict=True):
        rows = slice(max(start - first, 0), min(stop - first, count))
        if rows.start < rows.stop:
            pieces.append((file, rows))
        first += count
    return pieces


def _docids(file: Path) -> list[str]:
    try:
        docids: list[str] = pq.read_table(file, columns=["docid"])["docid"].to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(file, f"is damaged ({error})", "Remove it and encode again") from None
    return docids
