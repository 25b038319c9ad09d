"""The folder of a FAISS index as Pyserini has it: `index`, FAISS's own file, and `docid`, an id a line in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradir.data.docids import Docids
from gradir.errors import InputError, MissingDependency


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


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[None]:
    """FAISS uses so many threads in the block, and then as many as before; None leaves it alone."""
    faiss = open_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def read_faiss_folder(folder: str | Path) -> tuple[Any, Docids]:
    """(index, ids). The vectors are mapped into memory where FAISS can: opening takes no time, and only what is used is read.

    Raises:
        InputError: A file is missing or damaged, or they do not belong together.
        MissingDependency: FAISS is not installed.
    """
    faiss = open_faiss()
    folder = Path(folder)
    for name in ("index", "docid"):
        if not (folder / name).is_file():
            raise InputError(folder, f"is no whole FAISS index (its file `{name}` is missing)", "Index again")
    try:
        index = faiss.read_index(str(folder / "index"), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
    except RuntimeError as error:
        raise InputError(folder, f"is no whole FAISS index ({faiss_cause(error)})", "Index again") from None
    docids = Docids.read(folder / "docid")
    if not index.ntotal or index.ntotal != len(docids):
        problem = f"has {index.ntotal} vectors and another number of lines in its file `docid`, {len(docids)}"
        problem = problem if index.ntotal else "has no vectors"
        raise InputError(folder, problem, "Index again")
    return index, docids


def index_parts(index: Any) -> Iterator[Any]:
    """An index and those inside it, from outside to inside, each as its own class."""
    faiss = open_faiss()
    index = faiss.downcast_index(index)
    yield index
    for name in (
        "index",
        "base_index",
        "quantizer",
        "storage",
    ):  # of IndexPreTransform, IndexRefine, IndexIVF, IndexHNSW
        inner = getattr(index, name, None)
        if inner is not None:
            yield from index_parts(inner)


def set_search_effort(index: Any, ef_search: int | None, nprobe: int | None) -> None:
    """Set how much of an approximate index is looked at for a query; None leaves what the index has.

    Args:
        index: A FAISS index.
        ef_search: Candidates in a graph.
        nprobe: Cells of an inverted file; at most as many as there are.
    """
    for part in index_parts(index):
        if ef_search is not None and hasattr(part, "hnsw"):
            part.hnsw.efSearch = ef_search
        if nprobe is not None and hasattr(part, "nprobe"):
            part.nprobe = min(nprobe, part.nlist)


@contextmanager
def wide_enough(index: Any, hits: int) -> Iterator[None]:
    """In the block a graph looks at no fewer candidates than `hits`: FAISS finds fewer documents than asked for otherwise."""
    graphs = [part.hnsw for part in index_parts(index) if hasattr(part, "hnsw")]
    before = [graph.efSearch for graph in graphs]
    for graph, usual in zip(graphs, before, strict=True):
        graph.efSearch = max(usual, hits)
    try:
        yield
    finally:
        for graph, usual in zip(graphs, before, strict=True):
            graph.efSearch = usual


def faiss_cause(error: Exception) -> str:
    """What FAISS says is wrong, without its function and file names."""
    text = " ".join(str(error).split())
    if "Error: " not in text:  # ` in function at file.cpp:12: what is wrong`
        return text.rpartition(".cpp:")[2].partition(": ")[2] or text
    condition, _, said = text.rpartition("Error: ")[2].partition("' failed")
    return said.removeprefix(": ") or f"{condition.lstrip(chr(39))} is not so"
