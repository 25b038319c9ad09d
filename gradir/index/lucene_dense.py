"""Dense vector shards to Lucene's own vector indexes, flat or HNSW, written by Anserini from Parquet files.

Lucene's score is (1 + inner product) / 2, and nothing below 0: right for vectors of unit length alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.ids import Duplicates
from gradir.errors import GradirError, InputError
from gradir.index.docids import check_docids
from gradir.index.source import Source

_FILE_DOCUMENTS = 1 << 14  # Anserini holds a whole file in memory for each thread
_UNIT = 0.01  # how far a length may be from 1: half precision loses a thousandth
_MOST_DIMENSIONS = 4096  # of Anserini's codec


def write(
    source: Source,
    folder: Path,
    progress: Callable[[int], object],
    hnsw: bool,
    m: int = 16,
    ef_construction: int = 100,
    int8: bool = False,
    threads: int | None = None,
) -> dict[str, Any]:
    """Write the index; returns its counts. The vectors stand on the disk a second time while it is written.

    Args:
        source: Dense vectors of unit length.
        folder: An empty folder.
        progress: Called with the number of documents handed to Anserini.
        hnsw: A graph (approximate, fast) instead of all vectors (exact).
        m: HNSW: neighbours of a vector.
        ef_construction: HNSW: candidates looked at for a vector that is added.
        int8: Quantise the numbers to 7 bits, as Lucene 9.9 does; the index holds the whole vectors too.
        threads: Threads that index; one if not given.

    Raises:
        InputError: A vector is not of unit length, or has another size than those before; an id is used twice or could not
            stand in a run; no documents.
        GradirError: Anserini could not write, or the index does not hold every document.
    """
    parquet = folder / "parquet"
    parquet.mkdir()
    dimensions = _write_parquet(source, parquet, progress)
    jvm.ensure()
    _index(parquet, folder, hnsw, m, ef_construction, int8, threads or 1)
    shutil.rmtree(parquet)
    found = _count(folder)
    if found != len(source):
        raise GradirError(f"{folder.parent}: the index holds {found} of {len(source)} documents. Index again.")
    return {"documents": found, "dimensions": dimensions}


def _write_parquet(source: Source, parquet: Path, progress: Callable[[int], object]) -> int:
    """Files of a bounded number of documents, with nothing else beside them; returns the size of the vectors."""
    seen, size, number = Duplicates("document id"), 0, 0
    for file, docids, vectors in source.dense():
        check_docids(file, docids, seen)
        size = size or vectors.shape[1]
        _check_vectors(file, docids, vectors, size)
        for start in range(0, len(docids), _FILE_DOCUMENTS):
            rows = slice(start, start + _FILE_DOCUMENTS)
            _write_file(parquet / f"{number:06d}.parquet", docids[rows], vectors[rows])
            number += 1
            progress(len(docids[rows]))
    seen.finish()
    if not number:
        raise InputError(source.folder, "holds no documents", "Was the corpus empty?")
    return size


def _check_vectors(file: Path, docids: Sequence[str], vectors: NDArray[np.float32], size: int) -> None:
    if vectors.shape[1] != size:
        problem = f"vectors of {vectors.shape[1]} numbers, those before it have {size}"
        raise InputError(file, problem, "Encode again")
    if size > _MOST_DIMENSIONS:
        problem = f"vectors of {size} numbers, Lucene takes {_MOST_DIMENSIONS}"
        raise InputError(file, problem, "Use FAISS: --type flat or hnsw")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = np.abs(lengths - 1) > _UNIT
    if wrong.any():
        row = int(np.argmax(wrong))
        problem = (
            f"the vector of document {docids[row]} has length {lengths[row]:.3g}, and Lucene's score is for length 1"
        )
        raise InputError(file, problem, "Use FAISS: --type flat or hnsw; or an encoder that normalises", row + 1)


def _write_file(path: Path, docids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).reshape(-1)))
    table = pa.table({"docid": pa.array(docids, pa.string()), "vector": lists})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def _index(parquet: Path, folder: Path, hnsw: bool, m: int, ef_construction: int, int8: bool, threads: int) -> None:
    """Have Anserini index. Its arguments are set as fields: its command line prints what is wrong and succeeds."""
    from jnius import autoclass

    name = f"io.anserini.index.Index{'Hnsw' if hnsw else 'Flat'}DenseVectors"
    arguments = autoclass(f"{name}$Args")()
    heap_mib = int(autoclass("java.lang.Runtime").getRuntime().maxMemory() >> 20)
    values: dict[str, Any] = {
        "collectionClass": "ParquetDenseVectorCollection",
        "input": str(parquet),
        "index": str(folder),
        "threads": threads,
        "memoryBuffer": max(16, heap_mib // 4),
        "optimize": True,
        "quiet": True,
        "quantizeInt8": int8,
    }
    if hnsw:
        values |= {"M": m, "efC": ef_construction, "maxThreadMemoryBeforeFlush": min(2047, max(16, heap_mib // 4))}
    for field, value in values.items():
        setattr(arguments, field, value)
    with jvm.errors(folder.parent, "write the index"):
        autoclass(name)(arguments).run()


def _count(folder: Path) -> int:
    """The documents that a searcher would see."""
    from jnius import autoclass

    path = autoclass("java.nio.file.Paths").get(str(folder))
    reader = autoclass("org.apache.lucene.index.DirectoryReader").open(
        autoclass("org.apache.lucene.store.FSDirectory").open(path)
    )
    try:
        return int(reader.numDocs())
    finally:
        reader.close()
