"""Seismic (Bruch, Nardini, Rulli and Venturini, SIGIR 2024) over sparse vector shards: approximate, in memory, fast.

The package pyseismic-lsr is optional. It holds impacts in half precision: up to 2,048 they are exact, beyond rounded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gradir.data.records import Ranking
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.errors import InputError, MissingDependency

_HEAP_FACTOR = 0.7  # blocks are passed over whose bound is below the worst hit so far / this: nearly all hits are found
_LARGEST = 65504  # of half precision
_FEW_TERMS = 1 << 16  # what its smaller kind of index takes


class SeismicSearcher:
    """An index of vector shards that is built when it is opened.

    Args:
        shards: The folder of sparse vector shards.
        vocab: The terms of the queries by id.
        threads: Threads that build and search.

    Attributes:
        documents: How many there are.

    Raises:
        MissingDependency: pyseismic-lsr is not installed.
        InputError: An impact is too large; no document has a term.
    """

    def __init__(self, shards: Path, vocab: Sequence[str], threads: int):
        seismic = _seismic()
        opened = VectorShards(shards)
        self.documents, self._threads, terms = len(opened), threads, opened.vocab()
        few = len(terms) < _FEW_TERMS
        dataset = seismic.SeismicDataset() if few else seismic.SeismicDatasetLV()
        for docids, vectors in opened.sparse_parts():
            if len(vectors.impacts) and vectors.impacts.max() > _LARGEST:
                raise InputError(shards, f"an impact of {vectors.impacts.max()}", f"Seismic takes up to {_LARGEST}")
            impacts = vectors.impacts.astype(np.float32)
            dataset.add_documents_by_id(docids, vectors.terms.astype(np.int64), impacts, vectors.indptr)
        if not dataset.len:
            raise InputError(shards, "no document has a term", "Nothing could be found: check the encoder")
        with _quiet():
            builder = seismic.SeismicIndex if few else seismic.SeismicIndexLV
            self._index = builder.build_from_dataset(dataset, num_threads=threads)
        numbers = {term: number for number, term in enumerate(terms)}
        self._known = np.array([numbers.get(term, -1) for term in vocab], dtype=np.int64)  # query term -> shards' term
        self._text = seismic.get_seismic_string()

    def search(self, queries: SparseVectors, hits: int) -> list[Ranking]:
        """Most of the best documents of each query, by score descending, then docid ascending."""
        rows = [self._row(*queries.row(number)) for number in range(len(queries))]
        asked = [number for number, (terms, _) in enumerate(rows) if len(terms)]
        found: dict[int, Any] = {}
        if asked:
            answers = self._index.batch_search(
                queries_ids=np.array(asked).astype(self._text),
                query_components=[rows[number][0] for number in asked],
                query_values=[rows[number][1] for number in asked],
                k=hits,
                query_cut=max(len(rows[number][0]) for number in asked),
                heap_factor=_HEAP_FACTOR,
                num_threads=self._threads,
            )
            found = {int(answer[0][0]): answer for answer in answers if answer}  # they come in an order of their own
        return [_ranking(found.get(number, ())) for number in range(len(queries))]

    def _row(self, terms: Any, impacts: Any) -> tuple[Any, Any]:
        """A query as Seismic takes it: the numbers of terms that the shards have, as text, and their weights."""
        numbers = self._known[terms]
        kept = numbers >= 0
        return numbers[kept].astype(self._text), impacts[kept].astype(np.float32)


def _ranking(answer: Sequence[tuple[str, float, str]]) -> Ranking:
    hits = sorted((-score, docid) for _, score, docid in answer if score > 0)
    return Ranking([docid for _, docid in hits], np.array([-score for score, _ in hits], dtype=np.float32))


def _seismic() -> Any:
    try:
        import seismic
    except ImportError:
        raise MissingDependency("pyseismic-lsr", "--engine seismic", "pip install 'gradir[seismic]'") from None
    return seismic


@contextmanager
def _quiet() -> Iterator[None]:
    """What Rust prints goes to the standard error: the standard output is for results."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
