"""What gives a pair a score: a cross-encoder, or an encoder by the dot product of two vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradir.data.asked_pairs import Asked, TextsOfPairs
from gradir.data.vectors import SparseVectors
from gradir.engine.cross_encoder import Reranker
from gradir.engine.encoder import Encoder

Progress = Callable[[int], object]


class Member(Protocol):
    """A scorer, opened."""

    def score(self, window: Sequence[Asked], texts: TextsOfPairs, progress: Progress) -> NDArray[np.float64]:
        """The scores of all pairs of some queries, one after another, [P]."""
        ...


class CrossEncoder:
    """A cross-encoder's scores (logits, or log-probabilities where it has two: see `gradir.engine.cross_encoder`)."""

    def __init__(self, model: str, **options: Any):
        self._reranker = Reranker.open(model, **options)

    def score(self, window: Sequence[Asked], texts: TextsOfPairs, progress: Progress) -> NDArray[np.float64]:
        """As `Member.score`."""
        asked = [(texts.query(one), texts.document(one, docid)) for one in window for docid in one.docids]
        return self._reranker.score(asked, progress).astype(np.float64)


class DotProducts:
    """Dot products of an encoder's vectors; of impacts, where it is sparse: what a search of its index gives.

    A document that several queries of a window ask for is encoded once.
    """

    def __init__(self, encoder: str, **options: Any):
        self._encoder = Encoder.open(encoder, **options)

    def score(self, window: Sequence[Asked], texts: TextsOfPairs, progress: Progress) -> NDArray[np.float64]:
        """As `Member.score`."""
        # A list may bring a text of its own for an id, so that the text is what makes a document the same.
        places: dict[str, int] = {}
        rows = [
            [places.setdefault(texts.document(one, docid), len(places)) for docid in one.docids] for one in window
        ]  # per query, [its documents]
        queries = self._encoder.encode([texts.query(one) for one in window], "query")
        documents = self._encoder.encode(list(places), "passage")
        product = _sparse(queries, documents) if isinstance(documents, SparseVectors) else _dense(queries, documents)
        found = []
        for i, wanted in enumerate(rows):
            found.append(product(i, wanted))
            progress(len(wanted))
        return np.concatenate(found).astype(np.float64)


def _dense(queries: Any, documents: Any) -> Callable[[int, list[int]], NDArray[np.float32]]:
    """(query, documents) to their products, [k]; of float32 [Q, D] and [N, D]."""
    return lambda i, wanted: documents[wanted] @ queries[i]


def _sparse(queries: Any, documents: SparseVectors) -> Callable[[int, list[int]], NDArray[np.float64]]:
    """The same of impacts."""
    from scipy.sparse import csr_array

    size = 1 + int(max(queries.terms.max(initial=0), documents.terms.max(initial=0)))
    matrix = csr_array(
        (documents.impacts.astype(np.float64), documents.terms, documents.indptr), shape=(len(documents), size)
    )

    def product(i: int, wanted: list[int]) -> NDArray[np.float64]:
        query = np.zeros(size)
        terms, impacts = queries.row(i)
        query[terms] = impacts
        return np.asarray(matrix[wanted] @ query)

    return product
