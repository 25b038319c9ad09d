"""Feedback through the command: the queries are moved, and searched again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import search
from gradir.engine.encoder import Encoder
from gradir.errors import GradirError

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.mark.parametrize("engine", ["auto", "exact"])
def test_dense_rocchio_by_hand(
    engine: Any, indexed: Any, minilm: str, collection: Path, queries: Any, documents: Any, read: Any, tmp_path: Path
) -> None:
    folder = indexed("flat").parent / "vectors-dense" if engine == "exact" else indexed("flat")
    given: dict[str, Any] = {
        "prf": "rocchio",
        "prf_depth": 2,
        "prf_alpha": 0.6,
        "prf_beta": 0.4,
        "engine": engine,
        **CPU,
    }
    search.run(folder, str(collection), tmp_path / "run.trec", minilm, **given)
    opened = Encoder.open(minilm, **CPU)
    vectors: Any = opened.encode([document.contents for document in documents])
    query: Any = opened.encode([queries[2].text], "query")[0]
    best = np.argsort(-(vectors @ query), kind="stable")[:2]
    scores = vectors @ (0.6 * query + 0.4 * vectors[best].mean(axis=0))
    found = read(tmp_path / "run.trec")["7"]
    np.testing.assert_allclose([score for _, score in found], np.sort(scores)[::-1], atol=1e-4)
    config = json.loads((tmp_path / "run.trec.manifest.json").read_text())["config"]
    assert config["prf"] == {"method": "rocchio", "depth": 2, "alpha": 0.6, "beta": 0.4}


def test_sparse_feedback_reads_the_shards(
    indexed: Any, splade: Path, collection: Path, read: Any, tmp_path: Path
) -> None:
    index = indexed("impact")
    shards = index.parent / "vectors-sparse"
    given: dict[str, Any] = {"prf": "average", "hits": 20, **CPU}
    search.run(index, str(collection), tmp_path / "plain", str(splade), hits=20, **CPU)
    search.run(index, str(collection), tmp_path / "moved", str(splade), prf_vectors=shards, **given)
    search.run(shards, str(collection), tmp_path / "exact", str(splade), engine="exact", **given)
    assert read(tmp_path / "moved") == read(tmp_path / "exact") != read(tmp_path / "plain")


def test_what_has_no_feedback(indexed: Any, splade: Path, collection: Path, tmp_path: Path) -> None:
    given: tuple[Any, ...] = (str(collection), tmp_path / "run.trec")
    with pytest.raises(GradirError, match="--prf is for vectors"):
        search.run(indexed("bm25"), *given, prf="rocchio")
    with pytest.raises(GradirError, match="give the vector shards it was made from as --prf-vectors"):
        search.run(indexed("impact"), *given, str(splade), prf="rocchio")
    with pytest.raises(GradirError, match="give one --index"):
        search.run([indexed("flat"), indexed("hnsw")], *given, str(splade), prf="rocchio")
    with pytest.raises(GradirError, match="leave --prf out"):
        search.run(indexed("flat"), str(collection), explain=["7", "d1"], prf="rocchio")
