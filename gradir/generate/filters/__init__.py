"""Filters of generated data, a file each. One is given the records that are left and says which to drop, why, and by what value.

Dropping is all that a filter does: nothing is changed in a record, and the order stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gradir.generate.generated import Item


class Drop(NamedTuple):
    """A record to be dropped.

    Attributes:
        number: Its place among the records.
        reason: A word for the counts.
        value: What decided: a number, a word, an id; JSON.
    """

    number: int
    reason: str
    value: Any


Items = Iterable[Item]
Filter = Callable[[Items], Iterator[Drop]]
