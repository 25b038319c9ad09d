"""Impact indexes: the score of a document is the sum over terms of query impact times document impact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors


class ImpactSearcher:
    """A Lucene impact index, written by gradir or by Pyserini, searched exactly: no term is left out for being frequent.

    All postings of a query's terms are added up by gradir's Java classes, a batch of queries in one call; where these cannot be
    used, Pyserini's searcher does the work. Docids stand in memory.

    Args:
        index: Its folder.
        vocab: The terms of the queries by id.
        threads: Threads that search.

    Attributes:
        documents: How many it holds.

    Raises:
        GradirError: It is no whole Lucene index.
    """

    def __init__(self, index: Path, vocab: Sequence[str], threads: int):
        self.index, self._threads, self._vocab = index, threads, np.asarray(vocab, dtype=object)
        java = jvm.helper("ImpactSearch")
        if java is None:
            self._pyserini, self._search = _Pyserini(index, threads), None
            self.documents: int = self._pyserini.documents
            return
        with jvm.errors(index, "open it"):
            self._search = java(str(index))
            self.documents = self._search.documents()
            offsets, utf8 = self._search.idOffsets().tostring(), self._search.ids().tostring()
        self._docids = pa.StringArray.from_buffers(self.documents, pa.py_buffer(offsets), pa.py_buffer(utf8))

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """The best documents of each query with a score above 0, by score descending, then docid ascending."""
        if not len(queries):
            return []
        if self._search is None:
            return self._pyserini.search(queries, self._vocab, hits)
        numbers, places = np.unique(queries.terms, return_inverse=True)
        terms = pa.array(self._vocab[numbers], pa.string())
        _, offsets, utf8 = terms.buffers()
        arrays = (_int32(array) for array in (queries.indptr, places, queries.impacts))
        with jvm.errors(self.index, "search it"):
            found = self._search.search(
                utf8.to_pybytes() if utf8 else b"",
                offsets.to_pybytes()[: 4 * (len(terms) + 1)],
                *arrays,
                hits,
                self._threads,
            )
        return self._rankings(np.frombuffer(found.tostring(), dtype=np.int32), len(queries))

    def _rankings(self, found: NDArray[np.int32], queries: int) -> list[Ranking]:
        """What Java returns, a query at a time: counts, documents, scores."""
        ends = np.concatenate([[0], np.cumsum(found[:queries], dtype=np.int64)])
        documents, scores = np.split(found[queries:], 2)
        docids = self._docids.take(pa.array(documents)).to_pylist()
        scores = scores.view(np.float32)
        return [
            Ranking(docids[start:stop], scores[start:stop])
            for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        ]


def _int32(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=np.int32).tobytes()


class _Pyserini:
    """The same through Pyserini's searcher."""

    def __init__(self, index: Path, threads: int):
        from pyserini.search.lucene import LuceneImpactSearcher

        from gradir.engine.query_encoders import KnownQueries

        self.index, self._threads = index, threads
        with jvm.errors(index, "open it"):
            self._searcher = LuceneImpactSearcher(str(index), KnownQueries([], []), min_idf=-1)
            self.documents = int(self._searcher.num_docs)

    def search(self, queries: SparseVectors, vocab: NDArray[np.object_], hits: int) -> list[Ranking]:
        from gradir.engine.query_encoders import KnownQueries, to_dicts

        names = [str(number) for number in range(len(queries))]
        self._searcher.query_encoder = KnownQueries(names, to_dicts(queries, vocab))
        with jvm.errors(self.index, "search it"):
            found = self._searcher.batch_search(names, names, k=hits, threads=self._threads)
            rows = [[(hit.docid, hit.score) for hit in found[name]] for name in names]
        return [Ranking([docid for docid, _ in row], np.array([s for _, s in row], np.float32)) for row in rows]
