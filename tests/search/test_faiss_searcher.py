"""`FaissSearcher` against a matrix product, and against Pyserini's searcher of the same name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradir import jvm
from gradir.errors import GradirError
from gradir.search.faiss_search import FaissSearcher

Array = NDArray[np.float32]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An index made by faiss itself, in the layout of Pyserini."""

    def write(vectors: Array, docids: Sequence[str], factory: str = "Flat", name: str = "index") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        if factory.startswith("HNSW"):
            faiss.downcast_index(index).hnsw.efSearch = 64
        faiss.write_index(index, str(folder / "index"))
        (folder / "docid").write_text("".join(f"{docid}\n" for docid in docids), encoding="utf-8")
        return folder

    return write


def normal(count: int, size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def by_hand(vectors: Array, docids: Sequence[str], queries: Array, k: int) -> list[list[tuple[str, float]]]:
    rows = [list(zip(docids, scores, strict=True)) for scores in (queries @ vectors.T).tolist()]
    return [sorted(row, key=lambda hit: (-hit[1], hit[0]))[:k] for row in rows]


def hits(rankings: Any) -> list[list[tuple[str, float]]]:
    return [[tuple(hit) for hit in ranking.hits()] for ranking in rankings]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.integers(1, 60),
    queries=st.sampled_from([0, 1, 3, 25]),
    k=st.integers(1, 80),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "L2norm,Flat"])
def test_ties_at_the_cut_do_not_depend_on_the_order_of_documents(
    factory: str, documents: int, queries: int, k: int, seed: int, make: Make
) -> None:
    rng = np.random.default_rng(seed)
    # small integers: sums are exact in any order, and many documents tie; unit vectors stay so when normalised
    vectors = rng.integers(-1, 2, (documents, 3)).astype(np.float32)
    if factory.startswith("L2norm"):
        vectors = np.eye(3, dtype=np.float32)[rng.integers(0, 3, documents)]
    asked = rng.integers(-2, 3, (queries, 3)).astype(np.float32)
    if factory.startswith("L2norm"):
        asked = np.eye(3, dtype=np.float32)[rng.integers(0, 3, queries)]
    docids = [f"é{number}" for number in rng.permutation(documents)]
    searcher = FaissSearcher(make(vectors, docids, factory), threads=2)
    assert (searcher.documents, searcher.dimensions) == (documents, 3)
    assert hits(searcher.search(asked, k)) == by_hand(vectors, docids, asked, k)


def test_many_ties_at_the_cut(make: Make) -> None:
    docids = [str(number) for number in np.random.default_rng(1).permutation(5000)]
    vectors = np.ones((5000, 4), np.float32)
    vectors[17] = 2
    found = FaissSearcher(make(vectors, docids), 1).search(np.ones((2, 4), np.float32), 10)
    wanted = [docids[17], *sorted(docid for docid in docids if docid != docids[17])[:9]]
    assert [ranking.docids for ranking in found] == [wanted, wanted]


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF8,Flat", "IVF8,SQ8", "HNSW16_SQ8", "PCA8,Flat", "PQ4x4fs"])
def test_equals_pyserini(factory: str, make: Make) -> None:
    vectors, asked = normal(800, 16), normal(30, 16, 1)
    folder = make(vectors, [f"d{number}" for number in range(800)], factory)
    jvm.ensure()
    from pyserini.search.faiss import FaissSearcher as Theirs

    names = [str(number) for number in range(30)]
    theirs = Theirs(str(folder), None).batch_search(asked, names, k=50, threads=2)
    ours = FaissSearcher(folder, 2).search(asked, 50)
    for name, ranking in zip(names, ours, strict=True):
        wanted = sorted(((hit.docid, float(hit.score)) for hit in theirs[name]), key=lambda hit: (-hit[1], hit[0]))
        if factory == "PQ4x4fs":  # few distinct scores: which documents of the last one are kept is up to FAISS there
            assert [score for _, score in hits([ranking])[0]] == [score for _, score in wanted]
        else:
            assert hits([ranking])[0] == wanted


