"""Brute force over vector shards is what ten lines of numpy say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors, write_part, write_vocab
from gradir.engine import exact
from gradir.engine.exact import ExactDense, ExactSparse, best, open_exact
from gradir.errors import InputError

Rows = NDArray[Any]


def oracle(scores: Rows, docids: list[str], hits: int, least: float = -np.inf) -> list[list[tuple[str, float]]]:
    """(docid, score), score descending then docid ascending, of each row of scores [Q, N]."""
    found = [[(docid, float(score)) for docid, score in zip(docids, row, strict=True)] for row in scores]
    return [sorted((hit for hit in row if hit[1] > least), key=lambda hit: (-hit[1], hit[0]))[:hits] for row in found]


def pairs(rankings: Any) -> list[list[tuple[str, float]]]:
    return [list(zip(ranking.docids, ranking.scores.tolist(), strict=True)) for ranking in rankings]


def sparse(matrix: Rows) -> SparseVectors:
    rows, terms = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))]).astype(np.int64)
    return SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms].astype(np.int32))


def write(folder: Path, vectors: Rows, docids: list[str], parts: int, kind: str) -> Path:
    for old in folder.glob("*"):
        old.unlink()
    if kind == "splade":
        write_vocab(folder, [f"t{number}" for number in range(vectors.shape[1])])
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
        found = sparse(vectors[rows]) if kind == "splade" else vectors[rows].astype(np.float32)
        write_part(folder, number, [docids[row] for row in rows], found, {"kind": kind})
    return folder


@st.composite
def collections(draw: Any, smallest: int) -> tuple[Rows, Rows, list[str], int, int]:
    """(documents, queries, docids, parts, hits): few different values, so that scores tie; rows may be empty or equal."""
    size, terms, queries = draw(st.integers(1, 30)), draw(st.integers(1, 8)), draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    documents = rng.integers(smallest, 3, (size, terms)) * (rng.random((size, terms)) < draw(st.floats(0, 1)))
    documents[rng.integers(0, size, size // 3)] = documents[0]
    asked = rng.integers(smallest, 4, (queries, terms)) * (rng.random((queries, terms)) < 0.7)
    docids = [f"{name}{number}" for number, name in enumerate(rng.choice(["é", "a", "B", "\U0001f600", "ﬀ"], size))]
    return documents, asked, docids, draw(st.integers(1, 4)), draw(st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(collections(smallest=0))
def test_sparse(tmp_path_factory: pytest.TempPathFactory, collection: tuple[Rows, Rows, list[str], int, int]) -> None:
    documents, queries, docids, parts, hits = collection
    folder = write(tmp_path_factory.getbasetemp() / "sparse", documents, docids, parts, "splade")
    vocab = ["unknown", *(f"t{number}" for number in reversed(range(documents.shape[1])))]
    asked = np.concatenate([np.full((len(queries), 1), 7), queries[:, ::-1]], axis=1)  # a vocabulary of their own
    searcher = open_exact(folder, vocab)
    assert isinstance(searcher, ExactSparse)
    assert searcher.documents == len(documents)
    assert pairs(searcher.search(sparse(asked), hits)) == oracle(queries @ documents.T, docids, hits, least=0)


def test_what_a_gpu_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path through torch, on the CPU: scores of 0 are no hits, though a matrix product has them."""
    rng = np.random.default_rng(3)
    documents, queries = rng.integers(0, 3, (40, 9)) * (rng.random((40, 9)) < 0.3), rng.integers(0, 3, (5, 9))
    queries[1] = 0
    docids = [f"d{number}" for number in rng.permutation(40)]
    folder = write(tmp_path, documents, docids, 2, "splade")
    monkeypatch.setattr(exact, "_device", lambda device: "cpu:0")
    searcher = open_exact(folder, [f"t{number}" for number in range(9)], "cuda")
    for hits in (3, 12, 100):
        assert pairs(searcher.search(sparse(queries), hits)) == oracle(queries @ documents.T, docids, hits, least=0)


@settings(max_examples=60, deadline=None)
@given(collections(smallest=-2))
def test_dense(tmp_path_factory: pytest.TempPathFactory, collection: tuple[Rows, Rows, list[str], int, int]) -> None:
    documents, queries, docids, parts, hits = collection
    folder = write(tmp_path_factory.getbasetemp() / "dense", documents, docids, parts, "dense")
    searcher = open_exact(folder)
    assert isinstance(searcher, ExactDense)
    assert pairs(searcher.search(queries.astype(np.float32), hits)) == oracle(queries @ documents.T, docids, hits)


@pytest.mark.parametrize("kind", ["splade", "dense"])
def test_pieces_change_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were more documents than fit in memory at once."""
    rng = np.random.default_rng(0)
    documents, queries = rng.integers(0, 3, (50, 6)), rng.integers(0, 3, (7, 6))
    docids = [f"d{number}" for number in rng.permutation(50)]
    folder = write(tmp_path, documents, docids, 3, kind)
    asked: Any = sparse(queries) if kind == "splade" else queries.astype(np.float32)
    vocab = [f"t{number}" for number in range(6)]
    whole = pairs(open_exact(folder, vocab).search(asked, 5))
    monkeypatch.setattr(exact, "_SCORES_AT_ONCE", 20)
    monkeypatch.setattr(exact, "_ROWS_AT_ONCE", 4)
    assert pairs(open_exact(folder, vocab).search(asked, 5)) == whole
    assert whole == oracle(queries @ documents.T, docids, 5, least=0 if kind == "splade" else -np.inf)


def test_sums_beyond_single_precision_are_exact(tmp_path: Path) -> None:
    documents = np.array([[2**24 + 1, 1], [2**24 + 1, 2], [2**31 - 1, 0]])
    folder = write(tmp_path, documents, ["a", "b", "c"], 1, "splade")
    (found,) = open_exact(folder, ["t0", "t1"]).search(sparse(np.array([[2**20, 1]])), 3)
    assert [int(score) for score in found.scores] == [
        2**20 * (2**31 - 1),
        2**20 * (2**24 + 1) + 2,
        2**20 * (2**24 + 1) + 1,
    ]
    assert found.docids == ["c", "b", "a"]


def test_equal_vectors_have_equal_scores(tmp_path: Path) -> None:
    """Wherever they stand: what adds in single precision gives them scores that differ in the last bit."""
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.standard_normal((1, 384)), 501, axis=0)
    docids = [f"d{number:03}" for number in rng.permutation(501)]
    folder = write(tmp_path, vectors, docids, 3, "dense")
    (found,) = open_exact(folder).search(rng.standard_normal((1, 384)).astype(np.float32), 400)
    assert found.docids == sorted(docids)[:400]
    assert len(set(found.scores.tolist())) == 1


def test_best_takes_ties_by_rank() -> None:
    scores, ranks = np.array([1.0, 3.0, 2.0, 2.0, 2.0, -0.0, 0.0]), np.array([0, 1, 6, 5, 4, 3, 2])
    assert best(scores, ranks, 3).tolist() == [1, 4, 3]
    assert best(scores, ranks, 9).tolist() == [1, 4, 3, 2, 0, 6, 5]


def test_what_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "twice", np.ones((3, 2)), ["a", "b", "a"], 2, "dense")
    with pytest.raises(InputError, match="'a' is used twice"):
        open_exact(folder)
    folder = write(tmp_path / "dense", np.ones((3, 2)), ["a", "b", "c"], 2, "dense")
    with pytest.raises(InputError, match="vectors of 2 numbers, those of the queries have 3"):
        open_exact(folder).search(np.ones((1, 3), np.float32), 5)
