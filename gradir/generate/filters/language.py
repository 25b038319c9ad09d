"""A light look at the language of a text: its script, and where several languages share one, their frequent words.

It does not tell languages apart as well as a trained model; it finds what a language model does wrong most often, which is to
answer in English or Chinese. A text without evidence (few letters, no frequent word) counts as right.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources

from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.words import words

_NAMES = {  # the first word of a character's Unicode name
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "ARABIC": "Arabic",
    "DEVANAGARI": "Devanagari",
    "CJK": "Han",
    "HIRAGANA": "Hiragana",
    "KATAKANA": "Katakana",
    "HANGUL": "Hangul",
    "GREEK": "Greek",
    "HEBREW": "Hebrew",
    "THAI": "Thai",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
}
_KANJI = 20  # characters up to which Japanese may do without kana
_ENOUGH = 2  # different frequent words that make a language likely
_CLEAR = 3  # the same where the text holds words of the language expected; and twice as many as of these


def other(expected: str) -> Filter:
    """Drop records whose text is in another language than `expected` (en, de, zh …)."""

    def drop(items: Items) -> Iterator[Drop]:
        for item in items:
            found = language_of(item.made, expected)
            if found not in (None, expected):
                yield Drop(item.number, "language", found)

    return drop


def known() -> list[str]:
    """The languages that are told apart."""
    words_of, script_of = _tables()
    return sorted({*(code for of in words_of.values() for code in of), *script_of.values()})


def language_of(text: str, expected: str | None = None) -> str | None:
    """The language of a text; None where there is too little to tell.

    Args:
        text: The text.
        expected: What it should be: another is only named where the evidence for it is clear.
    """
    script = _script(text)
    words_of, script_of = _tables()
    if script is None:
        return None
    if script == "Han" and expected == "ja" and len(text) < _KANJI:
        return None
    if script in script_of:
        return script_of[script]
    counts = {code: 0 for code in words_of[script]}
    for word in set(words(text)):
        for code, listed in words_of[script].items():
            counts[code] += word in listed
    best = max(counts, key=lambda code: (counts[code], code == expected))
    if expected in counts and counts[expected] and counts[best] < max(_CLEAR, 2 * counts[expected]):
        return expected
    return best if counts[best] >= _ENOUGH else None


def _script(text: str) -> str | None:
    """The script of most letters; kana make a text Japanese."""
    found: Counter[str] = Counter()
    for char, count in Counter(char for char in text if char.isalpha()).items():
        found[_NAMES.get(unicodedata.name(char, "").split(" ")[0], "")] += count
    if not found:
        return None
    if found["Hiragana"] + found["Katakana"] > 0.1 * found.total():
        return "Hiragana"
    script, count = max(found.items(), key=lambda one: (one[1], one[0]))
    return script if script and 2 * count > found.total() else None


@cache
def _tables() -> tuple[dict[str, dict[str, frozenset[str]]], dict[str, str]]:
    """Frequent words by script and language, and the languages of scripts that have one."""
    import yaml

    text = resources.files("gradir.generate.filters").joinpath("languages.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    script_of = table.pop("scripts")
    table.pop("format")
    return {script: {code: frozenset(of) for code, of in codes.items()} for script, codes in table.items()}, script_of
