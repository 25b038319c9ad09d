"""Lucene's dense indexes, searched by an unmodified Pyserini, give the inner products of the shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradir import index, jvm
from gradir.data.vectors import VectorShards
from gradir.errors import GradirError
from gradir.index import lucene_dense
from gradir.index.source import Source


def unit(count: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(shards: Path, folder: Path, hnsw: bool, **options: Any) -> dict[str, Any]:
    folder.mkdir()
    return lucene_dense.write(Source(VectorShards(shards)), folder, lambda _: None, hnsw, **options)


def pyserini(folder: Path, queries: NDArray[np.float32], hnsw: bool, k: int) -> list[list[tuple[str, float]]]:
    jvm.ensure()
    from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher

    searcher = LuceneHnswDenseSearcher(str(folder), ef_search=300) if hnsw else LuceneFlatDenseSearcher(str(folder))
    texts = [json.dumps(query.tolist()) for query in queries]
    names = [str(number) for number in range(len(queries))]
    found = searcher.batch_search(texts, names, k, 2)
    searcher.close()
    return [[(hit.docid, hit.score) for hit in found[name]] for name in names]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("hnsw", [False, True])
def test_pyserini_finds_the_nearest(
    hnsw: bool, int8: bool, dense_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lucene_dense, "_FILE_DOCUMENTS", 100)  # several files, by several threads
    vectors, asked = unit(700, 128), unit(20, 128, 1)
    docids = [f"é{number}" for number in np.random.default_rng(2).permutation(700)]
    shards = dense_shards(vectors.astype(np.float16), docids, parts=2)
    counts = write(shards, tmp_path / "index", hnsw, int8=int8, threads=2)
    assert counts == {"documents": 700, "dimensions": 128}
    assert not [path for path in (tmp_path / "index").iterdir() if path.is_dir()]
    assert any(path.suffix == ".veq" for path in (tmp_path / "index").iterdir()) == int8
    scores = (1 + asked @ vectors.T) / 2
    same = 0
    for row, found in enumerate(pyserini(tmp_path / "index", asked, hnsw, 50)):
        exact = np.argsort(-scores[row], kind="stable")[:50]
        same += len({docid for docid, _ in found} & {docids[place] for place in exact})
        for docid, score in found:
            assert score == pytest.approx(scores[row, docids.index(docid)], abs=0.05 if int8 else 5e-4)
    assert same / (20 * 50) > (0.9 if int8 else 0.98)


def test_graphs_as_told(dense_shards: Any, tmp_path: Path) -> None:
    shards = dense_shards(unit(1500, 16), parts=2)
    sizes = []
    for m in (4, 32):
        write(shards, tmp_path / f"m{m}", True, m=m, ef_construction=60)
        sizes.append(next(path.stat().st_size for path in (tmp_path / f"m{m}").iterdir() if path.suffix == ".vex"))
    assert sizes[1] > 1.5 * sizes[0]


def test_what_lucene_cannot_hold(dense_shards: Any, tmp_path: Path) -> None:
    vectors = unit(6, 4)
    vectors[4] *= 3
    with pytest.raises(GradirError, match=r"part-00001\.parquet:2: the vector of document d4 has length 3, .*FAISS"):
        write(dense_shards(vectors, parts=2), tmp_path / "a", False)
    with pytest.raises(GradirError, match="document id 'x' was used before"):
        write(dense_shards(unit(3, 4), ["x", "y", "x"], to="twice"), tmp_path / "b", True)
    with pytest.raises(GradirError, match="vectors of 4097 numbers, Lucene takes 4096"):
        write(dense_shards(unit(2, 4097), to="wide"), tmp_path / "c", False)
    with pytest.raises(GradirError, match="holds no documents"):
        write(dense_shards(unit(0, 4), to="none"), tmp_path / "d", False)


def test_a_document_that_is_lost_is_noticed(dense_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lucene_dense._write_file
    monkeypatch.setattr(lucene_dense, "_write_file", lambda path, ids, vectors: whole(path, ids[1:], vectors[1:]))
    with pytest.raises(GradirError, match="holds 6 of 7 documents"):
        write(dense_shards(unit(7, 4)), tmp_path / "index", False)


@pytest.mark.parametrize(("type", "int8"), [("lucene-hnsw", False), ("lucene-hnsw", True), ("lucene-flat", True)])
def test_the_report_has_the_recall_against_exact_search(
    dense_shards: Any, tmp_path: Path, type: Any, int8: bool
) -> None:
    vectors = np.random.default_rng(0).normal(size=(150, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    outcome = index.run(dense_shards(vectors.astype(np.float32), parts=2), tmp_path / "index", type, int8=int8)
    measured = json.loads((tmp_path / "index" / "manifest.json").read_text())["measured"]
    assert 0.8 <= measured["recall@10"] <= 1
    assert 0.8 <= measured["recall@100"] <= 1
    assert f"recall@10 {measured['recall@10']:.3f}" in outcome.message
