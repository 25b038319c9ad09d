"""FAISS: building and searching flat and HNSW indexes, against a script that calls faiss itself on the same vector shards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import Row, alternate, ratio_of
from gradir.data.vectors import VectorShards, write_part

_DIMENSIONS = 384
_THREADS = os.cpu_count() or 1
_HITS = 100
_TARGET = 0.95  # within 5%


def build_rows(quick: bool) -> list[Row]:
    """Vector shards on the disk to a FAISS index on the disk."""
    return [_build_row(graph, *_sizes(graph, quick)) for graph in (False, True)]


def search_rows(quick: bool) -> list[Row]:
    """Encoded queries to lists of ids and scores."""
    return [_search_row(graph, *_sizes(graph, quick)) for graph in (False, True)]


def _sizes(graph: bool, quick: bool) -> tuple[int, int]:
    """(documents, rounds)."""
    if quick:
        return (2_500, 3) if graph else (20_000, 5)
    return (30_000, 5) if graph else (100_000, 9)


def _build_row(graph: bool, documents: int, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as work:
        shards = _shards(Path(work), documents)
        folders = {name: Path(work, name) for name in ("ours", "theirs")}
        contenders: dict[str, Callable[[], Any]] = {
            "ours": lambda: _ours(shards, folders["ours"], graph),
            "theirs": lambda: _theirs(shards, folders["theirs"], graph),
        }
        for run in contenders.values():
            run()
        note = _compared(folders["ours"], folders["theirs"], graph)
        seconds = alternate(contenders, rounds)
        work_done = f"FAISS {'HNSW' if graph else 'flat'} build, {documents} x {_DIMENSIONS}"
        return _row(work_done, "raw faiss from the same shards", seconds, documents, "documents/s", rounds, note)


def _search_row(graph: bool, documents: int, rounds: int) -> Row:
    from gradir.search.faiss_search import FaissSearcher

    with tempfile.TemporaryDirectory() as work:
        folder, queries = Path(work, "index"), _vectors(200, 1)
        _ours(_shards(Path(work), documents), folder, graph)
        raw, searcher = _RawSearch(folder), FaissSearcher(folder, _THREADS)
        ours = [(list(found.docids), found.scores.tolist()) for found in searcher.search(queries, _HITS)]
        equal = _in_order(ours) == _in_order(raw.search(queries, _HITS))
        contenders: dict[str, Callable[[], Any]] = {
            "ours": lambda: searcher.search(queries, _HITS),
            "theirs": lambda: raw.search(queries, _HITS),
        }
        seconds = alternate(contenders, rounds)
        work_done = f"FAISS {'HNSW' if graph else 'flat'} search, {documents} documents, k={_HITS}"
        note = "same ids and scores" if equal else "RESULTS DIFFER"
        return _row(work_done, "raw faiss, ids from a list", seconds, len(queries), "queries/s", rounds, note)


def _in_order(found: list[tuple[list[str], list[float]]]) -> list[list[tuple[float, str]]]:
    """Hits with equal ones by id: FAISS leaves these in the order of the rows."""
    return [sorted((-score, docid) for docid, score in zip(*one, strict=True)) for one in found]


def _row(
    work: str, against: str, seconds: dict[str, list[float]], count: int, unit: str, rounds: int, note: str
) -> Row:
    ours, theirs = (count / float(np.median(seconds[name])) for name in ("ours", "theirs"))
    against = f"{against}, {_THREADS} threads"
    return Row(work, against, ratio_of(seconds, "ours", "theirs"), _TARGET, True, ours, theirs, unit, rounds, note)


def _vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors around a thousand centres, so that a graph has something to find."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((1000, _DIMENSIONS), dtype=np.float32)
    near = centres[rng.integers(0, 1000, count)] + rng.standard_normal((count, _DIMENSIONS), dtype=np.float32)
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def _shards(work: Path, documents: int) -> VectorShards:
    vectors = _vectors(documents, 2)
    for number, rows in enumerate(np.array_split(np.arange(documents), 4)):
        write_part(work / "vectors", number, [f"doc{row}" for row in rows], vectors[rows], {"kind": "dense"})
    return VectorShards(work / "vectors")


def _ours(shards: VectorShards, folder: Path, graph: bool) -> None:
    from gradir.index import faiss_index
    from gradir.index.source import Source

    _emptied(folder)
    factory, source = "HNSW32" if graph else "Flat", Source(shards)
    faiss_index.write(source, folder, lambda _: None, factory, ef_construction=100, ef_search=128, threads=_THREADS)


def _theirs(shards: VectorShards, folder: Path, graph: bool) -> None:
    import faiss

    _emptied(folder)
    faiss.omp_set_num_threads(_THREADS)
    index = faiss.IndexFlatIP(_DIMENSIONS)
    if graph:
        index = faiss.IndexHNSWFlat(_DIMENSIONS, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 100, 128
    with (folder / "docid").open("w") as stream:
        for docids, vectors in shards.dense_parts():
            index.add(vectors)
            stream.writelines(f"{docid}\n" for docid in docids)
    faiss.write_index(index, str(folder / "index"))


class _RawSearch:
    """What a script does: ids in a list, looked up hit by hit."""

    def __init__(self, folder: Path):
        import faiss

        self._index = faiss.read_index(str(folder / "index"))
        self._docids = [line.rstrip() for line in (folder / "docid").open()]
        self._faiss = faiss

    def search(self, queries: NDArray[np.float32], hits: int) -> list[tuple[list[str], list[float]]]:
        self._faiss.omp_set_num_threads(_THREADS)
        scores, rows = self._index.search(queries, hits)
        names = [[self._docids[row] for row in found] for found in rows]
        return list(zip(names, scores.tolist(), strict=True))


def _compared(ours: Path, theirs: Path, graph: bool) -> str:
    """Flat indexes must be the same bytes; graphs built by several threads differ, so what they find is compared."""
    import faiss

    if (ours / "docid").read_bytes() != (theirs / "docid").read_bytes():
        return "IDS DIFFER"
    if not graph:
        same = (ours / "index").read_bytes() == (theirs / "index").read_bytes()
        return "same bytes" if same else "BYTES DIFFER"
    found = [faiss.read_index(str(folder / "index")).search(_vectors(100, 1), 10)[1] for folder in (ours, theirs)]
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*found, strict=True)])
    return f"overlap@10 of their answers {overlap:.3f}"


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
