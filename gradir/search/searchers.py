"""Searchers by the type of an index: encoded queries in, rankings out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gradir.data.records import Ranking
from gradir.errors import InputError

FAISS = ("flat", "hnsw", "faiss")
LUCENE_DENSE = ("lucene-flat", "lucene-hnsw")
GRAPHS = ("hnsw", "faiss", "lucene-hnsw")  # where --ef-search may say something
_TYPES = ("bm25", "impact", *FAISS, *LUCENE_DENSE, "exact", "seismic")


class Searcher(Protocol):
    """What every searcher is."""

    documents: int

    def search(self, queries: Any, hits: int) -> list[Ranking]:
        """The best documents of each query, score descending, then docid ascending.

        Args:
            queries: Texts (bm25), `SparseVectors` whose terms are those of the vocabulary, or float32 [N, D].
            hits: Documents of a query, at most.
        """


def open_searcher(
    type: str,
    index: Path,
    vocab: Sequence[str] = (),
    threads: int = 1,
    ef_search: int | None = None,
    nprobe: int | None = None,
    device: str = "auto",
    name: str | None = None,
) -> Searcher:
    """The searcher of an index.

    Args:
        type: `bm25`, `impact`, `flat`, `hnsw`, `faiss` for any FAISS index, `lucene-flat`, `lucene-hnsw`; `exact` or
            `seismic` for vector shards.
        index: Its folder.
        vocab: The terms of sparse queries by id.
        threads: Threads that search.
        ef_search: Candidates that a graph looks at for a query; None leaves what the index says.
        nprobe: Lists that a FAISS IVF index looks at for a query; None leaves what the index says.
        device: Where `exact` computes.
        name: Pyserini's name of the index, if it has one.

    Raises:
        GradirError: The index is damaged or not of this type.
        MissingDependency: FAISS, Pyserini or Seismic is not installed.
    """
    if type == "bm25":
        from gradir.search.bm25 import Bm25Searcher

        return Bm25Searcher(index, threads, name)
    if type == "impact":
        from gradir.search.impact import ImpactSearcher

        return ImpactSearcher(index, vocab, threads)
    if type in FAISS:
        from gradir.search.faiss_search import FaissSearcher

        return FaissSearcher(index, threads, ef_search, nprobe)
    if type in LUCENE_DENSE:
        from gradir.engine.lucene_dense import LuceneDenseSearcher

        return LuceneDenseSearcher(index, threads, ef_search)
    if type == "exact":
        from gradir.engine.exact import open_exact

        return open_exact(index, vocab, device)
    if type == "seismic":
        from gradir.search.seismic import SeismicSearcher

        return SeismicSearcher(index, vocab, threads)
    raise InputError(index, f"is of type {type!r}, not {', '.join(_TYPES)}", "Use a gradir that knows it")
