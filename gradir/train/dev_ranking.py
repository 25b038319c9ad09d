"""The rankings of dev evaluation: inner products of vectors that a model in training gives, best documents kept window by window.

As in `gradir.engine.exact`: products are added in double precision and rounded once to single, so that equal vectors have equal
scores; ties are in the order of document ids; of sparse vectors only documents that share a term with the query are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradir.engine.exact import best
from gradir.errors import GradirError

Encode = Callable[[list[str]], Any]  # texts -> float32 [N, D], dense or a csr of scipy
Best: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]  # scores and ranks of documents, best first

_SCORES_AT_ONCE = 1 << 23  # queries times documents whose scores are in memory at a time, in double precision


def encoded(encode: Encode, texts: Sequence[str], what: str) -> Any:
    """Vectors of texts, float32 [N, D]: an array, or a csr of scipy.

    Args:
        encode: Gives them.
        texts: N of them.
        what: `queries` or `documents`, for the error.

    Raises:
        GradirError: Another number of vectors than of texts, or vectors that are not finite.
    """
    from scipy import sparse

    vectors = encode(list(texts))
    if sparse.issparse(vectors):
        vectors = sparse.csr_array(vectors, dtype=np.float32)
        numbers = vectors.data
    else:
        vectors = numbers = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[0] != len(texts):
        raise GradirError(
            f"dev: the encoder gave {vectors.shape} numbers for {len(texts)} {what}, not one row for each."
        )
    if not np.isfinite(numbers).all():
        raise GradirError(
            f"dev: vectors of {what} are not finite. Lower the learning rate, or train with dtype: float32."
        )
    return vectors


def full(queries: Any, windows: Iterable[tuple[NDArray[np.int64], Any]], depth: int) -> list[Best]:
    """The best documents of each query among all.

    Args:
        queries: Vectors, [Q, D].
        windows: (ranks of documents in the order of their ids, their vectors [n, D]), window by window.
        depth: Documents of a query.
    """
    found: list[Best] = [_none()] * queries.shape[0]
    for ranks, documents in windows:
        _check_sizes(queries, documents)
        step = max(1, _SCORES_AT_ONCE // max(1, len(ranks)))
        for start in range(0, len(found), step):
            for number, (places, scores) in enumerate(_scores(queries[start : start + step], documents), start):
                found[number] = _merged(found[number], (scores, ranks[places]), depth)
    return found


def pooled(
    queries: Any, windows: Sequence[Any], ranks: NDArray[np.int64], pools: Sequence[NDArray[np.int64]]
) -> list[Best]:
    """The documents of each query's pool, in order.

    Args:
        queries: Vectors, [Q, D].
        windows: Vectors of the documents of all pools, [N, D] together.
        ranks: Of these documents in the order of their ids, [N].
        pools: The places of each query's documents.
    """
    from scipy import sparse

    documents = np.concatenate(windows) if isinstance(windows[0], np.ndarray) else sparse.vstack(windows, format="csr")
    _check_sizes(queries, documents)
    found = []
    for number, pool in enumerate(pools):
        ((places, scores),) = _scores(queries[number : number + 1], documents[pool]) if len(pool) else [_nothing()]
        found.append(_merged(_none(), (scores, ranks[pool][places]), len(pool)))
    return found


def _check_sizes(queries: Any, documents: Any) -> None:
    if queries.shape[1] != documents.shape[1]:
        sizes = f"{queries.shape[1]} numbers for queries and {documents.shape[1]} for documents"
        raise GradirError(f"dev: the encoder gives vectors of {sizes}.")


def _scores(queries: Any, documents: Any) -> Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(places of documents, scores) of each query."""
    queries, documents = queries.astype(np.float64), documents.astype(np.float64)
    if isinstance(queries, np.ndarray):
        places = np.arange(documents.shape[0])
        return [(places, row) for row in (queries @ documents.T).astype(np.float32)]
    products = queries @ documents.T  # [q, n], only pairs that share a term
    rows = [slice(*ends) for ends in zip(products.indptr[:-1], products.indptr[1:], strict=True)]
    pairs = [(products.indices[row].astype(np.int64), products.data[row].astype(np.float32)) for row in rows]
    return [(places[scores > 0], scores[scores > 0]) for places, scores in pairs]


def _merged(before: Best, more: Best, depth: int) -> Best:
    """The best of both."""
    scores, ranks = np.concatenate([before[0], more[0]]), np.concatenate([before[1], more[1]])
    order = best(scores, ranks, depth)
    return scores[order], ranks[order]


def _none() -> Best:
    return np.zeros(0, np.float32), np.zeros(0, np.int64)


def _nothing() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.zeros(0, np.int64), np.zeros(0, np.float32)
