"""Texts as words: what lengths, overlaps and n-grams are counted in, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Scripts that put no blanks between words: each character is taken for one.
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Vowel signs of Indic scripts and combining accents are no word characters to Python, but inside words.
_INSIDE = "\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0900-\u0dff"
_WORD = re.compile(f"[{_ALONE}]|(?:(?![{_ALONE}])[\\w{_INSIDE}])+")


def words(text: str) -> list[str]:
    """The words of a text, normalised and case folded, without punctuation; of Chinese, Japanese, Thai, Khmer … the characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def share_found(query: Sequence[str], document: Sequence[str]) -> float:
    """Share of the query's distinct words that stand in the document; 0 for a query without words."""
    asked = set(query)
    return len(asked.intersection(document)) / len(asked) if asked else 0.0
