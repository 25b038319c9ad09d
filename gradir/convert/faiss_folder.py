"""A FAISS index as Pyserini's FaissSearcher loads it, `index` and `docid`: its vectors, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradir.convert.foreign import Block, Foreign
from gradir.data.text import Lines
from gradir.errors import InputError, MissingDependency

_BLOCK = 4096  # vectors in memory at a time


def open_folder(path: Path) -> Foreign:
    """Open the index, mapped into memory where FAISS can do that.

    Raises:
        InputError: It is damaged, or has another number of vectors than of ids.
        MissingDependency: FAISS is not installed.
    """
    faiss = _faiss(path)
    try:
        index = faiss.read_index(str(path / "index"), getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP))
    except RuntimeError as error:
        raise InputError(path / "index", f"is no whole FAISS index ({_cause(error)})", "Copy it again") from None
    ids = sum(1 for _ in Lines(path / "docid"))
    if index.ntotal != ids:
        raise InputError(path, f"has {index.ntotal} vectors, but {ids} lines in its file `docid`", "Copy it again")
    if not index.ntotal:
        raise InputError(path, "holds no vectors", "Was the corpus empty?")
    inputs = [path / "index", path / "docid"]
    return Foreign(
        f"FAISS index ({type(index).__name__})",
        "dense",
        index.ntotal,
        inputs,
        lambda: (),
        lambda _: _blocks(path, index),
        _note(faiss, index),
    )


def _faiss(path: Path) -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingDependency("faiss", f"Reading {path}", "pip install 'gradir[cpu]'") from None
    return faiss


def _note(faiss: Any, index: Any) -> str:
    """What a conversion to exact inner product would lose or change."""
    storage = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index
    notes = []
    if storage.sa_code_size() != 4 * index.d:
        notes.append("it stores compressed vectors, and what it stores is what was converted")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        notes.append("it ranks by another metric than the inner product that `gradir index` ranks by")
    return "; ".join(notes)


def _blocks(path: Path, index: Any) -> Iterator[Block]:
    ids = iter(Lines(path / "docid"))
    for start in range(0, index.ntotal, _BLOCK):
        count = min(_BLOCK, index.ntotal - start)
        try:
            vectors = index.reconstruct_n(start, count)  # float32 [count, D]
        except RuntimeError as error:
            problem = f"{type(index).__name__} does not give its vectors back ({_cause(error)})"
            raise InputError(path / "index", problem, "Convert the embeddings that it was made of") from None
        yield [next(ids).rstrip() for _ in range(count)], vectors


def _cause(error: Exception) -> str:
    return str(error).splitlines()[0]
