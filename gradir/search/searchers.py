"""Pyserini's searchers over the indexes that gradir writes, a batch of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """The searcher of an index of this type."""
    return _OPENERS[type](index, encoder, threads)


def _bm25(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """BM25 with Anserini's parameters, k1 = 0.9 and b = 0.4."""
    jvm.ensure()
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(str(index))
    searcher.set_bm25(0.9, 0.4)

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids = [query.qid for query in queries]
        return _ordered(qids, searcher.batch_search([query.text for query in queries], qids, k=hits, threads=threads))

    return search


def _impact(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """Sum over terms of query impact times document impact, exactly: no term is left out for being frequent."""
    jvm.ensure()
    from pyserini.search.lucene import LuceneImpactSearcher

    from gradir.engine.query_encoders import KnownQueries, SparseQueryEncoder

    encode = SparseQueryEncoder(_needed(index, encoder)).encode_batch
    searcher = LuceneImpactSearcher(str(index), KnownQueries([], []), min_idf=-1)

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids, texts = [query.qid for query in queries], [query.text for query in queries]
        searcher.query_encoder = KnownQueries(texts, encode(texts))
        return _ordered(qids, searcher.batch_search(texts, qids, k=hits, threads=threads))

    return search


def _faiss(index: Path, encoder: Encoder | None, threads: int) -> Search:
    """Inner product, exact (flat) or over a graph (hnsw)."""
    jvm.ensure()  # importing pyserini's FAISS searcher starts a JVM as well
    from gradir.engine.query_encoders import DenseQueryEncoder

    try:
        from pyserini.search.faiss import FaissSearcher
    except ImportError as error:
        raise MissingDependency("faiss", f"Searching {index} ({error})", "pip install 'gradir[cpu]'") from None
    try:
        searcher = FaissSearcher(str(index), DenseQueryEncoder(_needed(index, encoder)))
    except RuntimeError as error:
        raise InputError(index, f"is no whole FAISS index ({str(error).splitlines()[0]})", "Index again") from None

    def search(queries: Sequence[Query], hits: int) -> list[list[Hit]]:
        qids, wanted = [query.qid for query in queries], min(hits, searcher.index.ntotal)
        found = searcher.batch_search([query.text for query in queries], qids, k=wanted, threads=threads)
        return _ordered(qids, found)

    return search


_OPENERS = {"bm25": _bm25, "impact": _impact, "flat": _faiss, "hnsw": _faiss}


def _needed(index: Path, encoder: Encoder | None) -> Encoder:
    if encoder is None:
        raise InputError(index, "holds vectors, so queries must be encoded", "Give --encoder")
    return encoder


def _ordered(qids: list[str], found: dict[str, list[Any]]) -> list[list[Hit]]:
    """Hits in the order of the queries; Pyserini leaves out queries without any."""
    return [[Hit(hit.docid, float(hit.score)) for hit in found.get(qid, [])] for qid in qids]
