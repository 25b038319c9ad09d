"""Runs equal what numpy makes of the encoder's own vectors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import search
from gradir.engine.encoder import Encoder

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def dense_sums(encoder: str, documents: Any, queries: Any) -> Any:
    opened = Encoder.open(encoder, **CPU)
    return opened.encode([q.text for q in queries], "query") @ opened.encode([d.contents for d in documents]).T


def sparse_sums(encoder: Path, documents: Any, queries: Any) -> Any:
    """Integer sums [queries, documents]."""
    opened = Encoder.open(encoder, **CPU)

    def matrix(vectors: Any) -> Any:
        full = np.zeros((len(vectors), len(opened.vocab())), dtype=np.int64)
        full[np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr)), vectors.terms] = vectors.impacts
        return full

    asked = matrix(opened.encode([q.text for q in queries], "query"))
    return asked @ matrix(opened.encode([d.contents for d in documents])).T


@pytest.mark.parametrize("hits", [7, 1000])
@pytest.mark.parametrize("batch_size", [2, 128])
def test_impact_runs_are_the_integer_sums(
    hits: int,
    batch_size: int,
    splade: Path,
    indexed: Any,
    collection: Path,
    documents: Any,
    queries: Any,
    read: Any,
    ranking: Any,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run.trec"
    given = {"encoder": str(splade), "hits": hits, "batch_size": batch_size, **CPU}
    search.run(indexed("impact"), str(collection), out, **given)
    found, sums = read(out), sparse_sums(splade, documents, queries)
    wanted = {
        query.qid: [hit for hit in ranking([d.docid for d in documents], row, len(row)) if hit[1]][:hits]
        for query, row in zip(queries, sums, strict=True)
    }
    assert {qid: [(docid, round(score)) for docid, score in hits] for qid, hits in found.items()} == wanted
    assert list(found) == [query.qid for query in queries]  # the order of the topics
    assert found["12"] == found["3"]  # the same text


@pytest.mark.parametrize("type", ["flat", "hnsw"])
@pytest.mark.parametrize("hits", [7, 1000])
def test_dense_runs_are_the_inner_products(
    type: str,
    hits: int,
    minilm: str,
    indexed: Any,
    collection: Path,
    documents: Any,
    queries: Any,
    read: Any,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run.trec"
    search.run(indexed(type), str(collection), out, minilm, hits=hits, **CPU)
    found, scores = read(out), dense_sums(minilm, documents, queries)
    assert list(found) == [query.qid for query in queries]
    for query, row in zip(queries, scores, strict=True):
        best = np.sort(row)[::-1][:hits]
        known = dict(zip([d.docid for d in documents], row, strict=True))
        assert len(found[query.qid]) == min(hits, 50)  # more hits than documents is no error
        np.testing.assert_allclose([score for _, score in found[query.qid]], best, atol=1e-4)
        np.testing.assert_allclose([known[docid] for docid, _ in found[query.qid]], best, atol=1e-4)


@pytest.mark.e2e
def test_pyserinis_dense_command_gives_the_same_run(
    minilm: str, indexed: Any, collection: Path, documents: Any, queries: Any, read: Any, tmp_path: Path
) -> None:
    texts = {document.docid: document.text for document in documents}
    ours, theirs, topics = tmp_path / "ours.trec", tmp_path / "theirs.trec", tmp_path / "topics.tsv"
    search.run(indexed("flat"), str(collection), ours, minilm, hits=50, **CPU)
    # Pyserini makes integers of ids, and drops their zeros
    topics.write_text("".join(f"q{query.qid}\t{query.text}\n" for query in queries))
    command = [sys.executable, "-m", "gradir.cli", "pyserini", "search.faiss", "--index", str(indexed("flat"))]
    command += ["--topics", str(topics), "--encoder", minilm, "--encoder-class", "auto", "--pooling", "mean"]
    command += ["--l2-norm", "--device", "cpu", "--output", str(theirs), "--hits", "50", "--threads", "1"]
    command += ["--batch-size", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=os.environ | {"GRADIR_HEAP": "1g"})
    assert done.returncode == 0, done.stderr
    other: dict[str, list[tuple[str, float]]] = {}
    for line in theirs.read_text().splitlines():
        qid, _, docid, _, score, _ = line.split()
        other.setdefault(qid[1:], []).append((docid, float(score)))
    mine = read(ours)
    assert mine.keys() == other.keys()
    for qid, hits in mine.items():
        np.testing.assert_allclose([s for _, s in hits], [s for _, s in other[qid]], atol=1e-4)
        # equal texts tie, and FAISS leaves ties in no order
        assert [texts[docid] for docid, _ in hits] == [texts[docid] for docid, _ in other[qid]]
        assert {docid for docid, _ in hits} == {docid for docid, _ in other[qid]} == texts.keys()


def test_hnsw_finds_fewer_than_asked_for(tmp_path: Path) -> None:
    # a vector that no other points to is never reached: FAISS answers -1, which is no document
    import faiss

    from gradir.search.searchers import open_searcher

    rng = np.random.default_rng(0)
    graph = faiss.IndexHNSWFlat(4, 2, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = graph.hnsw.efSearch = 1
    graph.add(rng.standard_normal((300, 4)).astype(np.float32))
    faiss.write_index(graph, str(tmp_path / "index"))
    (tmp_path / "docid").write_text("".join(f"d{i}\n" for i in range(300)))
    asked = rng.standard_normal((5, 4)).astype(np.float32)
    graph.hnsw.efSearch = 300  # a search looks at no fewer candidates than it is asked for
    places = graph.search(asked, 300)[1]
    assert (places < 0).any(), "the graph has become better: make it worse"

    found = open_searcher("hnsw", tmp_path).search(asked, 1000)
    for hits, row in zip(found, places, strict=True):
        assert sorted(hits.docids) == sorted(f"d{place}" for place in row if place >= 0)


def test_two_thousand_terms_and_none(tmp_path: Path) -> None:
    """One query of 2,000 terms, and one of none, beside an ordinary one."""
    from gradir import index
    from gradir.data.vectors import SparseVectors, write_part, write_vocab
    from gradir.search.searchers import open_searcher

    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 99, (20, 3000)) * (rng.random((20, 3000)) < 0.2)
    matrix[:, 5] = np.arange(1, 21)  # Pyserini's default leaves out a term that every document has
    rows, terms = np.nonzero(matrix)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows))])
    write_vocab(tmp_path / "v", [f"t{i}" for i in range(3000)])
    vectors = SparseVectors(indptr, terms.astype(np.int32), matrix[rows, terms].astype(np.int32))
    write_part(tmp_path / "v", 0, [f"d{i:02}" for i in range(20)], vectors, {"kind": "splade"})
    index.run(tmp_path / "v", tmp_path / "index", "impact")
    weights = rng.integers(1, 99, 2000)
    asked = SparseVectors(
        np.array([0, 2000, 2000, 2001]),
        np.concatenate([np.arange(2000), [5]]).astype(np.int32),
        np.concatenate([weights, [1]]).astype(np.int32),
    )

    vocab = [f"t{i}" for i in range(3000)]
    found = open_searcher("impact", tmp_path / "index", vocab, 2).search(asked, 1000)
    many, none, one = (ranking.hits() for ranking in found)
    sums = matrix[:, :2000] @ weights
    assert [(hit.docid, round(hit.score)) for hit in many] == sorted(
        ((f"d{i:02}", int(total)) for i, total in enumerate(sums)), key=lambda hit: (-hit[1], hit[0])
    )
    assert none == []
    assert {hit.docid: round(hit.score) for hit in one} == {f"d{i:02}": v for i, v in enumerate(matrix[:, 5]) if v}
