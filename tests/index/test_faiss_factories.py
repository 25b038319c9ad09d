"""Any FAISS factory: what is written is what faiss itself makes of the same vectors; what cannot be is refused in plain words."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from gradir.data.vectors import VectorShards
from gradir.errors import GradirError
from gradir.index import faiss_factory, faiss_index, faiss_recall
from gradir.index.source import Source

Array = NDArray[np.float32]


@pytest.fixture
def vectors() -> Array:
    """Around 20 centres."""
    rng = np.random.default_rng(0)
    near = rng.standard_normal((20, 16))[rng.integers(0, 20, 2000)]
    return (near + 0.5 * rng.standard_normal((2000, 16))).astype(np.float32)


@pytest.fixture
def source(vectors: Array, dense_shards: Any) -> Source:
    return Source(VectorShards(dense_shards(vectors, parts=3)))


@pytest.fixture
def write(source: Source, tmp_path: Path) -> Callable[..., Any]:
    """(the index that is read back, the counts)."""

    def run(factory: str, **options: Any) -> tuple[Any, dict[str, Any]]:
        folder = tmp_path / f"index{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        counts = faiss_index.write(source, folder, lambda _: None, factory, **options)
        return faiss.read_index(str(folder / "index")), counts

    return run


@pytest.mark.parametrize(
    "factory", ["SQfp16", "SQ8", "PCA8,Flat", "IVF10,SQ8", "IVF8,PQ4x4", "PQ4x4", "OPQ4_8,PQ4x4", "PQ4x4fs"]
)
def test_equals_what_faiss_makes(factory: str, write: Any, vectors: Array) -> None:
    theirs = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    theirs.train(vectors)  # in the order of the documents, which are fewer than FAISS takes for 16 centroids
    theirs.add(vectors)
    ours, counts = write(factory)
    assert counts["documents"] == 2000
    if factory.startswith("IVF"):
        assert ours.nprobe == counts["nprobe"] == min(16, ours.nlist)
        theirs.nprobe = ours.nprobe
    (scores, rows), (wanted_scores, wanted_rows) = ours.search(vectors[:50], 20), theirs.search(vectors[:50], 20)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6)  # BLAS rounds by the size of what is added at once


def test_graphs_keep_their_parameters(write: Any) -> None:
    index, counts = write("HNSW12_SQ8", ef_construction=33, ef_search=44)
    assert (index.hnsw.efConstruction, index.hnsw.efSearch, index.hnsw.nb_neighbors(1)) == (33, 44, 12)
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert counts == {"documents": 2000, "dimensions": 16, "trained_on": 2000}


@pytest.mark.parametrize(("given", "kept"), [(None, 16), (3, 3), (99, 40)])
def test_cells_looked_at(given: int | None, kept: int, write: Any) -> None:
    index, counts = write("PCA8,IVF40,Flat", nprobe=given)
    assert faiss.extract_index_ivf(index).nprobe == counts["nprobe"] == kept


def test_the_sample_is_uniform_bounded_and_the_same_each_time(source: Source, vectors: Array) -> None:
    drawn = faiss_factory.sample(source, 1000)
    np.testing.assert_array_equal(drawn, faiss_factory.sample(source, 1000))
    rows = [int(np.flatnonzero((vectors == one).all(axis=1))[0]) for one in drawn]
    assert rows == sorted(set(rows))
    assert 850 < np.mean(rows) < 1150
    np.testing.assert_array_equal(faiss_factory.sample(source, 5000), vectors)


def test_no_more_is_trained_on_than_is_of_use(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write("IVF4,Flat")[1]["trained_on"] == 1024
    monkeypatch.setattr(faiss_factory, "_MEMORY", 500 * 4 * 16)
    assert write("IVF4,Flat")[1]["trained_on"] == 500
    assert write("IVF20,Flat")[1]["trained_on"] == 39 * 20  # fewer would not do


def test_training_on_few_is_quiet(write: Any, capfd: pytest.CaptureFixture[str]) -> None:
    write("OPQ4_8,IVF64,PQ4x6")
    write("IVF4,RQ2x6")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("nonsense", "could not parse index string nonsense"),
        ("PQ7", "for vectors of 16 numbers .*multiple of the number of subquantizers"),
        ("LSH", "cannot make it"),
        ("HNSW8_PQ4", "for distances alone"),
        ("IDMap,Flat", "Leave out the IDMap"),
        ("IVF0,Flat", "one cell or more"),
        ("IVF3000,Flat", r"learns 3000 centroids .*\(117000 to do it well\), and .* holds 2000.*SQ8"),
        ("PCA99,Flat", "cannot train it on 2000 vectors .*cannot output 99 dimensions"),
        ("NSG8,Flat", "cannot add vectors to it"),
    ],
)
def test_what_cannot_be_made(factory: str, words: str, write: Any) -> None:
    with pytest.raises(GradirError, match=f"--factory {factory}: .*{words}"):
        write(factory)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat"])
def test_numbers_that_are_none(factory: str, dense_shards: Any, vectors: Array, tmp_path: Path) -> None:
    folder = dense_shards(vectors, parts=2)
    path = folder / "part-00001.parquet"
    table = pq.read_table(path)
    lists = table["vector"].to_pylist()
    lists[5][3] = float("nan")
    changed = pa.table({"docid": table["docid"], "vector": pa.array(lists, pa.list_(pa.float32()))})
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    (tmp_path / "out").mkdir()
    with pytest.raises(GradirError, match=r"part-00001\.parquet.*d1005 holds NaN"):
        faiss_index.write(Source(VectorShards(folder)), tmp_path / "out", lambda _: None, factory)


_SMALL_DISK = """
import sys
from pathlib import Path
from gradir import index
from gradir.errors import GradirError
try:
    index.run(Path(sys.argv[1]), Path(sys.argv[2]), "faiss", factory=sys.argv[3])
