"""Vector shards checked before an index takes them: they need not come from `gradir encode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import DenseVectors, SparseVectors
from gradir.errors import InputError


def check_dense(part: Path, docids: Sequence[str], vectors: DenseVectors) -> None:
    """Refuse numbers that no similarity can be computed with.

    Args:
        part: The file they stand in.
        docids: N ids.
        vectors: [N, D].

    Raises:
        InputError: A vector holds NaN or infinity; names the row.
    """
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(part, f"the vector of document {docids[row]} holds NaN or infinity", "Encode again", row + 1)


def check_sparse(part: Path, docids: Sequence[str], vectors: SparseVectors, terms: int) -> None:
    """Refuse impacts that are no weights, and terms that are out of order or unknown.

    Args:
        part: The file they stand in.
        docids: N ids.
        vectors: N rows.
        terms: Size of the vocabulary.

    Raises:
        InputError: An impact is 0 or less; the term ids of a document are negative, not ascending or beyond the vocabulary;
            names the row.
    """
    wrong = vectors.impacts < 1
    if wrong.any():
        place = int(np.argmax(wrong))
        row = _row(vectors.indptr, place)
        problem = f"document {docids[row]} has an impact of {vectors.impacts[place]}"
        raise InputError(part, problem, "Impacts must be above 0: check the scale of the encoder", row + 1)
    falls = np.empty(len(vectors.terms), dtype=bool)
    np.less_equal(vectors.terms[1:], vectors.terms[:-1], out=falls[1:])
    starts = vectors.indptr[:-1][np.diff(vectors.indptr) > 0]
    falls[starts] = vectors.terms[starts] < 0  # a row may begin below the end of the one before
    if falls.any():
        place = int(np.argmax(falls))
        row = _row(vectors.indptr, place)
        problem = f"document {docids[row]} has term id {vectors.terms[place]} out of order or range"
        raise InputError(part, problem, "The terms of a document must ascend, each once", row + 1)
    beyond = vectors.terms >= terms
    if beyond.any():
        place = int(np.argmax(beyond))
        row = _row(vectors.indptr, place)
        problem = f"document {docids[row]} has term {vectors.terms[place]}, but vocab.txt has only {terms} lines"
        raise InputError(part, problem, "Encode again", row + 1)


def _row(indptr: NDArray[np.int64], place: int) -> int:
    """The row that holds a posting."""
    return int(np.searchsorted(indptr, place, side="right")) - 1
