"""Exact search over vector shards by brute force: the oracle of every other searcher, and a back end for a GPU.

Scores are exact: sums of products of integers (sparse), or products added in double precision and rounded once to single
(dense), so that equal vectors have equal scores. Ties are in the order of document ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors, VectorShards, concatenate_sparse
from gradir.errors import InputError

_SCORES_AT_ONCE = 1 << 24  # queries times documents whose scores are in memory at a time
_ROWS_AT_ONCE = 1 << 14  # documents whose vectors are in double precision at a time


def open_exact(folder: str | Path, vocab: Sequence[str] = (), device: str = "cpu") -> ExactSparse | ExactDense:
    """The exact searcher of a folder of vector shards.

    Args:
        folder: The folder.
        vocab: The terms of sparse queries by id.
        device: `cpu`, `cuda:0`, …; `auto` takes a GPU where there is one.
    """
    shards = VectorShards(folder)
    return ExactSparse(shards, vocab, device) if shards.kind == "splade" else ExactDense(shards, device)


class ExactSparse:
    """Sums over terms of query impact times document impact, of all documents that share a term with the query.

    Keeps all postings in memory, by term: 12 bytes each.

    Args:
        shards: Sparse vector shards.
        vocab: The terms of the queries by id; a term that the shards lack finds nothing.
        device: `cpu`, `cuda:0`, …

    Attributes:
        documents: How many there are.

    Raises:
        InputError: A document comes twice; the shards hold dense vectors.
    """

    def __init__(self, shards: VectorShards, vocab: Sequence[str], device: str = "cpu"):
        from scipy.sparse import csr_array

        self._docids, ranks = _docids(shards)
        self.documents, terms = len(shards), shards.vocab()
        vectors = concatenate_sparse([vectors for _, vectors in shards.sparse_parts()]).take(np.argsort(ranks))
        arrays = vectors.impacts.astype(np.int64), vectors.terms, vectors.indptr
        matrix = csr_array(arrays, shape=(self.documents, len(terms)))  # [N, V], documents in the order of their ids
        self._device, self._gpu = _device(device), None
        if self._device != "cpu":
            self._gpu = _on_gpu(matrix, self._device)
        self._lists = matrix.T.tocsr()  # [V, N]
        numbers = {term: number for number, term in enumerate(terms)}
        self._known = np.array([numbers.get(term, -1) for term in vocab], dtype=np.int64)  # query term -> shards' term

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """The best documents of each query with a score above 0, by score descending, then docid ascending."""
        from scipy.sparse import csr_array

        terms = self._known[queries.terms]
        weights = np.where(terms < 0, 0, queries.impacts).astype(np.int64)
        shape = (len(queries), self._lists.shape[0])
        asked = csr_array((weights, np.maximum(terms, 0), queries.indptr), shape=shape)  # [Q, V]
        step = max(1, _SCORES_AT_ONCE // max(1, self.documents))
        found: list[Ranking] = []
        for first in range(0, len(queries), step):
            found += self._rankings(asked[first : first + step], hits)
        return found

    def _rankings(self, asked: Any, hits: int) -> list[Ranking]:
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]
        if self._gpu is not None:
            pairs = _above_zero(self._gpu, asked, hits, self._device)
        else:
            scores = asked @ self._lists  # [q, N], only pairs that share a term
            rows = [slice(start, end) for start, end in zip(scores.indptr[:-1], scores.indptr[1:], strict=True)]
            pairs = [(scores.indices[row], scores.data[row]) for row in rows]
        return [self._ranking(places[values > 0], values[values > 0], hits) for places, values in pairs]

    def _ranking(self, places: NDArray[Any], scores: NDArray[Any], hits: int) -> Ranking:
        chosen = best(scores, places, hits)
        return Ranking(self._docids.take(pa.array(places[chosen])).to_pylist(), scores[chosen].astype(np.float64))


class ExactDense:
    """Inner products with all vectors. Reads the shards anew for each batch of queries, a part at a time.

    Args:
        shards: Dense vector shards.
        device: `cpu`, `cuda:0`, …

    Attributes:
        documents: How many there are.

    Raises:
        InputError: A document comes twice; the shards hold sparse vectors.
    """

    def __init__(self, shards: VectorShards, device: str = "cpu"):
        import torch

        self._docids, self._ranks = _docids(shards)
        self.documents, self._shards = len(shards), shards
        self._device = torch.device(_device(device))

    def search(self, queries: NDArray[np.float32], hits: int) -> list[Ranking]:
        """The best documents of each query, by score descending, then docid ascending.

        Args:
            queries: Float32 [Q, D].
            hits: Documents of a query.

        Raises:
            InputError: The queries have another size than the documents.
        """
        found = [(np.zeros(0, np.float32), np.zeros(0, np.int64))] * len(queries)  # (scores, ranks) of each
        start = 0
        for _, vectors in self._shards.dense_parts():
            if vectors.shape[1] != queries.shape[1]:
                problem = f"holds vectors of {vectors.shape[1]} numbers, those of the queries have {queries.shape[1]}"
                raise InputError(self._shards.folder, problem, "Give the --encoder that it was made with")
            for first in range(0, len(vectors), _ROWS_AT_ONCE):
                rows = vectors[first : first + _ROWS_AT_ONCE]
                ranks = self._ranks[start : start + len(rows)]
                found = self._with(found, queries, rows, ranks, hits)
                start += len(rows)
        return [Ranking(self._docids.take(pa.array(ranks)).to_pylist(), scores) for scores, ranks in found]

    def _with(
        self,
        found: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
        queries: NDArray[np.float32],
        rows: NDArray[np.float32],
        ranks: NDArray[np.int64],
        hits: int,
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """The best of what was found before and of these rows."""
        step = max(1, _SCORES_AT_ONCE // len(rows))
        merged = []
        for first in range(0, len(queries), step):
            for (scores, chosen), (places, values) in zip(
                found[first : first + step], self._best(queries[first : first + step], rows, hits), strict=True
            ):
                scores, chosen = np.concatenate([scores, values]), np.concatenate([chosen, ranks[places]])
                order = best(scores, chosen, hits)
                merged.append((scores[order], chosen[order]))
        return merged

    def _best(
        self, queries: NDArray[np.float32], rows: NDArray[np.float32], hits: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """(rows, scores) of each query: the best ones, and all that tie with the last of them."""
        import torch

        left, right = (torch.from_numpy(part.astype(np.float64)).to(self._device) for part in (queries, rows))
        for scores in (left @ right.T).to(torch.float32):  # [n]
            yield _reaching(scores, hits)


def best(scores: NDArray[Any], ranks: NDArray[Any], hits: int) -> NDArray[np.int64]:
    """Places of the best scores, descending; ties by rank ascending.

    Args:
        scores: [n].
        ranks: [n], all different.
        hits: How many, at most.
    """
    places = np.arange(len(scores))
    if len(scores) > hits:
        least = np.partition(scores, -hits)[-hits]
        above, ties = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        ties = ties[np.argsort(ranks[ties])[: hits - len(above)]]
        places = np.concatenate([above, ties])
    order: NDArray[np.int64] = places[np.lexsort((ranks[places], -scores[places]))]
    return order


def _reaching(scores: Any, hits: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(places, scores) of the best ones of a tensor [n], and of all that tie with the last of them."""
    import torch

    if len(scores) > hits:
        places = torch.nonzero(scores >= torch.topk(scores, hits).values[-1]).squeeze(1)
    else:
        places = torch.arange(len(scores), device=scores.device)
    return places.cpu().numpy(), scores[places].cpu().numpy()


