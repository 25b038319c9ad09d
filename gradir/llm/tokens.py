"""Cutting by tokens: one way for a tokenizer at hand and for one at a server, so that both cut a text at the same place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

_LONGEST = 16  # characters that a token has at most, mostly; where it does not hold, more text is read
_MARGIN = 8  # tokens more than are wanted: where the text that is read ends, it is read otherwise
_BROKEN = "\ufffd"  # what a piece of a character is decoded as


def cut(text: str, tokens: int, ids: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str]) -> str:
    """The beginning of a text: whole tokens and whole characters, at most so many tokens when counted alone.

    Args:
        text: Of any length; no more of it is read than is needed.
        tokens: Most tokens.
        ids: Token ids of a text, without special ones.
        decode: Their text, special ones too. Where it is not what was written (composed characters, say), the cut is between
            any two characters.
    """
    if tokens <= 0:
        return ""
    reach = (tokens + _MARGIN) * _LONGEST
    while len(read := ids(text[:reach])) <= tokens and reach < len(text):
        reach *= 2
    if len(read) <= tokens:
        return text
    beginning = _beginning(text, decode(read[:tokens]))
    if beginning is None:
        return longest(text[:reach], tokens, lambda part: len(ids(part)))
    while beginning and len(ids(beginning)) > tokens:  # it may be read otherwise when it stands alone
        beginning = beginning[:-1]
    return beginning


def _beginning(text: str, decoded: str) -> str | None:
    """What was decoded, without the pieces of a character at its end; None if the text does not begin so."""
    while not text.startswith(decoded) and decoded.endswith(_BROKEN):
        decoded = decoded[:-1]
    return decoded if text.startswith(decoded) else None


def longest(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """A beginning that has at most so many tokens, and with one more character would have more; or the whole text."""
    if count(text) <= tokens:
        return text
    return text[: bisect_right(range(len(text)), tokens, key=lambda length: count(text[:length])) - 1]


class Estimated:
    """Counts and cuts where nobody knows the model's tokens."""

    def count(self, text: str) -> int:
        """Tokens that a text hardly exceeds: one for three ASCII characters, two for any other character."""
        plain = sum(character.isascii() for character in text)
        return -(-plain // 3) + 2 * (len(text) - plain)

    def cut(self, text: str, tokens: int) -> str:
        """The longest beginning of at most so many tokens."""
        return longest(text, tokens, self.count) if tokens > 0 else ""
