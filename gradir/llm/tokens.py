"""Counting and cutting by tokens where the model itself is somewhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from gradir.errors import GradirError

_CACHED = 4096  # texts whose number of tokens is kept


class CountedTokens:
    """Cuts by anything that counts."""

    def __init__(self, count: Callable[[str], int]):
        self.count = lru_cache(_CACHED)(count)

    def cut(self, text: str, tokens: int) -> str:
        """A beginning that has at most so many tokens, and with one more character would have more; or the whole text."""
        if self.count(text) <= tokens:
            return text
        low, high = 0, len(text)  # the first `low` characters fit, the first `high` do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.count(text[:middle]) <= tokens else (low, middle)
        return text[:low]


def estimate(text: str) -> int:
    """Tokens that a text hardly exceeds: one for three ASCII characters, two for any other character."""
    plain = sum(character.isascii() for character in text)
    return -(-plain // 3) + 2 * (len(text) - plain)


def counter(name: str) -> Callable[[str], int]:
    """Counts by the tokenizer of a folder, of a `tokenizer.json`, or of a model on the hub.

    Raises:
        GradirError: There is none of that name.
    """
    from tokenizers import Tokenizer

    path = Path(name) / "tokenizer.json" if Path(name).is_dir() else Path(name)
    try:
        tokenizer = Tokenizer.from_file(str(path)) if path.exists() else Tokenizer.from_pretrained(name)
    except Exception as error:  # noqa: BLE001  what the library raises has no class of its own
        raise GradirError(
            f"tokenizer={name}: no tokenizer ({error}). Name a model on the hub, or a folder with tokenizer.json."
        ) from None
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
