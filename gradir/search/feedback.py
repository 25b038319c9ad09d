"""Pseudo-relevance feedback around a searcher: it is a searcher too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradir.data.records import Ranking
from gradir.data.vectors import Vectors
from gradir.errors import GradirError
from gradir.search.indexes import Index
from gradir.search.searchers import FAISS, Searcher


@dataclass(frozen=True)
class Feedback:
    """How queries are moved towards their first documents: see `gradir.search.prf.feedback_search`.

    Attributes:
        method: `rocchio` or `average`.
        depth: Documents taken for relevant.
        alpha: Weight of the query.
        beta: Weight of the documents.
        terms: Sparse: terms that are added at most.
        vectors: Vector shards that the documents' vectors are read from; None where the index gives them.
    """

    method: Literal["rocchio", "average"]
    depth: int = 3
    alpha: float | None = None
    beta: float | None = None
    terms: int = 10
    vectors: Path | None = None

    def record(self, index: Index) -> dict[str, Any]:
        """What a run's manifest says of it."""
        found: dict[str, Any] = {"method": self.method, "depth": self.depth}
        if self.method == "rocchio":
            found |= {"alpha": self.alpha, "beta": self.beta}
        return found | ({"terms": self.terms} if (index.encoder or {}).get("kind") == "splade" else {})

    def check(self, indexes: Sequence[Index]) -> None:
        """Refuse indexes that give no vectors.

        Raises:
            GradirError: They are searched by words, or are several; the vectors of documents are not to be had.
        """
        first = indexes[0]
        if first.encoder is None:
            raise GradirError("--prf is for vectors. For words: gradir pyserini search.lucene --rocchio (or --rm3).")
        if len(indexes) > 1:
            raise GradirError("--prf needs the best documents of the whole collection: give one --index.")
        if self.vectors is None and first.type not in ("exact", "seismic") and not _gives_vectors(first):
            raise GradirError(
                f"{first.folder} is of type {first.type}: give the vector shards it was made from as --prf-vectors"
                f"{', or index with --forward' if first.type == 'impact' else ''}."
            )

    def around(self, searcher: Any, index: Index, vocab: Sequence[str]) -> Searcher:
        """A searcher with feedback."""
        return _FeedbackSearcher(searcher, self, self._source(searcher, index, vocab))

    def _source(self, searcher: Any, index: Index, vocab: Sequence[str]) -> Callable[[Sequence[str]], Vectors]:
        from gradir.data.vectors import VectorShards
        from gradir.search.document_vectors import ShardVectors

        if self.vectors is None and _gives_vectors(index):
            give: Callable[[Sequence[str]], Vectors] = searcher.vectors
            return give
        return ShardVectors(VectorShards(self.vectors or index.folder), vocab)


def _gives_vectors(index: Index) -> bool:
    return index.type in FAISS or (index.type == "impact" and (index.folder / "forward.json").exists())


class _FeedbackSearcher:
    """Searches twice."""

    def __init__(self, searcher: Searcher, feedback: Feedback, vectors_of: Callable[[Sequence[str]], Vectors]):
        self.searcher, self.feedback, self.vectors_of = searcher, feedback, vectors_of
        self.documents = searcher.documents

    def search(self, queries: Vectors, hits: int) -> list[Ranking]:
        """As the searcher inside, for the moved queries."""
        from gradir.search.prf import feedback_search

        how = self.feedback
        return feedback_search(
            self.searcher, queries, hits, self.vectors_of, how.method, how.depth, how.alpha, how.beta, how.terms
        )