def _above_zero(matrix: Any, asked: Any, hits: int, device: str) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """(documents, scores) of each query, on a GPU; double precision holds sums of integers exactly up to 2**53.

    Args:
        matrix: Documents [N, V].
        asked: Queries [q, V].
        hits: How many documents are wanted.
        device: Where the matrix is.
    """
    import torch

    queries = torch.from_numpy(asked.toarray()).to(device, torch.float64)  # [q, V]
    for scores in (matrix @ queries.T).T:
        yield _reaching(scores, hits)


def _on_gpu(matrix: Any, device: str) -> Any:
    """A matrix [N, V] of scipy as one of torch, in double precision."""
    import warnings

    import torch

    rows, terms = torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices)
    values = torch.from_numpy(matrix.data.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that its sparse matrices are in beta state
        return torch.sparse_csr_tensor(rows, terms, values, matrix.shape, device=device, check_invariants=True)


def _device(device: str) -> str:
    """`cpu`, or the name of a GPU that has double precision."""
    from gradir.engine.devices import choose_device

    chosen = choose_device(device) if device != "cpu" else None
    return str(chosen) if chosen and chosen.type == "cuda" else "cpu"


def _docids(shards: VectorShards) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    """(ids in their order, the rank of each document in it).

    Raises:
        InputError: An id comes twice.
    """
    columns = [pq.read_table(file, columns=["docid"])["docid"] for file in shards.files]
    docids = pa.concat_arrays([chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks])
    order = pc.sort_indices(docids)
    ordered = docids.take(order)
    same = pc.equal(ordered[1:], ordered[:-1])
    if pc.any(same).as_py():
        problem = f"document id {ordered[pc.index(same, True).as_py()].as_py()!r} is used twice"
        raise InputError(shards.folder, problem, "Ids must be unique")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order.to_numpy()] = np.arange(len(order))
    return ordered, ranks
