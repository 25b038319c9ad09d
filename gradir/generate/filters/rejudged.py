"""A second opinion: what a language model says of generated pairs (`gradir generate judgements`), against the grade they have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradir.errors import InputError
from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.generated import Generated, Item

Opinion = Literal["grade", "expected"]


def opinions(folder: Path, source: Generated, count: int, of: Opinion) -> NDArray[np.float64]:
    """The judged grade of each of `count` records, NaN where it was not judged, [N].

    Args:
        folder: Judgements.
        source: What was judged.
        count: Number of its records.
        of: The grade, or its expectation under the model's probabilities.

    Raises:
        InputError: `folder` holds no judgements, none of these, or none with what is asked for.
    """
    judged = Generated(folder)
    if judged.kind != "judgements":
        raise InputError(folder, f"holds {judged.kind}, not judgements", "Make them: gradir generate judgements")
    wanted, found = source.numbers(), np.full(count, np.nan)
    for item in judged.items():
        number = wanted.get(item.qid, {}).get(item.docid)
        if number is not None:
            value = item.record.get(of)
            if not isinstance(value, int | float):
                raise item.fail(f"has no `{of}`", "Give --judged-by grade")
            found[number] = value
    if np.isnan(found).all():
        raise InputError(folder, f"judges nothing of {source.folder}", "Do they belong together?")
    return found


def at_least(judged: NDArray[np.float64], lowest: float) -> Filter:
    """Drop records whose judged grade is below `lowest`, and those that were not judged."""
    return _unless(judged, "judged", lambda _, grade: grade >= lowest)


def close_to(judged: NDArray[np.float64], most: float) -> Filter:
    """Drop records whose judged grade differs from theirs by more than `most`, and those that were not judged."""
    return _unless(judged, "judged_otherwise", lambda item, grade: abs(grade - item.grade) <= most)


def _unless(judged: NDArray[np.float64], reason: str, good: Callable[[Item, float], bool]) -> Filter:
    """Drop records that are not judged, or of which their judged grade is not good."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            grade = float(judged[item.number])
            if math.isnan(grade):
                yield Drop(item.number, "not_judged", None)
            elif not good(item, grade):
                yield Drop(item.number, reason, grade)

    return drop
