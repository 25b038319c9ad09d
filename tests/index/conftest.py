from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors, VectorShards, write_part, write_vocab

# What `Encoder.description()` gives.
DENSE = {
    "kind": "dense",
    "pooling": "mean",
    "normalize": True,
    "query_prefix": "",
    "passage_prefix": "",
    "max_query_length": 256,
    "max_passage_length": 256,
    "tokenizer_sha256": "7e",
    "weights_sha256": "1d",
    "dtype": "float32",
    "batch_tokens": 4096,
}
SPLADE = DENSE | {"kind": "splade", "pooling": "max", "normalize": False, "impact_scale": 51.2}
SPLADE |= {"special_tokens": "drop", "top_k_query": None, "top_k_passage": None}

Array = NDArray[Any]
Shards = Callable[..., Path]
Scores = Callable[..., list[list[tuple[str, float]]]]


def sparse(matrix: Array) -> SparseVectors:
    """The rows of a matrix of impacts."""
    rows, terms = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))]).astype(np.int64)
    return SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms].astype(np.int32))


@pytest.fixture
def sparse_shards(tmp_path: Path) -> Shards:
    """Write a matrix of impacts, one row a document, as shards."""

    def write(matrix: Array, vocab: Sequence[str], docids: Sequence[str] = (), parts: int = 1, to: str = "v") -> Path:
        folder = tmp_path / to
        write_vocab(folder, vocab)
        docids = docids or [f"d{i}" for i in range(len(matrix))]
        for number, rows in enumerate(np.array_split(np.arange(len(matrix)), parts)):
            write_part(folder, number, [docids[i] for i in rows], sparse(matrix[rows]), SPLADE)
        return folder

    return write


@pytest.fixture
def dense_shards(tmp_path: Path) -> Shards:
    """Write vectors as shards."""

    def write(vectors: Array, docids: Sequence[str] = (), parts: int = 1, to: str = "v") -> Path:
        docids = docids or [f"d{i}" for i in range(len(vectors))]
        for number, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
            write_part(tmp_path / to, number, [docids[i] for i in rows], vectors[rows], DENSE)
        return tmp_path / to

    return write


@pytest.fixture
def impact_search() -> Scores:
    """Search an index with Pyserini's own searcher: (docid, score) of each query, `{term: impact}`."""
    from gradir import jvm

    jvm.ensure()
    from pyserini.search.lucene import LuceneImpactSearcher

    class Queries:
        def __init__(self, queries: Sequence[dict[str, int]]):
            self.queries = queries

        def encode(self, number: str) -> dict[str, int]:
            return self.queries[int(number)]

    def search(index: Path, queries: Sequence[dict[str, int]], k: int) -> list[list[tuple[str, float]]]:
        searcher = LuceneImpactSearcher(str(index), Queries(queries), min_idf=-1)
        found = [[(hit.docid, hit.score) for hit in searcher.search(str(i), k)] for i in range(len(queries))]
        searcher.close()
        return found

    return search


@pytest.fixture
def by_hand() -> Scores:
    """What a search must give: integer sums, score descending then docid ascending, no document without a term."""

    def rank(matrix: Array, vocab: Sequence[str], queries: Sequence[dict[str, int]], k: int, docids: Any = None) -> Any:
        docids = docids or [f"d{i}" for i in range(len(matrix))]
        found = []
        for query in queries:
            weights = np.array([query.get(term, 0) for term in vocab], dtype=np.int64)
            scores = matrix.astype(np.int64) @ weights
            hits = [(docid, int(score)) for docid, score in zip(docids, scores, strict=True) if score]
            found.append(sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:k])
        return found

    return rank


@pytest.fixture(scope="session")
def odd_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[VectorShards, VectorShards, Array]:
    """(sparse, dense, matrix): 23 documents in parts of 5, 0, 1, 9, 0 and 8."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("odd")
    matrix = rng.integers(0, 4, (23, 6))
    bounds = np.cumsum([0, 5, 0, 1, 9, 0, 8])
    write_vocab(folder / "s", list("abcdef"))
    for number, (start, stop) in enumerate(pairwise(bounds)):
        docids = [f"d{row}" for row in range(start, stop)]
        write_part(folder / "s", number, docids, sparse(matrix[start:stop]), SPLADE)
        write_part(folder / "d", number, docids, matrix[start:stop] * 1.0, DENSE)
    return VectorShards(folder / "s"), VectorShards(folder / "d"), matrix