def test_a_graph_finds_more_than_it_was_told_to_look_at(make: Make) -> None:
    vectors, asked = normal(600, 8), normal(20, 8, 1)
    docids = [str(number) for number in range(600)]
    folder = make(vectors, docids, "HNSW4")
    exact = [{docid for docid, _ in row} for row in by_hand(vectors, docids, asked, 10)]
    shares = []
    for ef_search in (1, 200):
        searcher = FaissSearcher(folder, 1, ef_search=ef_search)
        found = searcher.search(asked, 10)
        assert all(len(ranking.docids) == 300 for ranking in searcher.search(asked, 300))
        assert hits(searcher.search(asked, 10)) == hits(found)  # and looks at as many as before
        shares.append(np.mean([len(set(r.docids) & e) for r, e in zip(found, exact, strict=True)]) / 10)
    assert shares[0] < 0.9 < shares[1]


def test_cells_that_hold_less_than_asked_for_give_less(make: Make) -> None:
    vectors = normal(400, 8)
    folder = make(vectors, [str(number) for number in range(400)], "IVF16,Flat")
    few = FaissSearcher(folder, 1, nprobe=1).search(normal(9, 8, 1), 400)
    assert all(0 < len(ranking.docids) == len(ranking.scores) < 400 for ranking in few)
    every = FaissSearcher(folder, 1, nprobe=99).search(normal(9, 8, 1), 400)
    assert all(sorted(ranking.docids, key=int) == [str(number) for number in range(400)] for ranking in every)


def test_as_many_threads_as_before(make: Make) -> None:
    searcher = FaissSearcher(make(normal(30, 4), list(map(str, range(30)))), threads=2)
    before = faiss.omp_get_max_threads()
    searcher.search(normal(3, 4), 2)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF4,Flat", "SQfp16", "HNSW8_SQ8"])
def test_vectors_of_documents(factory: str, make: Make) -> None:
    vectors = normal(100, 8)
    searcher = FaissSearcher(make(vectors, [f"d{number}" for number in range(100)], factory), 1)
    given_back = searcher.vectors(["d7", "d99", "d7", "d0"])
    np.testing.assert_allclose(given_back, vectors[[7, 99, 7, 0]], atol=0.03 if "SQ" in factory else 0)
    with pytest.raises(GradirError, match="document x is not in it"):
        searcher.vectors(["d1", "x"])


def test_compressed_vectors_are_not_given_back(make: Make) -> None:
    searcher = FaissSearcher(make(normal(100, 8), [str(number) for number in range(100)], "IVF4,PQ4x4fs"), 1)
    with pytest.raises(GradirError, match=r"IndexIVFPQFastScan.*Give the vector shards"):
        searcher.vectors(["1"])


def test_what_cannot_be_searched(make: Make, tmp_path: Path) -> None:
    folder = make(normal(10, 4), list(map(str, range(10))))
    with pytest.raises(GradirError, match=r"vectors of 4 numbers, those of the queries have 5.*--encoder"):
        FaissSearcher(folder, 1).search(normal(2, 5), 3)
    for name in ("docid", "index"):
        damaged = make(normal(10, 4), list(map(str, range(10))), name=f"no-{name}")
        (damaged / name).unlink()
        with pytest.raises(GradirError, match=f"its file `{name}` is missing"):
            FaissSearcher(damaged, 1)
    whole = (folder / "index").read_bytes()
    for size in (0, 3, 40, len(whole) - 1):
        (folder / "index").write_bytes(whole[:size])
        with pytest.raises(GradirError, match="is no whole FAISS index"):
            FaissSearcher(folder, 1)
    with pytest.raises(GradirError, match="10 vectors and another number of lines in its file `docid`, 9"):
        FaissSearcher(make(normal(10, 4), list(map(str, range(9)))), 1)
    faiss.write_index(faiss.IndexFlatIP(4), str(folder / "index"))
    with pytest.raises(GradirError, match="has no vectors"):
        FaissSearcher(folder, 1)
    far = faiss.IndexFlatL2(4)
    far.add(normal(9, 4))
    faiss.write_index(far, str(folder / "index"))
    with pytest.raises(GradirError, match="compares by distance"):
        FaissSearcher(folder, 1)
