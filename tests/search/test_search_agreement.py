"""Every searcher agrees with ten lines of numpy: ties, zero scores, equal vectors, empty documents, empty queries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradir import index
from gradir.data.vectors import SparseVectors, write_part, write_vocab
from gradir.search.searchers import open_searcher

Rows = NDArray[Any]
Hits = list[list[tuple[str, float]]]


def oracle(documents: Rows, queries: Rows, docids: list[str], hits: int, least: float) -> Hits:
    found = []
    for scores in queries @ documents.T:
        pairs = [(docid, float(score)) for docid, score in zip(docids, scores, strict=True) if score > least]
        found.append(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:hits])
    return found


def sparse(matrix: Rows) -> SparseVectors:
    rows, terms = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(matrix)))]).astype(np.int64)
    return SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms].astype(np.int32))


def pairs(rankings: Any) -> Hits:
    return [[(docid, float(score)) for docid, score in ranking.hits()] for ranking in rankings]


@st.composite
def collections(draw: Any, smallest: int) -> tuple[Rows, Rows, list[str], int, int]:
    """(documents, queries, docids, hits, threads): few different values, so that scores tie; some rows are equal."""
    size, terms, queries = draw(st.integers(1, 40)), draw(st.integers(1, 8)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    documents = rng.integers(smallest, 3, (size, terms)) * (rng.random((size, terms)) < draw(st.floats(0.1, 1)))
    documents[rng.integers(0, size, size // 3)] = documents[0]
    documents[-1, 0] = 1  # an index without any term is refused
    asked = rng.integers(smallest, 4, (queries, terms)) * (rng.random((queries, terms)) < 0.7)
    docids = [f"{name}{number}" for number, name in enumerate(rng.choice(["é", "a", "B", "10", "9"], size))]
    return documents, asked, docids, draw(st.integers(1, 50)), draw(st.integers(1, 3))


def write(root: Path, documents: Rows, docids: list[str], type: Any) -> tuple[Path, Path]:
    """(vector shards of two parts, the index of them)."""
    shutil.rmtree(root, ignore_errors=True)
    kind = "splade" if type == "impact" else "dense"
    write_vocab(root / "v", [f"t{number}" for number in range(documents.shape[1])])
    for number, rows in enumerate(np.array_split(np.arange(len(documents)), 2)):
        vectors = sparse(documents[rows]) if type == "impact" else documents[rows].astype(np.float32)
        write_part(root / "v", number, [docids[row] for row in rows], vectors, {"kind": kind})
    index.run(root / "v", root / "index", type)
    return root / "v", root / "index"


SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(collections(smallest=0))
def test_impact(tmp_path_factory: pytest.TempPathFactory, collection: tuple[Rows, Rows, list[str], int, int]) -> None:
    documents, queries, docids, hits, threads = collection
    shards, folder = write(tmp_path_factory.getbasetemp() / "impacts", documents, docids, "impact")
    vocab = [f"t{number}" for number in reversed(range(documents.shape[1]))]
    asked, wanted = sparse(queries[:, ::-1]), oracle(documents, queries, docids, hits, least=0)
    assert pairs(open_searcher("impact", folder, vocab, threads).search(asked, hits)) == wanted
    assert pairs(open_searcher("exact", shards, vocab, threads).search(asked, hits)) == wanted


@SETTINGS
@given(collections(smallest=-2))
def test_flat(tmp_path_factory: pytest.TempPathFactory, collection: tuple[Rows, Rows, list[str], int, int]) -> None:
    documents, queries, docids, hits, threads = collection
    shards, folder = write(tmp_path_factory.getbasetemp() / "vectors", documents, docids, "flat")
    asked, wanted = queries.astype(np.float32), oracle(documents, queries, docids, hits, least=-np.inf)
    assert pairs(open_searcher("flat", folder, (), threads).search(asked, hits)) == wanted
    assert pairs(open_searcher("exact", shards, (), threads).search(asked, hits)) == wanted
