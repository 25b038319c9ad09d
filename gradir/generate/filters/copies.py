"""Queries that are taken from their document word by word: finding them again needs no understanding."""

from __future__ import annotations

from collections.abc import Iterator

from gradir.data.same_text import same_text
from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.words import share_found, words


def substrings(items: Items) -> Iterator[Drop]:
    """Drop records whose query is a part of the document, but for case, white space and composition of characters (InPars)."""
    for item in items:
        query = same_text(item.query)
        if query in same_text(item.document):
            yield Drop(item.number, "copy", query)


def overlap(most: float) -> Filter:
    """Drop records where more than the share `most` of the query's distinct words stands in the document."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            share = share_found(words(item.query), words(item.document))
            if share > most:
                yield Drop(item.number, "overlap", round(share, 6))

    return drop
