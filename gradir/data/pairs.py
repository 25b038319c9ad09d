"""Self-supervised pairs: a (query, document) made from one document, without anybody's judgement.

Each kind is a function of a document and a seeded `random.Random`, and gives None where the document is too short for it. The
same document and the same state of the generator give the same pair.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from gradir.data.records import Document

Pair = tuple[str, str]  # (query, document)

FEWEST_WORDS = 3  # of what shall be a query
_LONGEST_ABBREVIATION = 24

# Scripts that are written without spaces: Chinese characters, the Japanese syllabaries.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")

_BLANK_LINE, _SMALL = r"\n[^\S\n]*+\n", "[a-zß-öø-ÿа-яё]"
_CLOSING = "\"'”’»)\\]）」』】》"
# A blank line; a full-width mark; or a mark and white space before something that can begin a sentence.
_END = re.compile(
    rf"{_BLANK_LINE}\s*+"
    rf"|(?<=[。！？｡︒])(?![。！？｡︒{_CLOSING}])\s*+"
    rf"|(?<=[。！？｡︒][{_CLOSING}])(?![{_CLOSING}])\s*+"
    rf"|(?<=[.!?…؟।॥])\s++(?!{_SMALL})"
    rf"|(?<=[.!?…؟।॥][{_CLOSING}])\s++(?!{_SMALL})"
)
# What a full stop may follow without ending a sentence: an initial, a short number, U.S. and e.g., a few titles.
_NO_END = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:[^\W\d_]|\d{1,2}|\w+(?:\.\w+)+|Dr|Mr|Mrs|Ms|Prof|St|vs|cf|al|Fig|Figs|Eq|No)\.$"
)


def crop(document: Document, draw: random.Random, shortest: float = 0.05, longest: float = 0.5) -> Pair | None:
    """Independent cropping (Contriever, Izacard et al. 2021, arXiv 2112.09118): two random spans of the document's words.

    Each span's share of the words is uniform, its place too; the two may overlap. A span never has fewer than `FEWEST_WORDS`
    words. A word is what stands between white space, or one character of a script that is written without.

    Args:
        document: Its title and text.
        draw: The source of chance.
        shortest: Least share of the words, above 0.
        longest: Largest share, up to 1.

    Returns:
        Both spans as they stand in `document.contents`; None where there are fewer than twice `FEWEST_WORDS` words.

    Raises:
        ValueError: Not 0 < shortest <= longest <= 1.
    """
    if not 0 < shortest <= longest <= 1:
        raise ValueError(f"shares from {shortest} to {longest}: they must rise and lie above 0, up to 1")
    text = document.contents
    words = [word.span() for word in _WORD.finditer(text)]
    if len(words) < 2 * FEWEST_WORDS:
        return None
    return _span(text, words, draw, shortest, longest), _span(text, words, draw, shortest, longest)


def _span(text: str, words: list[tuple[int, int]], draw: random.Random, shortest: float, longest: float) -> str:
    size = max(FEWEST_WORDS, round(draw.uniform(shortest, longest) * len(words)))
    first = draw.randint(0, len(words) - size)
    return text[words[first][0] : words[first + size - 1][1]]


def title(document: Document, draw: random.Random) -> Pair | None:
    """The title against the body; None where either is blank. Nothing is left to chance."""
    query, body = document.title.strip(), document.text.strip()
    return (query, body) if query and body else None


def cloze(document: Document, draw: random.Random, keep: float = 0.1) -> Pair | None:
    """Inverse cloze task (Lee et al. 2019, arXiv 1906.00300): one sentence of the text is the query, the rest the document.

    A sentence that occurs twice is taken out both times. The title, which stays before the rest, goes with it where it says
    the same.

    Args:
        document: Its text is split by `sentences`.
        draw: The source of chance.
        keep: The probability that the sentence stays in the document, so that equal words are learnt as well.

    Returns:
        None where no sentence has `FEWEST_WORDS` words, or nothing would be left beside it.
    """
    parts = sentences(document.text)
    long_enough = [part for part in parts if len(_WORD.findall(part)) >= FEWEST_WORDS]
    if not long_enough or len(set(parts)) < 2:
        return None
    query = draw.choice(long_enough)
    if draw.random() < keep:
        return query, document.contents
    rest = " ".join(part for part in parts if part != query)
    head = "" if document.title.strip() == query else document.title
    return query, Document(document.docid, rest, head).contents


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, stripped; no word is lost.

    A sentence ends at a blank line, after a full-width mark (。！？), or after `. ! ? … ؟ ।` (and closing quotes) before white
    space, unless a small letter follows, or the full stop belongs to an initial, a number of one or two digits, an
    abbreviation with a stop inside (e.g., U.S.) or one of a few titles. In doubt two sentences stay together.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        word = text[max(start, end.start() - _LONGEST_ABBREVIATION) : end.start()]
        if _NO_END.search(word) and not re.search(_BLANK_LINE, end.group()):
            continue
        found.append(text[start : end.start()])
        start = end.end()
    found.append(text[start:])
    return [sentence for part in found if (sentence := part.strip())]


PAIRS: dict[str, Callable[[Document, random.Random], Pair | None]] = {"crop": crop, "title": title, "cloze": cloze}
