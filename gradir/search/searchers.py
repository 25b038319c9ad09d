"""Pyserini's searchers over the indexes that gradir or Pyserini wrote, a batch of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir import jvm
from gradir.data.records import Hit, Query
from gradir.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from gradir.engine.encoder import Encoder

# What every searcher is: a batch of queries and a number of hits in, the hits of each query out.
Search = Callable[[Sequence[Query], int], list[list[Hit]]]


def open_searcher(type: str, index: Path, encoder: Encoder | None, threads: int) -> Search:
    """The searcher of an index.

    Args:
        type: `bm25`, `impact`, `flat`, `hnsw`, or `faiss` for any FAISS index.
        index: Its folder.
        encoder: What encodes the queries; BM25 needs none.
        threads: Threads that search.

    Raises:
        InputError: The index is damaged or not of this type.
        MissingDependency: FAISS or Pyserini is not installed.
    """
    if type not in _OPENERS:
        raise InputError(index, f"is of type {type!r}, not {', '.join(_OPENERS)}", "Use a gradir that knows it")
    return _OPENERS[type](index, encoder, threads)


def _bm25(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """BM25 with Anserini's parameters, k1 = 0.9 and b = 0.4."""
    jvm.ensure()
    from pyserini.search.lucene import LuceneSearcher

    with _java_errors(index):
        searcher = LuceneSearcher(str(index))
    searcher.set_bm25(0.9, 0.4)

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids = [query.qid for query in queries]
        with _java_errors(index):
            found = searcher.batch_search([query.text for query in queries], qids, k=hits, threads=threads)
        return _ordered(qids, found)

    return search


def _impact(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """Sum over terms of query impact times document impact, exactly: no term is left out for being frequent."""
    jvm.ensure()
    from pyserini.search.lucene import LuceneImpactSearcher

    from gradir.engine.query_encoders import KnownQueries, SparseQueryEncoder

    encode = SparseQueryEncoder(_needed(index, encoder)).encode_batch
    with _java_errors(index):
        searcher = LuceneImpactSearcher(str(index), KnownQueries([], []), min_idf=-1)

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids, texts = [query.qid for query in queries], [query.text for query in queries]
        searcher.query_encoder = KnownQueries(texts, encode(texts))
        with _java_errors(index):
            found = searcher.batch_search(texts, qids, k=hits, threads=threads)
        return _ordered(qids, found)

    return search


def _faiss(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """Inner product, exact (flat) or over a graph (hnsw)."""
    from gradir.engine.query_encoders import DenseQueryEncoder

    encode = DenseQueryEncoder(_needed(index, encoder)).encode_batch
    searcher = _open_faiss(index)
    size, documents = searcher.index.d, searcher.index.ntotal

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids, vectors = [query.qid for query in queries], encode([query.text for query in queries])
        if vectors.shape[1] != size:
            problem = f"holds vectors of {size} numbers, those of the queries have {vectors.shape[1]}"
            raise InputError(index, problem, "Give the --encoder that it was made with")
        return _ordered(qids, searcher.batch_search(vectors, qids, k=min(hits, documents), threads=threads))

    return search


def _open_faiss(index: Path) -> Any:
    """Pyserini's searcher, of an index that is whole."""
    jvm.ensure()  # importing pyserini's FAISS searcher starts a JVM as well
    try:
        from pyserini.search.faiss import FaissSearcher
    except ImportError as error:
        raise MissingDependency("faiss", f"Searching {index} ({error})", "pip install 'gradir[cpu]'") from None
    try:
        searcher = FaissSearcher(str(index), None)
        consistent = 0 < searcher.index.ntotal == len(searcher.docids)
    except AssertionError:  # Pyserini's word for ids that are not as many as the vectors
        consistent = False
    except (RuntimeError, FileNotFoundError) as error:  # FAISS's words for a damaged file; no `docid`
        raise InputError(index, f"is no whole FAISS index ({str(error).splitlines()[0]})", "Index again") from None
    if not consistent:
        raise InputError(index, "has no vectors, or another number of lines in its file `docid`", "Index again")
    return searcher


_OPENERS = {"bm25": _bm25, "impact": _impact, "flat": _faiss, "hnsw": _faiss, "faiss": _faiss}


def _needed(index: Path, encoder: Encoder | None) -> Encoder:
    if encoder is None:
        raise InputError(index, "holds vectors, so queries must be encoded", "Give --encoder")
    return encoder


@contextmanager
def _java_errors(index: Path) -> Iterator[None]:
    """What Lucene throws, as our error: a damaged index, too small a heap."""
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        cause = str(error).splitlines()[0].partition(": ")[2]
        fix = "Is it a whole Lucene index? If memory is short, raise GRADIR_HEAP (4g)"
        raise InputError(index, f"Lucene could not search it ({cause})", fix) from None


def _ordered(qids: list[str], found: dict[str, list[Any]]) -> list[list[Hit]]:
    """Hits in the order of the queries. A query without any has an empty list: one that is missing is an error."""
    return [[Hit(hit.docid, float(hit.score)) for hit in found[qid]] for qid in qids]
