"""Static pruning of sparse vectors while an index is written: fewer postings, a smaller and faster index, approximate scores.

A posting is kept if its impact is at least `min_impact` and at least its term's threshold; of those, a document keeps its
`top_k` largest, of equal ones the smaller term ids. A term's threshold is a quantile of its impacts over the whole collection,
also where only a shard of it is indexed, so that all shards are pruned alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradir.data.pruning import keep, top_k
from gradir.data.vectors import SparseVectors
from gradir.index.source import Source

_TERM_BITS = 32  # a pair of term and impact is one number, ordered by both


@dataclass(frozen=True)
class Pruning:
    """What is kept of each vector; None keeps everything.

    Attributes:
        top_k: Postings of a document.
        min_impact: The smallest impact.
        thresholds: The smallest impact of each term, by term id.
    """

    top_k: int | None = None
    min_impact: int | None = None
    thresholds: NDArray[np.int32] | None = None  # [V]

    def __call__(self, vectors: SparseVectors) -> SparseVectors:
        """The vectors pruned; a document may lose all its terms, and stays as an empty row."""
        if self.min_impact is not None:
            vectors = keep(vectors, vectors.impacts >= self.min_impact)
        if self.thresholds is not None:
            vectors = keep(vectors, vectors.impacts >= self.thresholds[vectors.terms])
        return vectors if self.top_k is None else top_k(vectors, self.top_k)


def pruning(source: Source, top_k: int | None, min_impact: int | None, term_quantile: float | None) -> Pruning | None:
    """What is kept of the vectors of a source; None where nothing is asked for.

    Args:
        source: The whole collection that it belongs to is read once if there is a quantile.
        top_k: Postings of a document.
        min_impact: The smallest impact.
        term_quantile: The share of each term's postings that is dropped.
    """
    if top_k is None and min_impact is None and term_quantile is None:
        return None
    thresholds = None
    if term_quantile is not None:
        parts = (vectors for _, _, vectors in source.collection().sparse())
        thresholds = term_thresholds(parts, len(source.vocab()), term_quantile)
    return Pruning(top_k, min_impact, thresholds)


def term_thresholds(parts: Iterable[SparseVectors], terms: int, quantile: float) -> NDArray[np.int32]:
    """The impact of each term that its lowest postings fall below: of n postings at most floor(quantile * n) do.

    Postings equal to the threshold are kept, so equal impacts of a term are all kept or all dropped. Exact. Memory: the
    distinct pairs of term and impact, 16 bytes each and twice that while they are added up, however many the documents.

    Args:
        parts: The vectors of the collection.
        terms: Size of the vocabulary V.
        quantile: From 0, and below 1.

    Returns:
        [V]; 0 for a term without postings.
    """
    pairs, counts = _histogram(parts)
    thresholds = np.zeros(terms, dtype=np.int32)
    if not len(pairs):
        return thresholds
    found, starts = np.unique(pairs >> _TERM_BITS, return_index=True)
    running = np.concatenate([[0], np.cumsum(counts)])
    before = running[starts]
    postings = np.diff(np.append(before, running[-1]))
    dropped = np.floor(quantile * postings + 1e-9).astype(np.int64)  # 0.29 * 100 is a little less than 29
    # The first pair whose postings, with those of smaller impacts, are more than may be dropped.
    places = np.searchsorted(running[1:], before + dropped, side="right")
    thresholds[found] = pairs[places] & ((1 << _TERM_BITS) - 1)
    return thresholds


def _histogram(parts: Iterable[SparseVectors]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(pairs, counts): `term << 32 | impact`, ascending, and how often each stands in the vectors."""
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for vectors in parts:
        found, times = np.unique(vectors.terms.astype(np.int64) << _TERM_BITS | vectors.impacts, return_counts=True)
        waiting.append((found, times.astype(np.int64)))
        if sum(len(found) for found, _ in waiting) > len(pairs):  # so that each pair is added up a few times only
            pairs, counts = _added([(pairs, counts), *waiting])
            waiting = []
    return _added([(pairs, counts), *waiting])


def _added(
    histograms: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Several histograms as one."""
    pairs, places = np.unique(np.concatenate([pairs for pairs, _ in histograms]), return_inverse=True)
    counts = np.zeros(len(pairs), np.int64)
    np.add.at(counts, places, np.concatenate([counts for _, counts in histograms]))
    return pairs, counts
