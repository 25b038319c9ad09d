"""Answers that are no query or document: refusals, phrases around an answer, markers of the prompt, endless repetition, nothing.

The patterns stand in boilerplate.yaml, by language. A text is taken for repetition if it has 20 words or more, and more than half
of its runs of three words came before in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple

from gradir.data.same_text import same_text
from gradir.generate.filters import Drop, Items
from gradir.generate.filters.words import words

KINDS = ("refusals", "boilerplate", "markers")
_REASONS = {"refusals": "refusal", "boilerplate": "boilerplate", "markers": "marker"}
_LONG = 20  # words


class Found(NamedTuple):
    """What is wrong with a text, and the words that say so."""

    reason: str
    value: str | float


def boilerplate(items: Items) -> Iterator[Drop]:
    """Drop records whose text is no query or document."""
    for item in items:
        found = defect(item.made)
        if found:
            yield Drop(item.number, *found)


def defect(text: str) -> Found | None:
    """What makes a text useless, the first that applies; None for a sound one."""
    text = same_text(text)
    if not text:
        return Found("empty", "")
    for kind, pattern in _patterns().items():
        match = pattern.search(text)
        if match:
            return Found(_REASONS[kind], match[0])
    share = repeated(text)
    return Found("repetition", round(share, 6)) if share > 0.5 else None


def repeated(text: str) -> float:
    """Share of a text's runs of three words that came before in it; 0 for a text below 20 words."""
    found = words(text)
    if len(found) < _LONG:
        return 0.0
    runs = list(zip(found, found[1:], found[2:], strict=False))
    return 1 - len(set(runs)) / len(runs)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """One pattern of each kind."""
    import yaml

    text = resources.files("gradir.generate.filters").joinpath("boilerplate.yaml").read_text(encoding="utf-8")
    listed = yaml.safe_load(text)
    return {kind: re.compile("|".join(f"(?:{one})" for of in listed[kind].values() for one in of)) for kind in KINDS}
