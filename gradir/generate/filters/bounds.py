"""Lengths of queries and documents, in characters and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.words import words
from gradir.generate.generated import Item


class Bound(NamedTuple):
    """What a length may be; both ends are allowed, None is no bound."""

    of: Literal["query", "document"]
    unit: Literal["chars", "words"]
    least: int
    most: int | None = None

    @property
    def name(self) -> str:
        return f"{self.of}_{self.unit}"


_LENGTHS: dict[str, Callable[[str], int]] = {"chars": len, "words": lambda text: len(words(text))}
_TEXTS: dict[str, Callable[[Item], str]] = {"query": lambda item: item.query, "document": lambda item: item.document}


def within(bound: Bound) -> Filter:
    """Drop records whose query (or document) is shorter or longer than the bound.

    Characters are counted without white space at the ends.
    """
    text_of, length_of = _TEXTS[bound.of], _LENGTHS[bound.unit]

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            length = length_of(text_of(item).strip())
            if length < bound.least or (bound.most is not None and length > bound.most):
                yield Drop(item.number, bound.name, length)

    return drop
