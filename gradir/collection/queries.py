"""The query of a document: the first sentence of its docstring, where it is one that a person might search with."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from gradir.collection.text import Text

MIN_WORDS, MAX_WORDS, MIN_CONTENT_WORDS = 4, 30, 3
# Words of description that a document must have, with and without its first sentence
MIN_DESCRIBED = 20

_ABBREVIATIONS = ("e\\.g", "i\\.e", "vs", "cf", "etc", "al", "Fig", "Eq", "no", "approx", "resp", "[A-Z]")
_NOT_AN_END = "".join(rf"(?<!\b{abbreviation})" for abbreviation in _ABBREVIATIONS)
_END = re.compile(rf"{_NOT_AN_END}[.!?](?=\s+[A-Z\"(`'\[]|\s*$)")
# `… is given by` and a formula: the sentence goes on in what is no prose
_UNFINISHED = re.compile(r"(:|,|\b(by|is|are|as|where|the|a|of|to|for|with|in|and|or|from|that|e\.g\.|i\.e\.))$")
_REFERENCE = re.compile(
    r"^(see|refer to|alias (for|of|to)|same as|equivalent to|in-?place version|out-of-place version"
    r"|functional (interface|version)|this is an alias|please (see|refer)|copied from|adapted from)\b",
    re.I,
)
_ENTRY = re.compile(
    r"^[-*•]|^[\w*]+(, [\w*]+)* ?\((?:[^()]|\([^()]*\))*\) ?:|^[\w*`]+ ?: |^(args|arguments|parameters|returns?|inputs?) ?:",
    re.IGNORECASE,
)
_COMMON_WORDS = """
a an and any are as at be been but by can do does each either else for from get has have how if in into is it its may more no
nor not of on one only or other over per return returns set sets gets should so some such than that the their them then there
these this those to up use used uses using via was were what when where whether which while will with within you your given
self object class function method value values based instance
"""
_STOP = frozenset(_COMMON_WORDS.split())


def first_sentence(text: Text) -> str:
    """The first sentence; empty where the docstring begins with a heading or a list."""
    if not text.paragraphs or text.paragraphs[0][0]:
        return ""
    paragraph = text.paragraphs[0][1]
    end = _END.search(paragraph)
    return paragraph[: end.end()] if end else paragraph


def is_list_entry(paragraph: str) -> bool:
    """Whether a paragraph is an entry of an argument list rather than a sentence."""
    return _ENTRY.match(paragraph) is not None


def without_first_sentence(text: Text) -> Text:
    """The text that is left when its first sentence has become a query."""
    sentence, (section, paragraph) = first_sentence(text), text.paragraphs[0]
    rest = paragraph[len(sentence) :].strip()
    paragraphs = [(section, rest)] if any(map(str.isalnum, rest)) else []
    described = text.described - len(re.findall(r"[A-Za-z]{2,}", sentence))
    return Text([*paragraphs, *text.paragraphs[1:]], described, text.see_also)


def words(text: str) -> list[str]:
    """Lower-case words and numbers, underscores dividing."""
    return re.findall(r"[^\W_]+", text.lower())


def folded(name: str) -> str:
    """A name in lower case and without underscores: `k_means` and `KMeans` are one."""
    return name.lower().replace("_", "")


_ENDINGS = {"s", "es", "d", "ed", "ing", "er", "ly", "al"}


def names_itself(sentence: str, name: str) -> bool:
    """Whether a sentence holds the object's own name: also spelt apart (`k means`) or inflected (`sorted` for `sort`)."""
    own, tokens = folded(name), words(sentence)
    if not own:
        return False
    for start in range(len(tokens)):
        joined = ""
        for token in tokens[start : start + 6]:
            joined += token
            if joined == own or (len(own) > 2 and joined.startswith(own) and joined[len(own) :] in _ENDINGS):
                return True
            if len(joined) > len(own) + 3:
                break
    return False


def refusal(sentence: str, names: Iterable[str], left: int) -> str:
    """Why a first sentence gives no query; empty if it does.

    Args:
        sentence: The first sentence.
        names: The object's own names: as defined, and as users know it.
        left: Words of description left in the document without the sentence.
    """
    tokens = sentence.split()
    content = {word for word in words(sentence) if word not in _STOP and len(word) > 1 and not word.isdigit()}
    clean = [
        token for token in tokens if re.fullmatch(r"[(\"'“]*[A-Za-z][A-Za-z'’/-]*[)\"'”,;:.!?]*|[0-9]+[,.]?", token)
    ]
    rules = [
        (not sentence, "begins with a heading or a list"),
        (is_list_entry(sentence), "is an argument list"),
        (bool(_UNFINISHED.search(sentence)), "goes on in what follows it (a list, a formula)"),
        (not MIN_WORDS <= len(tokens) <= MAX_WORDS, f"is not of {MIN_WORDS} to {MAX_WORDS} words"),
        (bool(_REFERENCE.match(sentence)), "only refers to another object"),
        ("deprecated" in sentence.lower() or "todo" in sentence.lower(), "says deprecated or to do"),
        (any(names_itself(sentence, name) for name in names), "holds the object's own name"),
        (len(clean) < 0.7 * len(tokens), "is mostly code or formulas"),
        (len(content) < MIN_CONTENT_WORDS, f"has fewer than {MIN_CONTENT_WORDS} telling words"),
        (left < MIN_DESCRIBED, "leaves too little text in its document"),
    ]
    return next((reason for broken, reason in rules if broken), "")


def repeated(sentences: Iterable[str]) -> set[str]:
    """The normalised sentences that occur more than once."""
    counts = Counter(" ".join(words(sentence)) for sentence in sentences if sentence)
    return {sentence for sentence, count in counts.items() if count > 1}


def found_in(sentences: dict[str, str], bodies: Iterable[str]) -> set[str]:
    """Which sentences stand word for word in some body.

    Args:
        sentences: Sentence by any key.
        bodies: Texts without their own first sentences.
    """
    by_start: dict[tuple[str, ...], list[tuple[list[str], str]]] = defaultdict(list)
    for key, sentence in sentences.items():
        tokens = words(sentence)
        by_start[tuple(tokens[:3])].append((tokens, key))
    found = set()
    for body in bodies:
        tokens = words(body)
        for start, triple in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
            for wanted, key in by_start.get(triple, ()):
                if tokens[start : start + len(wanted)] == wanted:
                    found.add(key)
    return found
