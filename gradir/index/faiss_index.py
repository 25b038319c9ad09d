"""Dense vector shards to FAISS indexes as Pyserini's FaissSearcher loads them: `index`, and `docid` with an id a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.faiss_files import faiss_cause, faiss_threads, index_parts, open_faiss, set_search_effort
from gradir.data.flat_index import write_flat_index
from gradir.data.ids import Duplicates
from gradir.errors import GradirError, InputError
from gradir.index.docids import check_docids
from gradir.index.faiss_factory import new_index, to_gpu, train
from gradir.index.source import Source

_ADDED_AT_ONCE = 1 << 14  # vectors: often enough for a bar to move while a graph grows


def write(
    source: Source,
    folder: Path,
    progress: Callable[[int], object],
    factory: str = "Flat",
    ef_construction: int = 200,
    ef_search: int = 256,
    nprobe: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Write the index; returns its counts. Similarity is the inner product.

    A flat index is streamed to the disk; any other stands in memory, compressed as it is, while it is built. What must be
    trained is trained on a sample, drawn in a pass of its own. Graphs built by several threads differ a little each time.

    Args:
        source: Dense vectors.
        folder: An empty folder.
        progress: Called with the number of documents done.
        factory: FAISS factory string: `Flat`, `HNSW32`, `IVF256,PQ16` and so on.
        ef_construction: Graphs: candidates looked at for a vector that is added.
        ef_search: Graphs: candidates looked at for a query; stored in the index.
        nprobe: Inverted files: cells looked at for a query; stored in the index. One in sixteen, at least sixteen, if not given.
        threads: Threads that build; FAISS's own number if not given.

    Raises:
        InputError: An id is used twice or could not stand in a run; vectors of different sizes, or with NaN; no documents.
        GradirError: FAISS does not know the factory, has too few vectors to train it, or could not write.
    """
    with _write_errors(folder), (folder / "docid").open("w", encoding="utf-8", newline="\n") as stream:
        blocks = _blocks(source, stream)
        first = next(blocks, None)
        if first is None or not len(source):
            raise InputError(source.folder, "holds no documents", "Was the corpus empty?")
        counts: dict[str, Any] = {"documents": len(source), "dimensions": first.shape[1]}
        if factory == "Flat":
            write_flat_index(folder / "index", len(source), first.shape[1], chain([first], blocks), progress)
            return counts
        with faiss_threads(threads):
            index = new_index(factory, first.shape[1], ef_construction, ef_search, nprobe)
            cells = next((part.nprobe for part in index_parts(index) if hasattr(part, "nprobe")), None)
            index, on_gpu = to_gpu(index)
            trained_on = train(index, factory, source)
            _add(index, factory, chain([first], blocks), progress)
        if on_gpu:
            index = open_faiss().index_gpu_to_cpu(index)
            set_search_effort(index, None, cells)
        _save(index, folder)
    counts |= {"trained_on": trained_on} if trained_on else {}
    return counts | ({"nprobe": cells} if cells else {})


def _add(index: Any, factory: str, blocks: Iterator[NDArray[np.float32]], progress: Callable[[int], object]) -> None:
    for block in blocks:
        for start in range(0, len(block), _ADDED_AT_ONCE):
            piece = block[start : start + _ADDED_AT_ONCE]
            try:
                index.add(piece)
            except RuntimeError as error:
                problem = f"FAISS cannot add vectors to it ({faiss_cause(error)})"
                raise GradirError(f"--factory {factory}: {problem}.") from None
            progress(len(piece))


def _save(index: Any, folder: Path) -> None:
    try:
        open_faiss().write_index(index, str(folder / "index"))
    except RuntimeError as error:  # FAISS's way to tell of a full disk
        raise GradirError(f"{folder.parent}: FAISS could not write the index ({faiss_cause(error)}).") from None


def _blocks(source: Source, docid_file: IO[str]) -> Iterator[NDArray[np.float32]]:
    """The vectors of each part, all of one size, after its ids were checked and written."""
    seen, size = Duplicates("document id"), 0
    for file, docids, vectors in source.dense():
        check_docids(file, docids, seen)
        size = size or vectors.shape[1]
        if vectors.shape[1] != size:
            problem = f"vectors of {vectors.shape[1]} numbers, those before it have {size}"
            raise InputError(file, problem, "Encode again")
        docid_file.writelines(f"{docid}\n" for docid in docids)
        yield vectors
    seen.finish()


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    """A disk that is full, as our error."""
    try:
        yield
    except OSError as error:
        raise GradirError(f"{folder.parent}: the index could not be written ({error.strerror}).") from None
