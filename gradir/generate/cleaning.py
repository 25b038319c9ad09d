"""What a model wrote, as a query: one line without quotes and list marks, or the reason why it is none."""

from __future__ import annotations

import re
from typing import NamedTuple

from gradir.generate.prompts import SLOT, Prompt

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)
_MARK = re.compile(
    r"(?:[-*•–—>]\s+|#{1,6}\s+|\(?\d{1,2}[.)]\s+|\(?[a-z][.)]\s+)"
)  # of a list, a heading or a quotation
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "“": "”",
    "„": "“",
    "‘": "’",
    "«": "»",
    "»": "«",
    "「": "」",
    "『": "』",
    "*": "*",
}
_CHAT_CUE = (  # how chat models begin
    r"(?:search )?(?:query|queries|question|words|keywords|title|claim|statement|answer)(?: of grade \d)?"
)
SPECIAL = re.compile(  # what models end answers, or begin turns of a chat with
    r"<[|｜][^|｜<>\n]{1,60}[|｜]>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<</?SYS>>"
)
_AGAIN = re.compile(r"(.{1,80}?)\1{3,}", re.DOTALL)  # something four times or more, one right after another
_LONG_AGAIN = 24  # characters of all of them together: "no, no, no, no" is language

BROKEN = "\ufffd"  # what a piece of a character is decoded as

REASONS = ("empty", "broken", "marker", "repetition", "duplicate")


class Cleaned(NamedTuple):
    """A query, or with a reason the words that are none."""

    text: str
    reason: str | None = None


class Cleaner:
    """Cleans the answers to a prompt.

    Dropped are white space at the ends, the piece of a character at which an answer was cut off, a thought (`<think>…</think>`),
    a first line that only announces the query and ends with a colon, the prompt's own cue, list marks, and quotation marks or
    emphasis around the whole. Of what is left the first line is the query. It is refused where it has no letter or digit
    (`empty`), holds a piece of a character elsewhere (`broken`), one of the prompt's labels, such as "Document:", or a special
    token (`marker`), or where something that follows on itself at least three times makes up 24 characters or more
    (`repetition`).

    Args:
        prompt: What was asked.
    """

    def __init__(self, prompt: Prompt):
        lines = f"{prompt.example}\n{prompt.body}".splitlines()
        labels = dict.fromkeys(filter(None, map(_label, lines)))
        self._marker = re.compile("|".join(rf"(?<!\w){label}" for label in labels)) if labels else None
        cue = _CHAT_CUE if prompt.mode == "chat" else (_label(prompt.body.rpartition("\n")[2]) or "").rstrip(":")
        self._cue = re.compile(rf"\**{cue}\**:\**\s*", re.IGNORECASE) if cue else None

    def clean(self, answer: str) -> Cleaned:
        """The query in an answer."""
        text = self._without_frame(_first_line(_THOUGHT.sub("", answer.rstrip(f"{BROKEN} \n"), count=1)))
        if not re.search(r"\w", text):
            return Cleaned(text, "empty")
        if BROKEN in text:
            return Cleaned(text, "broken")
        if SPECIAL.search(text) or (self._marker and self._marker.search(text)):
            return Cleaned(text, "marker")
        if any(len(found[0]) >= _LONG_AGAIN for found in _AGAIN.finditer(f"{text.lower()} ")):
            return Cleaned(text, "repetition")
        return Cleaned(text)

    def _without_frame(self, text: str) -> str:
        """Without cue, list mark and quotes, in whatever order they stand around each other."""
        while True:
            inner = text
            cue = self._cue.match(inner) if self._cue else None
            inner = inner[cue.end() :] if cue else inner
            mark = _MARK.match(inner)
            inner = _unquoted((inner[mark.end() :] if mark else inner).strip())
            if inner == text:
                return text
            text = inner


def _first_line(answer: str) -> str:
    """The first line that is not blank, nor announces the next; with single spaces and no control characters."""
    lines = [" ".join(_CONTROL.sub(" ", line).split()) for line in answer.splitlines()]
    lines = [line for line in lines if line]
    announced = len(lines) > 1 and lines[0].strip("*_").endswith(":")
    return lines[announced] if lines else ""


def _unquoted(text: str) -> str:
    """Without quotation marks or emphasis around the whole; one that is not closed, as the answer was cut off, goes too."""
    if text[:2] == "**" and text.endswith("**") and "**" not in text[2:-2]:
        return text[2:-2].strip()
    closing = _QUOTES.get(text[:1])
    if closing is None or (place := text.find(closing, 1)) == len(text) - 1:
        return text if closing is None else text[1:-1].strip()
    return text[1:].strip() if place < 0 and text[0] not in "'*" else text  # 'tis, *args


def _label(line: str) -> str | None:
    """A pattern for what a line of a prompt begins with, up to a colon: `Example 4:`, `Relevant Query in German:`."""
    found = re.match(r"\s*((?:[^\s:{}]|\{number\}|\{in_language\}| )+:)", line)
    if not found or len(found[1].split()) > 6:
        return None
    parts = SLOT.split(found[1])  # texts and names of slots in turn
    return "".join(_SLOTS.get(part, "") if i % 2 else re.escape(part) for i, part in enumerate(parts))


_SLOTS = {"number": r"\d+", "in_language": r"(?: in \w[\w -]*)?"}
