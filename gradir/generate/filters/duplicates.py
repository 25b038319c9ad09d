"""Near duplicates among what was generated: one of them stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.similar import Signatures
from gradir.generate.generated import Generated, Item


def near(source: Generated, threshold: float, score: Callable[[Item], float] | None = None) -> Filter:
    """Drop what is like an earlier record: Jaccard's similarity of runs of five characters (`similar`) is `threshold` or more.

    Queries are compared with queries, documents with documents, whatever their grades and queries.

    Args:
        source: The folder.
        threshold: Above 0, up to 1.
        score: Where given, the record with the higher score stays; of equal ones, the earlier one.
    """

    def drop(items: Items) -> Iterator[Drop]:
        signatures, numbers, ids, scores = Signatures(threshold), [], [], []
        for item in items:
            signatures.add(item.made)
            numbers.append(item.number)
            ids.append(item.made_id)
            scores.append(score(item) if score else 0.0)
        text_of = source.query if source.kind == "queries" else source.document
        order = np.argsort(-np.array(scores), kind="stable").tolist()
        for row, other, similarity in signatures.near(order, lambda row: text_of(ids[row])):
            yield Drop(numbers[row], "duplicate", {"of": ids[other], "similarity": round(similarity, 6)})

    return drop
