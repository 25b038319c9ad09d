"""Feedback: dense queries as Pyserini moves them, sparse ones by hand, and the whole search against its three steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors, VectorShards, concatenate_sparse, write_part, write_vocab
from gradir.errors import GradirError
from gradir.search import prf
from gradir.search.document_vectors import ShardVectors
from gradir.search.faiss_search import FaissSearcher

Array = NDArray[Any]


def normal(count: int, size: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def sparse(*rows: dict[int, int]) -> SparseVectors:
    parts = [sorted(row.items()) for row in rows]
    indptr = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    flat = [pair for part in parts for pair in part]
    return SparseVectors(indptr, np.array([t for t, _ in flat], np.int32), np.array([w for _, w in flat], np.int32))


def dicts(vectors: SparseVectors) -> list[dict[int, int]]:
    rows = (vectors.row(number) for number in range(len(vectors)))
    return [dict(zip(terms.tolist(), impacts.tolist(), strict=True)) for terms, impacts in rows]


@pytest.fixture(scope="module")
def pyserini(pyserini_encoders: Any) -> Any:
    from pyserini.search.faiss import _prf

    return _prf


def candidates(pyserini: Any, groups: list[Array]) -> dict[str, list[Any]]:
    made = pyserini.PrfDenseSearchResult
    return {str(i): [made(str(j), 0.0, vector) for j, vector in enumerate(group)] for i, group in enumerate(groups)}


def test_dense_average_equals_pyserini(pyserini: Any) -> None:
    queries, groups = normal(6, 8, 0), [normal(1 + number % 4, 8, number) for number in range(6)]
    names = [str(number) for number in range(6)]
    theirs = pyserini.DenseVectorAveragePrf().get_batch_prf_q_emb(names, queries, candidates(pyserini, groups))
    np.testing.assert_allclose(prf.average(queries, groups), theirs, rtol=1e-6)


@pytest.mark.parametrize("bottomk", [0, 2])
def test_dense_rocchio_equals_pyserini(bottomk: int, pyserini: Any) -> None:
    queries, groups = normal(6, 8, 0), [normal(7, 8, number) for number in range(6)]
    names = [str(number) for number in range(6)]
    rule = pyserini.DenseVectorRocchioPrf(0.7, 0.2, 0.3, 3, bottomk)
    theirs = rule.get_batch_prf_q_emb(names, queries, candidates(pyserini, groups))
    negative = [group[-bottomk:] for group in groups] if bottomk else None
    ours = prf.rocchio(queries, [group[:3] for group in groups], 0.7, 0.2, 0.3, negative)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_dense_queries_without_documents() -> None:
    queries, none = normal(2, 4, 0), [np.zeros((0, 4), np.float32)] * 2
    np.testing.assert_array_equal(prf.average(queries, none), queries)
    np.testing.assert_array_equal(prf.rocchio(queries, none, alpha=1), queries)
    assert prf.rocchio(queries[:0], []).shape == prf.average(queries[:0], []).shape == (0, 4)


def test_sparse_rocchio_by_hand() -> None:
    # |q| = 500; the documents of length 1 are (0.6, 0.8) and (1): their mean is 0.3, 0.4 and 0.5
    queries = sparse({1: 300, 4: 400}, {2: 3}, {}, {7: 50})
    feedback = [sparse({1: 3, 2: 4}, {9: 7}), sparse({}, {}), sparse({3: 1}), sparse()]
    moved = prf.sparse_rocchio(queries, feedback, alpha=1, beta=0.5, terms=2)
    assert dicts(moved) == [{1: 300, 2: 100, 4: 400, 9: 125}, {2: 3}, {}, {7: 50}]
    assert dicts(prf.sparse_rocchio(queries, feedback, alpha=0.5, beta=1, terms=9))[0] == {
        1: 300,
        2: 200,
        4: 200,
        9: 250,
    }


def test_small_weights_are_not_rounded_away() -> None:
    # |q| = 5; added is 0.75 * 5 * (0.6, 0.8), in all (5.25, 4, 3), times 100 / 5.25
    moved = prf.sparse_rocchio(sparse({0: 3, 1: 4}), [sparse({0: 6, 5: 8})])
    assert dicts(moved) == [{0: 100, 1: 76, 5: 57}]


def test_sparse_average_counts_the_query_as_a_document() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 40, (5, 12)) * (rng.random((5, 12)) < 0.6)
    rows = [{term: int(weight) for term, weight in enumerate(row) if weight} for row in matrix]
    moved = prf.sparse_average(sparse(rows[0]), [sparse(*rows[1:])], terms=12)
    mean = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).mean(axis=0)
    found = np.array([dicts(moved)[0].get(term, 0) for term in range(12)], dtype=float)
    np.testing.assert_allclose(found / found.max(), mean / mean.max(), atol=0.006)


@pytest.mark.parametrize("method", ["rocchio", "average"])
def test_dense_search_with_feedback(method: Any, tmp_path: Path) -> None:
    vectors, queries = normal(300, 8, 0), normal(7, 8, 1)
    index = faiss.IndexFlatIP(8)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    (tmp_path / "docid").write_text("".join(f"d{number}\n" for number in range(300)))
    searcher = FaissSearcher(tmp_path, 1)
    found = prf.feedback_search(searcher, queries, 20, searcher.vectors, method, depth=4)
    near = [vectors[np.argsort(-row)[:4]] for row in queries @ vectors.T]
    moved = [
        np.vstack([q, d]).mean(0) if method == "average" else 0.9 * q + 0.1 * d.mean(0)
        for q, d in zip(queries, near, strict=True)
    ]
    for row, ranking in zip(np.array(moved) @ vectors.T, found, strict=True):
        assert ranking.docids == [f"d{place}" for place in np.argsort(-row)[:20]]


class ByHand:
    """Sums of products over all documents."""

    def __init__(self, matrix: Array):
        self.matrix, self.documents = matrix, len(matrix)

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        rankings = []
        for query in dicts(queries):
            scores = sum((weight * self.matrix[:, term] for term, weight in query.items()), np.zeros(len(self.matrix)))
            order = [place for place in np.argsort(-scores, kind="stable")[:hits] if scores[place] > 0]
            rankings.append(Ranking([f"d{place:03}" for place in order], scores[order]))
        return rankings


@pytest.mark.parametrize("method", ["rocchio", "average"])
def test_sparse_search_with_feedback_from_shards(method: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 60, (90, 25)) * (rng.random((90, 25)) < 0.2)
    rows = [{term: int(weight) for term, weight in enumerate(row) if weight} for row in matrix]
    # the shards know the terms under other numbers, and two more
    words = [f"w{number}" for number in range(25)]
    shuffled = [words[place] for place in rng.permutation(25)] + ["x", "y"]
    write_vocab(tmp_path, shuffled)
    renamed = [{shuffled.index(words[term]): weight for term, weight in row.items()} | {26: 5} for row in rows]
    for part, span in enumerate((range(40), range(40, 90))):
        docids = [f"d{number:03}" for number in span]
        write_part(tmp_path, part, docids, sparse(*(renamed[n] for n in span)), {"kind": "splade"})
    vectors_of = ShardVectors(VectorShards(tmp_path), words)
    asked = ["d007", "d089", "d007", "d041"]
    assert dicts(vectors_of(asked)) == [rows[7], rows[89], rows[7], rows[41]]
    assert vectors_of(asked).row(1)[0].tolist() == sorted(rows[89])  # type: ignore[union-attr]
    queries = concatenate_sparse([sparse({0: 90, 3: 40}, {24: 100}), sparse({})])
    searcher = ByHand(matrix)
    near = [sparse(*(rows[int(docid[1:])] for docid in one.docids)) for one in searcher.search(queries, 5)]
    moved = (
        prf.sparse_average(queries, near, 6) if method == "average" else prf.sparse_rocchio(queries, near, 1, 0.5, 6)
    )
    found = prf.feedback_search(searcher, queries, 30, vectors_of, method, depth=5, beta=0.5, terms=6)
    assert [one.docids for one in found] == [one.docids for one in searcher.search(moved, 30)]
    assert found[2].docids == []
    assert found[0].docids != searcher.search(queries, 30)[0].docids


def test_vectors_of_documents_that_are_not_in_the_shards(tmp_path: Path) -> None:
    write_part(tmp_path, 0, ["a", "b"], normal(2, 3, 0), {"kind": "dense"})
    write_part(tmp_path, 1, ["c"], normal(1, 3, 1), {"kind": "dense"})
    vectors_of = ShardVectors(VectorShards(tmp_path))
    np.testing.assert_array_equal(vectors_of(["c", "a", "c"]), np.vstack([normal(1, 3, 1), normal(2, 3, 0)])[[0, 1, 0]])
    assert vectors_of([]).shape == (0, 3)  # type: ignore[union-attr]
    with pytest.raises(GradirError, match=r"document z of the index is not in it.*the vector shards"):
        vectors_of(["a", "z"])
