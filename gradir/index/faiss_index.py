"""Dense vector shards to FAISS indexes as Pyserini's FaissSearcher loads them: `index`, and `docid` with an id a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradir.data.vectors import VectorShards
from gradir.errors import InputError, MissingDependency


def write(
    shards: VectorShards,
    folder: Path,
    progress: Callable[[int], object],
    hnsw: bool,
    m: int,
    ef_construction: int,
    ef_search: int,
) -> dict[str, Any]:
    """Write the index; returns its counts. Similarity is the inner product. The index stands in memory while it is built.

    Args:
        shards: Dense vector shards.
        folder: An empty folder.
        progress: Called with the number of documents done.
        hnsw: A graph (approximate, fast) instead of all vectors (exact).
        m: HNSW: neighbours of a vector.
        ef_construction: HNSW: candidates looked at for a vector that is added.
        ef_search: HNSW: candidates looked at for a query; stored in the index.
    """
    faiss = open_faiss()
    index: Any = None
    with (folder / "docid").open("w", encoding="utf-8", newline="\n") as stream:
        for docids, vectors in shards.dense_parts():
            if index is None:
                index = _new(faiss, vectors.shape[1], hnsw, m, ef_construction, ef_search)
            if vectors.shape[1] != index.d:
                raise InputError(
                    shards.folder, f"vectors of {index.d} and of {vectors.shape[1]} numbers", "Encode again"
                )
            index.add(vectors)
            stream.writelines(f"{docid}\n" for docid in docids)
            progress(len(docids))
    faiss.write_index(index, str(folder / "index"))
    return {"documents": int(index.ntotal), "dimensions": int(index.d)}


def open_faiss() -> Any:
    """The faiss module.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingDependency("faiss", "A FAISS index", "pip install 'gradir[cpu]'") from None
    return faiss


def _new(faiss: Any, dimensions: int, hnsw: bool, m: int, ef_construction: int, ef_search: int) -> Any:
    if not hnsw:
        return faiss.IndexFlatIP(dimensions)
    index = faiss.IndexHNSWFlat(dimensions, m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = ef_construction, ef_search
    return index
