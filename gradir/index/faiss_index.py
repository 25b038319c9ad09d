"""Dense vector shards to FAISS indexes as Pyserini's FaissSearcher loads them: `index`, and `docid` with an id a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradir.data.ids import Duplicates
from gradir.data.vectors import VectorShards
from gradir.errors import GradirError, InputError, MissingDependency
from gradir.index.docids import check_docids


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

    Raises:
        InputError: An id is used twice or could not stand in a run; vectors of different sizes; no documents.
        GradirError: FAISS could not write.
    """
    faiss = open_faiss()
    index: Any = None
    seen = Duplicates("document id")
    with (folder / "docid").open("w", encoding="utf-8", newline="\n") as stream:
        for part, (docids, vectors) in zip(shards.files, shards.dense_parts(), strict=True):
            check_docids(part, docids, seen)
            if index is None:
                index = _new(faiss, vectors.shape[1], hnsw, m, ef_construction, ef_search)
            if vectors.shape[1] != index.d:
                problem = f"vectors of {vectors.shape[1]} numbers, those before it have {index.d}"
                raise InputError(part, problem, "Encode again")
            index.add(vectors)
            stream.writelines(f"{docid}\n" for docid in docids)
            progress(len(docids))
    seen.finish()
    if not index.ntotal:
        raise InputError(shards.folder, "holds no documents", "Was the corpus empty?")
    try:
        faiss.write_index(index, str(folder / "index"))
    except RuntimeError as error:  # FAISS's way to tell of a full disk
        raise GradirError(f"{folder}: FAISS could not write the index ({str(error).splitlines()[0]}).") from None
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
