"""FAISS indexes searched by Pyserini's own searcher give the inner products of the shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from gradir import index, jvm
from gradir.data.vectors import part_path
from gradir.errors import GradirError


class Queries:
    """A query's text is its row."""

    def __init__(self, vectors: NDArray[np.float32]):
        self.vectors = vectors

    def encode(self, text: str) -> NDArray[np.float32]:
        return self.vectors[int(text)]

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.vectors[[int(text) for text in texts]]


def searcher(folder: Path, queries: NDArray[np.float32]) -> Any:
    jvm.ensure()
    from pyserini.search.faiss import FaissSearcher

    return FaissSearcher(str(folder), Queries(queries))


def ranked(found: dict[str, Any]) -> list[list[tuple[str, float]]]:
    """Score descending, then docid ascending; FAISS leaves ties in no order."""
    hits = [[(hit.docid, float(hit.score)) for hit in found[str(i)]] for i in range(len(found))]
    return [sorted(one, key=lambda hit: (-hit[1], hit[0])) for one in hits]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("queries", [3, 40])  # FAISS multiplies few queries and many in different ways
def test_flat_equals_inner_products_with_ties(seed: int, queries: int, dense_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    # small integers: single precision adds them exactly in any order, and many documents tie
    vectors = rng.integers(-2, 3, (150, 8)).astype(np.float32)
    asked = rng.integers(-3, 4, (queries, 8)).astype(np.float32)
    docids = [str(number) for number in rng.permutation(999)[:150]]
    index.run(dense_shards(vectors, docids, parts=3), tmp_path / "index", "flat")
    names = [str(i) for i in range(queries)]
    found = searcher(tmp_path / "index", asked).batch_search(names, names, k=150, threads=1)
    scores = asked @ vectors.T
    wanted = [sorted(zip(docids, row.tolist(), strict=True), key=lambda hit: (-hit[1], hit[0])) for row in scores]
    assert ranked(found) == wanted
    cut = searcher(tmp_path / "index", asked).batch_search(names, names, k=10, threads=1)
    assert [[s for _, s in hits] for hits in ranked(cut)] == [[s for _, s in hits[:10]] for hits in wanted]


def test_flat_equals_inner_products_of_real_numbers(dense_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors, asked = (rng.standard_normal((n, 96)).astype(np.float32) for n in (500, 25))
    index.run(dense_shards(vectors, parts=2), tmp_path / "index", "flat")
    names = [str(i) for i in range(25)]
    found = searcher(tmp_path / "index", asked).batch_search(names, names, k=500, threads=2)
    scores = asked @ vectors.T
    for row, name in enumerate(names):
        assert [hit.docid for hit in found[name]] == [f"d{i}" for i in np.argsort(-scores[row], kind="stable")]
        np.testing.assert_allclose([hit.score for hit in found[name]], -np.sort(-scores[row]), atol=2e-5)


def test_hnsw_finds_nearly_all_and_keeps_its_parameters(dense_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors, asked = (rng.standard_normal((n, 32)).astype(np.float32) for n in (2000, 50))
    shards = dense_shards(vectors, parts=2)
    index.run(shards, tmp_path / "hnsw", "hnsw", m=24, ef_construction=150, ef_search=77)
    stored = faiss.read_index(str(tmp_path / "hnsw" / "index"))
    assert (stored.hnsw.efConstruction, stored.hnsw.efSearch, stored.hnsw.nb_neighbors(1)) == (150, 77, 24)
    assert stored.metric_type == faiss.METRIC_INNER_PRODUCT
    names = [str(i) for i in range(50)]
    found = searcher(tmp_path / "hnsw", asked).batch_search(names, names, k=10, threads=1)
    exact = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    overlap = [len({hit.docid for hit in found[n]} & {f"d{i}" for i in exact[int(n)]}) for n in names]
    assert sum(overlap) / 500 > 0.95
    for name in names:
        for hit in found[name]:
            assert hit.score == pytest.approx(float(vectors[int(hit.docid[1:])] @ asked[int(name)]), abs=1e-4)


@pytest.mark.parametrize("type", ["flat", "hnsw"])
def test_indexing_twice_gives_equal_results(type: Any, dense_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors, asked = (rng.standard_normal((n, 16)).astype(np.float32) for n in (600, 9))
    shards, names = dense_shards(vectors), [str(i) for i in range(9)]
    found = []
    for name in ("one", "two"):
        index.run(shards, tmp_path / name, type)
        found.append(ranked(searcher(tmp_path / name, asked).batch_search(names, names, k=50, threads=1)))
    assert found[0] == found[1]
    assert (tmp_path / "one" / "docid").read_bytes() == (tmp_path / "two" / "docid").read_bytes()


def test_duplicate_ids_vectors_of_two_sizes_and_no_documents(dense_shards: Any, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match=r"part-00001\.parquet:2: document id 'a' was used before"):
        index.run(dense_shards(np.eye(4), ["a", "b", "c", "a"], parts=2), tmp_path / "out", "flat")
    dense_shards(np.ones((3, 5)), ["x", "y", "z"], to="wide")
    (tmp_path / "wide" / "part-00000.parquet").replace(part_path(tmp_path / "v", 1))
    with pytest.raises(GradirError, match=r"part-00001.*vectors of 5 numbers, those before it have 4"):
        index.run(tmp_path / "v", tmp_path / "out", "flat")
    with pytest.raises(GradirError, match="holds no documents"):
        index.run(dense_shards(np.ones((0, 3)), to="none"), tmp_path / "out", "hnsw")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"m": 1}, {"ef_construction": 0}, {"ef_search": -1}])
def test_graphs_that_cannot_be(wrong: dict[str, int], dense_shards: Any, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match=r"--(m|ef-construction|ef-search) \S+: give [12] or more"):
        index.run(dense_shards(np.eye(4)), tmp_path / "index", "hnsw", **wrong)
