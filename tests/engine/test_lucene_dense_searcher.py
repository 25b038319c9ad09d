"""`LuceneDenseSearcher` against a matrix product, and against Pyserini's searchers over the same index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.vectors import VectorShards, write_part
from gradir.engine.lucene_dense import LuceneDenseSearcher
from gradir.errors import GradirError
from gradir.index import lucene_dense
from gradir.index.source import Source

Array = NDArray[np.float32]


def unit(count: int, size: int, seed: int = 0) -> Array:
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def write(vectors: Array, docids: list[str], hnsw: bool, parts: int = 1) -> Path:
        for number, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
            write_part(tmp_path / "v", number, [docids[row] for row in rows], vectors[rows], {"kind": "dense"})
        (tmp_path / "index").mkdir()
        lucene_dense.write(Source(VectorShards(tmp_path / "v")), tmp_path / "index", lambda _: None, hnsw)
        return tmp_path / "index"

    return write


@pytest.mark.parametrize("k", [1, 7, 60, 999])
def test_flat_ties_do_not_depend_on_the_order_of_documents(k: int, make: Any) -> None:
    rng = np.random.default_rng(k)
    vectors = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 120)]
    asked = np.vstack([np.eye(4, dtype=np.float32), np.float32([[0.5, 0.5, 0.5, -0.5]])])
    docids = [f"é{number}" for number in rng.permutation(120)]
    searcher = LuceneDenseSearcher(make(vectors, docids, False, parts=3), threads=2)
    assert (searcher.documents, searcher.dimensions, searcher.hnsw) == (120, 4, False)
    scores = (1 + asked @ vectors.T) / 2
    for row, ranking in zip(scores, searcher.search(asked, k), strict=True):
        wanted = sorted(zip(docids, row.tolist(), strict=True), key=lambda hit: (-hit[1], hit[0]))[:k]
        assert [tuple(hit) for hit in ranking.hits()] == wanted
    searcher.documents += 9  # others may add documents without a vector
    assert all(len(ranking.docids) == 120 for ranking in searcher.search(asked, 125))


def test_flat_finds_more_than_a_thousand(make: Any) -> None:
    vectors, asked = unit(1300, 4), unit(2, 4, 1)
    docids = [f"d{number}" for number in range(1300)]
    searcher = LuceneDenseSearcher(make(vectors, docids, False), threads=1)
    for row, ranking in zip(asked @ vectors.T, searcher.search(asked, 1200), strict=True):
        assert len(ranking.docids) == 1200
        assert ranking.docids[:50] == [docids[place] for place in np.argsort(-row)[:50]]


@pytest.mark.parametrize("hnsw", [False, True])
def test_equals_pyserini(hnsw: bool, make: Any) -> None:
    vectors, asked = unit(600, 16), unit(15, 16, 1)
    folder = make(vectors, [f"d{number}" for number in range(600)], hnsw)
    jvm.ensure()
    from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher

    theirs = LuceneHnswDenseSearcher(str(folder), ef_search=77) if hnsw else LuceneFlatDenseSearcher(str(folder))
    names = [str(number) for number in range(15)]
    found = theirs.batch_search([json.dumps(query.tolist()) for query in asked], names, 40, 2)
    ours = LuceneDenseSearcher(folder, threads=2, ef_search=77).search(asked, 40)
    for name, ranking in zip(names, ours, strict=True):
        assert [tuple(hit) for hit in ranking.hits()] == [(hit.docid, hit.score) for hit in found[name]]
        assert ranking.scores.dtype == np.float32


def test_a_graph_finds_more_than_it_was_told_to_look_at(make: Any) -> None:
    searcher = LuceneDenseSearcher(make(unit(400, 8), [str(n) for n in range(400)], True), threads=1, ef_search=5)
    assert searcher.hnsw
    first = searcher.search(unit(5, 8, 1), 10)
    assert all(len(ranking.docids) == 150 for ranking in searcher.search(unit(5, 8, 1), 150))
    assert [r.docids for r in searcher.search(unit(5, 8, 1), 10)] == [r.docids for r in first]


def test_what_cannot_be_searched(make: Any, tmp_path: Path) -> None:
    folder = make(unit(20, 4), [str(number) for number in range(20)], False)
    with pytest.raises(GradirError, match=r"vectors of 4 numbers, those of the queries have 5.*--encoder"):
        LuceneDenseSearcher(folder, 1).search(unit(2, 5), 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(GradirError, match="Lucene could not open it"):
        LuceneDenseSearcher(tmp_path / "empty", 1)
    segments = next(folder.glob("segments_*"))
    whole = segments.read_bytes()
    segments.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GradirError, match="Lucene could not open it"):
        LuceneDenseSearcher(folder, 1)
    segments.write_bytes(whole)
    vectors = next(folder.glob("*.vec"))
    vectors.write_bytes(vectors.read_bytes()[:100])
    with pytest.raises(GradirError, match="Lucene could not"):
        LuceneDenseSearcher(folder, 1).search(unit(2, 4), 3)


def test_an_index_of_words(tmp_path: Path) -> None:
    from gradir.data.corpus import write_corpus
    from gradir.data.records import Document
    from gradir.index import bm25

    write_corpus(tmp_path / "corpus.jsonl", [Document("a", "wing flow")])
    (tmp_path / "index").mkdir()
    bm25.write(tmp_path / "corpus.jsonl", tmp_path / "index", lambda _: None)
    with pytest.raises(GradirError, match="holds no dense vectors"):
        LuceneDenseSearcher(tmp_path / "index", 1)
