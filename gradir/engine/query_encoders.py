"""Query encoder objects that Pyserini's searchers take as they are, in place of its own encoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors
from gradir.engine.encoder import Encoder
from gradir.errors import GradirError


class SparseQueryEncoder:
    """For `LuceneImpactSearcher(index, encoder, min_idf=-1)`.

    Args:
        encoder: A SPLADE encoder.
    """

    def __init__(self, encoder: Encoder):
        if encoder.config.kind != "splade":
            raise GradirError(
                "a LuceneImpactSearcher needs a SPLADE encoder; this one is dense. Use DenseQueryEncoder."
            )
        self.encoder, self._vocab = encoder, encoder.vocab()

    def encode(self, text: str, **_: Any) -> dict[str, int]:
        """`{term: impact}`, impacts above 0 as Python integers: Pyserini passes them to Java as they are."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[dict[str, int]]:
        """As `encode`, for many texts at once."""
        vectors = self.encoder.encode(texts, "query")
        return to_dicts(vectors, self._vocab)  # type: ignore[arg-type]


class DenseQueryEncoder:
    """For `FaissSearcher(index, encoder)`; its `batch_search` uses `encode_batch`.

    Args:
        encoder: A dense encoder.
    """

    def __init__(self, encoder: Encoder):
        if encoder.config.kind != "dense":
            raise GradirError("a FaissSearcher needs a dense encoder; this one is SPLADE. Use SparseQueryEncoder.")
        self.encoder = encoder

    def encode(self, text: str, **_: Any) -> NDArray[np.float32]:
        """The vector of a query, float32 [D]."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        """Vectors, float32 [N, D]."""
        return self.encoder.encode(texts, "query")  # type: ignore[return-value]


def to_dicts(vectors: SparseVectors, vocab: Sequence[str]) -> list[dict[str, int]]:
    """`{term: impact}` of each row."""
    names = np.asarray(vocab, dtype=object)
    terms, impacts = names[vectors.terms].tolist(), vectors.impacts.tolist()
    ends = vectors.indptr.tolist()
    return [dict(zip(terms[start:end], impacts[start:end], strict=True)) for start, end in pairwise(ends)]


class KnownQueries:
    """Queries encoded beforehand, all at once, behind the interface that Pyserini's searchers call one by one.

    Args:
        texts: The queries.
        encoded: What `encode` shall return for each.
    """

    def __init__(self, texts: Sequence[str], encoded: Sequence[Any]):
        self._encoded = dict(zip(texts, encoded, strict=True))

    def encode(self, text: str, **_: Any) -> Any:
        """What was given for this text."""
        return self._encoded[text]

    def encode_batch(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        """The vectors of these texts, float32 [N, D]; only for dense queries."""
        return np.stack([self._encoded[text] for text in texts])