except GradirError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.parametrize("factory", ["Flat", "HNSW8"])
def test_a_disk_that_fills(factory: str, source: Source, tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    words = [sys.executable, "-c", _SMALL_DISK, str(source.folder), str(tmp_path / "out"), factory]
    done = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"refused: .*could not (be written|write the index)", done.stderr)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "v"] == []


def test_trained_and_filled_on_a_gpu(write: Any, vectors: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = []

    def move(name: str) -> Callable[[Any], Any]:
        def clone(index: Any) -> Any:
            moves.append((name, index.ntotal))
            if "HNSW" in type(faiss.downcast_index(index)).__name__:
                raise RuntimeError("This index type is not implemented on GPU.")
            copy = faiss.clone_index(index)
            if name == "down":
                faiss.downcast_index(copy).nprobe = 1  # a GPU keeps it elsewhere
            return copy

        return clone

    plain, _ = write("IVF16,Flat")
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", move("up"), raising=False)
    monkeypatch.setattr(faiss, "index_gpu_to_cpu", move("down"), raising=False)
    moved, counts = write("IVF16,Flat")
    assert moves == [("up", 0), ("down", 2000)]
    assert moved.nprobe == counts["nprobe"] == 16
    for found, wanted in zip(moved.search(vectors[:9], 20), plain.search(vectors[:9], 20), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert write("HNSW8")[0].ntotal == 2000
    assert moves[2:] == [("up", 0)]


def test_recall_of_what_is_exact_and_of_what_is_not(source: Source, vectors: Array, tmp_path: Path) -> None:
    queries = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32)
    exact = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")
    np.testing.assert_array_equal(faiss_recall.exact_rows(source, queries, 30), exact[:, :30])
    shares = {}
    for factory in ("Flat", "IVF40,Flat"):
        folder = tmp_path / factory
        folder.mkdir()
        faiss_index.write(source, folder, lambda _: None, factory, nprobe=2)
        shares[factory] = faiss_recall.recall(folder, source, queries, hits=(10, 100, 9999))
    assert shares["Flat"] == {"recall@10": 1.0, "recall@100": 1.0}
    found = faiss.read_index(str(tmp_path / "IVF40,Flat" / "index")).search(queries, 100)[1]
    for k in (10, 100):
        same = [len(set(found[row, :k]) & set(exact[row, :k])) for row in range(40)]
        assert shares["IVF40,Flat"][f"recall@{k}"] == pytest.approx(sum(same) / (40 * k), abs=1e-4)
    assert shares["IVF40,Flat"]["recall@10"] < 0.9
    assert faiss_recall.recall(tmp_path / "Flat", source) == {"recall@10": 1.0, "recall@100": 1.0}
