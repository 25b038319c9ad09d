"""Query encoder objects that Pyserini's searchers take as they are, in place of its own encoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import SparseVectors
from gradir.engine.encoder import Encoder
from gradir.errors import GradirError
from gradir.models.config import Kind


class SparseQueryEncoder:
    """For `LuceneImpactSearcher(index, encoder, min_idf=-1)`.

    Args:
        encoder: A SPLADE encoder, or its folder or hub name.
        opening: How a folder is opened: the arguments of `Encoder.open` (`device`, `dtype`, `backend="onnx"`, …).

    Raises:
        GradirError: The encoder is dense.
    """

    def __init__(self, encoder: Encoder | str | Path, **opening: Any):
        problem = "a LuceneImpactSearcher needs a SPLADE encoder; this one is dense. Use DenseQueryEncoder."
        self.encoder = opened_as("splade", encoder, problem, opening)
        self._terms = np.asarray(self.encoder.vocab(), dtype=object)  # an array, for an index of many terms at once

    def encode(self, text: str, **_: Any) -> dict[str, int]:
        """`{term: impact}`, impacts above 0 as Python integers: Pyserini passes them to Java as they are."""
        vectors: SparseVectors = self.encoder.encode([text], "query")  # type: ignore[assignment]
        return dict(zip(self._terms[vectors.terms].tolist(), vectors.impacts.tolist(), strict=True))

    def encode_batch(self, texts: Sequence[str], **_: Any) -> list[dict[str, int]]:
        """As `encode`, for many texts at once."""
        return to_dicts(self.encoder.encode(texts, "query"), self._terms)  # type: ignore[arg-type]


class DenseQueryEncoder:
    """For `FaissSearcher(index, encoder)`; its `batch_search` uses `encode_batch`.

    Args:
        encoder: A dense encoder, or its folder or hub name.
        opening: How a folder is opened: the arguments of `Encoder.open` (`device`, `dtype`, `backend="onnx"`, …).

    Raises:
        GradirError: The encoder is SPLADE.
    """

    def __init__(self, encoder: Encoder | str | Path, **opening: Any):
        problem = "a FaissSearcher needs a dense encoder; this one is SPLADE. Use SparseQueryEncoder."
        self.encoder = opened_as("dense", encoder, problem, opening)

    def encode(self, text: str, **_: Any) -> NDArray[np.float32]:
        """The vector of a query, float32 [D]."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        """Vectors, float32 [N, D]."""
        return self.encoder.encode(texts, "query")  # type: ignore[return-value]


def opened_as(kind: Kind, encoder: Encoder | str | Path, problem: str, opening: dict[str, Any]) -> Encoder:
    """The encoder of an object, opened if it is a folder or hub name.

    Args:
        kind: What it must be.
        encoder: An encoder, a folder or a hub name.
        problem: What to say of one of the other kind.
        opening: Arguments of `Encoder.open`.

    Raises:
        GradirError: It is of the other kind.
    """
    if isinstance(encoder, str | Path):
        encoder = Encoder.open(encoder, **opening)
    elif opening:
        raise TypeError(f"{', '.join(opening)}: the encoder is open already, give these to Encoder.open")
    if encoder.config.kind != kind:
        raise GradirError(problem)
    return encoder


def to_dicts(vectors: SparseVectors, vocab: Sequence[str] | NDArray[np.object_]) -> list[dict[str, int]]:
    """`{term: impact}` of each row.

    Args:
        vectors: N rows.
        vocab: The terms by id; an array of objects is taken as it is, a list is made one at every call.
    """
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
