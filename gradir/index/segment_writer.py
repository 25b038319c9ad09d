"""An impact index written by gradir's Java classes: vectors cross to Java as arrays, and postings go straight to Lucene's codec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from gradir import jvm
from gradir.data.vectors import SparseVectors
from gradir.errors import GradirError


class SegmentWriter(AbstractContextManager["SegmentWriter"]):
    """Writes a new index of one segment; the block's end commits it, an error in the block leaves no commit.

    The postings of a chunk are inverted in memory and wait in a temporary file in the folder until all are there: a chunk and
    the docids are what memory holds.

    Args:
        java: The class `ImpactWriter`, from `jvm.helper`.
        folder: An empty folder.
        terms: The vocabulary by id.
        docvectors: Store each document's vector, which Pyserini's Rocchio needs.
        raw: Texts to be stored come with the documents.

    Attributes:
        documents: How many were added.

    Raises:
        GradirError: Lucene cannot write, or an id is used twice.
    """

    def __init__(self, java: Any, folder: Path, terms: Sequence[str], docvectors: bool, raw: bool):
        self.folder, self.documents, self._raw = folder, 0, raw
        utf8, offsets = _utf8(terms)
        with jvm.errors(folder, "write the index"):
            self._writer = java(str(folder.absolute()), utf8, offsets, docvectors, raw)

    def add(self, docids: Sequence[str], vectors: SparseVectors, raws: Iterable[str] | None = None) -> None:
        """Add documents; they are worked on in the background until the next call.

        Args:
            docids: N ids.
            vectors: N rows.
            raws: N texts, where texts are stored.
        """
        ids, id_offsets = _utf8(docids)
        raw, raw_offsets = _utf8(list(raws or [])) if self._raw else (None, None)
        indptr, terms, impacts = (
            np.ascontiguousarray(array, dtype=np.int32).tobytes()
            for array in (vectors.indptr, vectors.terms, vectors.impacts)
        )
        with jvm.errors(self.folder, "write the index"):
            self._writer.add(ids, id_offsets, indptr, terms, impacts, raw, raw_offsets)
        self.documents += len(docids)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with jvm.errors(self.folder, "write the index"):
            try:
                if error is None:
                    self._writer.finish()
            finally:
                self._writer.close()


def _utf8(texts: Sequence[str]) -> tuple[bytes, bytes]:
    """All texts one after another, and int32 [N + 1] where each begins."""
    array = pa.array(texts, pa.string())
    if isinstance(array, pa.ChunkedArray):  # beyond 2 GiB
        raise GradirError("more than 2 GiB of text at once. Give a smaller --memory-buffer.")
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[: len(texts) + 1]
    return (data.to_pybytes()[: ends[-1]] if data else b""), ends.tobytes()
