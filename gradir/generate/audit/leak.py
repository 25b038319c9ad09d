"""Can the grade be told without reading? By a document's length alone, by the words that it shares with the query, by BM25.

A set whose grades follow from lengths teaches a model to count words. That BM25 tells them is natural to a degree, as relevant
documents use the words of the query; if nothing is left that BM25 does not tell, BM25 is all that can be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.generate.audit.bm25 import BM25
from gradir.generate.audit.numbers import Columns
from gradir.generate.audit.orders import over_all, within
from gradir.generate.filters.words import words
from gradir.generate.generated import Generated, Item


def bm25_scores(read: Callable[[], Iterable[Item]]) -> NDArray[np.float64]:
    """BM25 of each record's document for its query, [N]; the collection is that of the records' documents.

    Args:
        read: Gives the records; called three times.
    """
    vocabulary = {word for item in _first(read(), "qid") for word in words(item.query)}
    scorer = BM25((words(item.document) for item in _first(read(), "docid")), vocabulary)
    return np.array([scorer.score(words(item.query), words(item.document)) for item in read()])


def _first(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The first record of each query, or of each document."""
    seen = set[str]()
    for item in items:
        key = getattr(item, name)
        if key not in seen:
            seen.add(key)
            yield item


def leaks(source: Generated, found: Columns, seed: int) -> dict[str, Any]:
    """How well single numbers tell the grade: of each one tau-b and AUC, over all and within the queries."""
    length = "query_words" if source.kind == "queries" else "document_words"
    told = {}
    for name in (length, "overlap", "bm25"):
        values = found.values.get(name)
        known = np.zeros(0, bool) if values is None else ~np.isnan(values)
        if values is None or not known.any():
            continue
        rows = (found.groups[known], found.grades[known], values[known])
        told[name] = {"over_all": over_all(*rows), "within": within(*rows, seed)}
    return told
