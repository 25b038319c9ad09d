"""An impact index written through Lucene's public classes alone: each document as text, `term␟impact term␟impact …`.

For where gradir's own Java classes cannot be used (another Lucene, a JVM that something else has started). Some times slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradir.data.vectors import SparseVectors
from gradir.index.lucene_writer import LuceneWriter
from gradir.index.vocabulary import DELIMITER, LONGEST_TERM

_LONGEST_TOKEN = LONGEST_TERM + len(DELIMITER) + len(str(2**31 - 1))


class TokenWriter:
    """As `segment_writer.SegmentWriter`.

    Args:
        folder: An empty folder.
        terms: The vocabulary by id.
        docvectors: Store each document's vector.
        raw: Texts to be stored come with the documents.
        optimize: Merge the index to one segment in the end.
    """

    def __init__(self, folder: Path, terms: Sequence[str], docvectors: bool, raw: bool, optimize: bool):
        from jnius import autoclass

        similarity = autoclass("io.anserini.search.similarity.ImpactSimilarity")()
        self._prefixes = pa.array([term + DELIMITER for term in terms], pa.string())
        self._writer = LuceneWriter(folder, _analyzer(), similarity, True, docvectors, raw, optimize)

    @property
    def documents(self) -> int:
        """How many were added."""
        return self._writer.documents

    def add(self, docids: Sequence[str], vectors: SparseVectors, raws: Iterable[str] | None = None) -> None:
        """Add documents: N ids, N rows, N texts where texts are stored."""
        self._writer.add(docids, contents(self._prefixes, vectors), raws)

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


def contents(terms: pa.Array, vectors: SparseVectors) -> list[str]:
    """What the analyzer reads, of each row.

    All strings are built as one buffer; each document is a slice of it.

    Args:
        terms: Each term with the delimiter behind it.
        vectors: N rows.
    """
    impacts = pc.cast(pa.array(vectors.impacts), pa.string())
    tokens = pc.binary_join_element_wise(pc.take(terms, pa.array(vectors.terms)), impacts, pa.scalar(" "), "")
    if not len(tokens):
        return [""] * len(vectors)
    ends = np.frombuffer(tokens.buffers()[1], dtype=np.int32)[: len(tokens) + 1]
    offsets = ends[vectors.indptr].astype(np.int32)
    joined = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.tobytes()), tokens.buffers()[2])
    texts: list[str] = joined.to_pylist()
    return texts


def _analyzer() -> Any:
    """Splits at white space and takes the number behind the delimiter as the term's frequency."""
    from jnius import autoclass

    hash_map = autoclass("java.util.HashMap")
    splitting, counting = hash_map(), hash_map()
    splitting.put("maxTokenLen", str(_LONGEST_TOKEN))  # it cuts longer tokens in two; the default counts the impact in
    counting.put("delimiter", DELIMITER)
    builder = autoclass("org.apache.lucene.analysis.custom.CustomAnalyzer").builder()
    return builder.withTokenizer("whitespace", splitting).addTokenFilter("delimitedTermFrequency", counting).build()
