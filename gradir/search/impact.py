"""Impact indexes: the score of a document is the sum over terms of query impact times document impact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.forward import Forward
from gradir.data.pruning import keep, top_k
from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors
from gradir.errors import GradirError, InputError
from gradir.search.document_vectors import renumbered


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
        self._java: Any = None
        if java is None:
            self._pyserini = _Pyserini(index, threads)
            self.documents: int = self._pyserini.documents
            return
        with jvm.errors(index, "open it"):
            self._java = java(str(Path(index).absolute()))  # Java keeps the working directory that it started with
            self.documents = self._java.documents()
            offsets, utf8 = self._java.idOffsets().tostring(), self._java.ids().tostring()
        self._docids = pa.StringArray.from_buffers(self.documents, pa.py_buffer(offsets), pa.py_buffer(utf8))

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """The best documents of each query with a score above 0, by score descending, then docid ascending."""
        if not len(queries):
            return []
        if self._java is None:
            return self._pyserini.search(queries, self._vocab, hits)
        with jvm.errors(self.index, "search it"):
            found = self._java.search(*self._named(queries), hits, self._threads)
        return self._rankings(found, len(queries))

    def vectors(self, docids: Sequence[str]) -> SparseVectors:
        """The whole vectors of some documents, in their order, from the forward index beside the index.

        Raises:
            InputError: There is none.
        """
        forward = Forward(self.index)
        numbers = {term: number for number, term in enumerate(self._vocab)}
        known = np.array([numbers.get(term, -1) for term in forward.vocab], dtype=np.int64)
        rows = pc.index_in(pa.array(docids, pa.string()), value_set=self._docids)
        return renumbered(forward.take(rows.to_numpy(zero_copy_only=False)), known)

    def close(self) -> None:
        """Give the files of the index back."""
        if self._java is not None:
            self._java.close()

    def _named(self, queries: SparseVectors) -> tuple[bytes, ...]:
        """Queries as Java takes them: the distinct terms of the batch, where each begins, and rows that refer to these."""
        numbers, places = np.unique(queries.terms, return_inverse=True)
        _, offsets, utf8 = pa.array(self._vocab[numbers], pa.string()).buffers()
        begins = offsets.to_pybytes()[: 4 * (len(numbers) + 1)]
        return utf8.to_pybytes() if utf8 else b"", begins, *_rows(queries.indptr, places, queries.impacts)

    def _rankings(self, answer: Any, queries: int) -> list[Ranking]:
        """What Java returns, a query at a time: counts, documents, scores."""
        found = np.frombuffer(answer.tostring(), dtype=np.int32)
        ends = np.concatenate([[0], np.cumsum(found[:queries], dtype=np.int64)])
        documents, scores = np.split(found[queries:], 2)
        docids = self._docids.take(pa.array(documents)).to_pylist()
        singles = scores.view(np.float32)
        return [
            Ranking(docids[start:stop], singles[start:stop])
            for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        ]


class TwoStepSearcher(ImpactSearcher):
    """Two-step search (Lassance et al. 2024, arXiv 2404.13357): candidates by short vectors, exact scores for these.

    The first step searches the index, whose documents may have been shortened, with the heaviest terms of a query; the second gives
    its candidates the scores of whole query and whole document, from the forward index beside it.

    Args:
        index: Made with `gradir index --forward`.
        vocab: The terms of the queries by id.
        threads: Threads that search.
        query_terms: Terms of a query in the first step; 0 takes all.
        candidates: Documents that are rescored, or as many as hits are asked for if that is more; 0 rescores every document of
            the index, which is exact and slow.

    Raises:
        InputError: There is no forward index, or one of other documents.
        GradirError: gradir's Java classes cannot be used here.
    """

    def __init__(self, index: Path, vocab: Sequence[str], threads: int, query_terms: int = 0, candidates: int = 1000):
        super().__init__(index, vocab, threads)
        self.query_terms, self.candidates = query_terms, candidates
        self.forward = Forward(index)
        if self._java is None:
            raise GradirError(
                "two-step search needs gradir's Java classes and Lucene 9.9.1. Search without --two-step."
            )
        if len(self.forward) != self.documents:
            problem = f"its forward index holds {len(self.forward)} documents, the index {self.documents}"
            raise InputError(index, problem, "Index again")
        numbers = {term: number for number, term in enumerate(self.forward.vocab)}
        self._numbers = np.array([numbers.get(term, -1) for term in vocab], dtype=np.int32)  # in the forward index
        with jvm.errors(index, "open its forward index"):
            self._java.openForward(
                str(Path(index).absolute()), self.forward.terms.itemsize, self.forward.impacts.itemsize
            )

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """The best of the candidates of each query, by exact score descending, then docid ascending."""
        if not len(queries):
            return []
        short = top_k(queries, self.query_terms) if self.query_terms else queries
        known = keep(queries, self._numbers[queries.terms] >= 0)
        whole = _rows(known.indptr, self._numbers[known.terms], known.impacts)
        candidates = self.candidates and max(self.candidates, hits)
        with jvm.errors(self.index, "search it"):
            found = self._java.searchTwoStep(
                *self._named(short), *whole, len(self.forward.vocab), candidates, hits, self._threads
            )
        return self._rankings(found, len(queries))


def _rows(*arrays: NDArray[Any]) -> tuple[bytes, ...]:
    return tuple(np.ascontiguousarray(array, dtype=np.int32).tobytes() for array in arrays)


class _Pyserini:
    """The same through Pyserini's searcher."""

    def __init__(self, index: Path, threads: int):
        from pyserini.search.lucene import LuceneImpactSearcher

        from gradir.engine.query_encoders import KnownQueries

        self.index, self._threads = index, threads
        with jvm.errors(index, "open it"):
            self._searcher = LuceneImpactSearcher(str(Path(index).absolute()), KnownQueries([], []), min_idf=-1)
            self.documents = int(self._searcher.num_docs)

    def search(self, queries: SparseVectors, vocab: NDArray[np.object_], hits: int) -> list[Ranking]:
        from gradir.engine.query_encoders import KnownQueries, to_dicts

        names = [str(number) for number in range(len(queries))]
        self._searcher.query_encoder = KnownQueries(names, to_dicts(queries, vocab))
        with jvm.errors(self.index, "search it"):
            found = self._searcher.batch_search(names, names, k=hits, threads=self._threads)
            rows = [[(hit.docid, hit.score) for hit in found[name]] for name in names]
        return [Ranking([docid for docid, _ in row], np.array([s for _, s in row], np.float32)) for row in rows]
