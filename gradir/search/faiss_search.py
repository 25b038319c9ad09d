"""FAISS indexes, written by gradir or by Pyserini, searched by FAISS alone: neither Pyserini nor a JVM is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.faiss_files import (
    faiss_threads,
    index_parts,
    open_faiss,
    read_faiss_folder,
    set_search_effort,
    wide_enough,
)
from gradir.data.records import Ranking
from gradir.errors import InputError

# Others give back something far from the vectors; of some, FAISS reads past the end of its memory when asked for them.
_GIVES_VECTORS: tuple[str, ...] = ("IndexFlat", "IndexFlatIP", "IndexHNSWFlat", "IndexIVFFlat")
_GIVES_VECTORS += ("IndexScalarQuantizer", "IndexHNSWSQ", "IndexIVFScalarQuantizer")


class FaissSearcher:
    """A FAISS index of any kind for inner products.

    Equal scores are in the order of their ids. An index that compares a query with every document (flat, scalar or product
    quantised) also decides by ids which of several documents with the last score are kept, so that its answer does not
    depend on the order of the documents; in graphs and inverted files FAISS decides. Equal vectors can differ in the last
    bit of their scores where FAISS multiplies them in blocks.

    Args:
        index: The folder.
        threads: Threads that search.
        ef_search: Candidates looked at in a graph, never fewer than the hits asked for; what the index has if not given.
        nprobe: Cells of an inverted file looked at; what the index has if not given.

    Attributes:
        documents: How many it holds.
        dimensions: Of a vector.

    Raises:
        InputError: A file is missing or damaged, or they do not belong together; the index is one of distances.
        MissingDependency: FAISS is not installed.
    """

    def __init__(self, index: Path, threads: int, ef_search: int | None = None, nprobe: int | None = None):
        self.index, self.threads = index, threads
        self._index, self._docids = read_faiss_folder(index)
        faiss = open_faiss()
        if self._index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise InputError(
                index, "compares by distance, not by inner product", "Index again: gradir index --type flat"
            )
        set_search_effort(self._index, ef_search, nprobe)
        self._exhaustive = _exhaustive(self._index)
        self.documents, self.dimensions = int(self._index.ntotal), int(self._index.d)

    def search(self, queries: NDArray[np.float32], hits: int) -> list[Ranking]:
        """The nearest documents of each query [N, D]; fewer than `hits` where an approximate index finds no more.

        Raises:
            InputError: The queries' vectors are of another size than the documents'.
        """
        if queries.shape[1] != self.dimensions:
            problem = f"holds vectors of {self.dimensions} numbers, those of the queries have {queries.shape[1]}"
            raise InputError(self.index, problem, "Give the --encoder that it was made with")
        k = min(hits, self.documents)
        with faiss_threads(self.threads), wide_enough(self._index, k):
            if not self._exhaustive or k == self.documents:
                scores, rows = self._index.search(queries, k)
                return self._rankings(scores, rows, k)
            scores, rows = self._index.search(queries, k + 1)
            found = self._rankings(scores, rows, k)
            for query in np.flatnonzero(scores[:, k] == scores[:, k - 1]):
                found[query] = self._widened(queries[query : query + 1], k)
            return found

    def _widened(self, query: NDArray[np.float32], k: int) -> Ranking:
        """One query [1, D], for which the last score kept is also that of a document which is not."""
        asked = k + 1
        while True:
            asked = min(4 * asked, self.documents)
            scores, rows = self._index.search(query, asked)
            if asked == self.documents or scores[0, -1] < scores[0, k - 1]:
                return self._rankings(scores, rows, k)[0]

    def _rankings(self, scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> list[Ranking]:
        """The first k of what FAISS found [N, at least k], equal scores in the order of their ids."""
        real = rows >= 0  # FAISS fills up with -1
        names = self._docids.take(rows[real])  # all at once: a call takes as long as a hundred ids
        ends = np.cumsum(real.sum(axis=1)).tolist()
        tied = (scores[:, 1:] == scores[:, :-1]).any(axis=1).tolist()
        found = []
        for start, end, own, tie in zip([0, *ends], ends, scores, tied, strict=False):
            docids, values = names[start:end], own[: end - start]
            if tie:
                order = sorted(range(len(docids)), key=lambda place: (-values[place], docids[place]))
                docids, values = [docids[place] for place in order], values[order]
            found.append(Ranking(docids[:k], values[:k]))
        return found

    def vectors(self, docids: Sequence[str]) -> NDArray[np.float32]:
        """[k, D] the vectors of some documents as the index has them: of a scalar quantised one, what is left of them.

        Raises:
            InputError: A document is not in the index, or the index has no vectors to give back.
        """
        index = open_faiss().downcast_index(self._index)
        if type(index).__name__ not in _GIVES_VECTORS:
            problem = f"keeps its vectors compressed or rotated ({type(index).__name__})"
            raise InputError(self.index, problem, "Give the vector shards that it was made from (--prf-vectors)")
        rows = self._docids.rows_of(docids)
        if (rows < 0).any():
            problem = f"document {docids[int(np.argmin(rows))]} is not in it"
            raise InputError(self.index, problem, "Is it the right index?")
        if hasattr(index, "make_direct_map"):
            index.make_direct_map()
        vectors: NDArray[np.float32] = index.reconstruct_batch(rows)
        return vectors


def _exhaustive(index: Any) -> bool:
    """Whether every document is compared with a query."""
    faiss = open_faiss()
    parts = list(index_parts(index))
    while isinstance(parts[0], faiss.IndexPreTransform):
        parts = parts[1:]
    return isinstance(parts[0], faiss.IndexFlatCodes)
