"""FAISS's file of a flat inner-product index, written as a stream: FAISS itself writes only what it holds in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_INNER_PRODUCT = 0
_UNUSED = 1 << 20  # two numbers that FAISS writes for readers of long ago
# fourcc, dimensions, vectors, the two unused, trained, metric; then how many numbers follow
_HEADER = struct.Struct("<4siqqq?iQ")


def write_flat_index(
    path: Path, count: int, size: int, blocks: Iterator[NDArray[np.float32]], progress: Callable[[int], object]
) -> None:
    """Write what `faiss.write_index` writes for an `IndexFlatIP`, byte for byte. One block of vectors is in memory.

    Args:
        path: A temporary path: the file is whole when this returns.
        count: Vectors in all blocks.
        size: Numbers of a vector.
        blocks: float32 [n, size] each.
        progress: Called with the number of vectors of each block.
    """
    with path.open("wb") as stream:
        stream.write(_HEADER.pack(b"IxFI", size, count, _UNUSED, _UNUSED, True, _INNER_PRODUCT, count * size))
        for block in blocks:
            stream.write(np.ascontiguousarray(block, "<f4").data)
            progress(len(block))
