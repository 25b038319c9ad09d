"""Pseudo-relevance feedback: the best documents of a first search are taken for relevant, and move the query towards them.

    feedback_search(searcher, encoded, hits, vectors_of, method="rocchio", depth=3, alpha=None, beta=None, terms=10)

does it all. `vectors_of(docids)` gives the documents' vectors, row for row: `FaissSearcher.vectors`, or `ShardVectors(shards,
vocab)` of `gradir.search.document_vectors`. The rest of this module are functions of encoded queries alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradir.data.records import Ranking
from gradir.data.vectors import DenseVectors, SparseVectors, Vectors

Method = Literal["rocchio", "average"]
# (alpha, beta) as Pyserini has them: of its FAISS searcher, and of Anserini's Rocchio
DENSE_WEIGHTS = (0.9, 0.1)
SPARSE_WEIGHTS = (1.0, 0.75)
_FINEST = (
    100  # the largest weight of an expanded sparse query is at least this: rounding costs half a percent of it at most
)


def feedback_search(
    searcher: Any,
    encoded: Vectors,
    hits: int,
    vectors_of: Callable[[Sequence[str]], Vectors],
    method: Method = "rocchio",
    depth: int = 3,
    alpha: float | None = None,
    beta: float | None = None,
    terms: int = 10,
) -> list[Ranking]:
    """Search, expand the queries by their first documents, and search again. A query that finds nothing stays as it is.

    Give it all queries at once where `vectors_of` reads shards: that is a pass over them for each call.

    Args:
        searcher: Searches vectors like `encoded`.
        encoded: N queries, float32 [N, D] or sparse.
        hits: Documents returned for a query.
        vectors_of: The vectors of some documents; sparse ones have the term ids of the queries.
        method: `rocchio`, or `average` of the query and its documents.
        depth: Documents taken for relevant.
        alpha: Rocchio: weight of the query; 0.9 for dense, 1 for sparse ones if not given.
        beta: Rocchio: weight of the documents; 0.1 for dense, 0.75 for sparse ones if not given.
        terms: Sparse: terms of the documents that are added at most.
    """
    first = searcher.search(encoded, depth)
    names = sorted({docid for ranking in first for docid in ranking.docids})
    rows = {docid: row for row, docid in enumerate(names)}
    vectors = vectors_of(names)
    places = [np.array([rows[docid] for docid in ranking.docids], dtype=np.int64) for ranking in first]
    if isinstance(encoded, SparseVectors):
        if not isinstance(vectors, SparseVectors):
            raise ValueError("sparse queries need sparse document vectors")
        feedback = [vectors.take(place) for place in places]
        if method == "average":
            return searcher.search(sparse_average(encoded, feedback, terms), hits)
        alpha, beta = _weights(alpha, beta, SPARSE_WEIGHTS)
        return searcher.search(sparse_rocchio(encoded, feedback, alpha, beta, terms), hits)
    if isinstance(vectors, SparseVectors):
        raise ValueError("dense queries need dense document vectors")
    near = [vectors[place] for place in places]
    if method == "average":
        return searcher.search(average(encoded, near), hits)
    return searcher.search(rocchio(encoded, near, *_weights(alpha, beta, DENSE_WEIGHTS)), hits)


def _weights(alpha: float | None, beta: float | None, usual: tuple[float, float]) -> tuple[float, float]:
    return usual[0] if alpha is None else alpha, usual[1] if beta is None else beta


def average(queries: DenseVectors, feedback: Sequence[DenseVectors]) -> DenseVectors:
    """[N, D] the mean of each query and its documents, equal to Pyserini's DenseVectorAveragePrf (Li et al. 2021).

    Args:
        queries: [N, D].
        feedback: For each query [k, D]; k may be 0.
    """
    rows = [np.vstack([query, vectors]).mean(axis=0) for query, vectors in zip(queries, feedback, strict=True)]
    return np.array(rows, dtype=np.float32).reshape(queries.shape)


def rocchio(
    queries: DenseVectors,
    feedback: Sequence[DenseVectors],
    alpha: float = DENSE_WEIGHTS[0],
    beta: float = DENSE_WEIGHTS[1],
    gamma: float = 0.1,
    negative: Sequence[DenseVectors] | None = None,
) -> DenseVectors:
    """[N, D] `alpha * query + beta * mean(feedback) - gamma * mean(negative)` (Rocchio 1971), equal to Pyserini's
    DenseVectorRocchioPrf. A query without documents is `alpha * query`.

    Args:
        queries: [N, D].
        feedback: For each query the documents taken for relevant, [k, D].
        alpha: Weight of the query.
        beta: Weight of the relevant documents.
        gamma: Weight of the others.
        negative: For each query documents taken not to be relevant, [k, D].
    """
    moved = alpha * queries + beta * _means(feedback, queries.shape[1])
    if negative is not None:
        moved -= gamma * _means(negative, queries.shape[1])
    return moved.astype(np.float32)


def _means(groups: Sequence[DenseVectors], dimensions: int) -> NDArray[np.float32]:
    """[N, D] the mean of each group; of one without vectors, zero."""
    rows = [vectors.mean(axis=0) if len(vectors) else np.zeros(dimensions, np.float32) for vectors in groups]
    return np.array(rows, dtype=np.float32).reshape(len(groups), dimensions)


def sparse_average(queries: SparseVectors, feedback: Sequence[SparseVectors], terms: int = 10) -> SparseVectors:
    """The mean of each query and its documents: `sparse_rocchio` with the query counting as one of them."""
    pairs = enumerate(feedback)
    return _joined([_moved(*queries.row(row), vectors, 1.0, float(len(vectors)), terms) for row, vectors in pairs])


def sparse_rocchio(
    queries: SparseVectors,
    feedback: Sequence[SparseVectors],
    alpha: float = SPARSE_WEIGHTS[0],
    beta: float = SPARSE_WEIGHTS[1],
    terms: int = 10,
) -> SparseVectors:
    """`alpha * q/|q| + beta * mean(d/|d|)` (Rocchio 1971), of whose second part only the largest `terms` are kept.

    Lengths are Euclidean, since impacts of queries and of documents need not be on one scale. The sum is put on the scale
    of the query (or a larger one, so that its largest weight is 100 or more) and rounded to integers; what rounds to 0 is
    left out. Anserini's Rocchio differs: its weights of terms are floats, it starts from term frequencies of the query's
    text, and it drops terms of one letter, of more than twenty, or with other signs than letters and digits. Documents
    taken not to be relevant are left out, as Anserini does by default.

    Args:
        queries: N impact vectors.
        feedback: For each query the impact vectors of its documents, with the same term ids.
        alpha: Weight of the query.
        beta: Weight of the documents.
        terms: Terms of the documents that are kept.
    """
    pairs = enumerate(feedback)
    return _joined([_moved(*queries.row(row), vectors, alpha, beta, terms) for row, vectors in pairs])


_Row = tuple[NDArray[np.int32], NDArray[np.int32]]  # terms, impacts


def _moved(
    own: NDArray[np.int32], impacts: NDArray[np.int32], documents: SparseVectors, alpha: float, beta: float, most: int
) -> _Row:
    """One query by `sparse_rocchio`; unchanged if it or its documents are empty."""
    if not len(own) or not len(documents.terms):
        return own, impacts
    length = np.linalg.norm(impacts.astype(np.float64))
    added, weights = _feedback_terms(documents, most)
    union, places = np.unique(np.concatenate([own, added]), return_inverse=True)
    parts = np.concatenate([alpha * impacts / length, beta * weights])
    moved = np.bincount(places, weights=parts) * length
    finer = max(1.0, _FINEST / moved.max()) if moved.max() > 0 else 1.0
    rounded = np.rint(moved * finer).astype(np.int32)
    return union[rounded > 0], rounded[rounded > 0]


def _feedback_terms(documents: SparseVectors, terms: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The terms with the largest mean weight in documents of length 1, and these means; equal ones by term id."""
    weights = documents.impacts.astype(np.float64)
    owner = np.repeat(np.arange(len(documents)), np.diff(documents.indptr))
    lengths = np.sqrt(np.bincount(owner, weights=weights**2, minlength=len(documents)))
    found, places = np.unique(documents.terms, return_inverse=True)
    means = np.bincount(places, weights=weights / lengths[owner], minlength=len(found)) / len(documents)
    kept = np.argsort(-means, kind="stable")[:terms]
    return found[kept], means[kept]


def _joined(rows: Sequence[_Row]) -> SparseVectors:
    indptr = np.cumsum([0, *(len(terms) for terms, _ in rows)], dtype=np.int64)
    empty = np.zeros(0, dtype=np.int32)
    terms = np.concatenate([empty, *(terms for terms, _ in rows)])
    return SparseVectors(indptr, terms, np.concatenate([empty, *(impacts for _, impacts in rows)]))
