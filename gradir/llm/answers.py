"""What vLLM and servers have in common in their answers."""

from __future__ import annotations

from collections.abc import Iterable

from gradir.llm.records import Choice, Sampling

FORBIDDEN = -9000.0  # servers write -9999 for a token that a grammar rules out: JSON has no infinity


def drawn(sampling: Sampling) -> int:
    """How many answers to ask for: the likeliest tokens are the same each time, and vLLM refuses to write them twice."""
    return 1 if sampling.temperature == 0 else sampling.n


def all_of(choices: tuple[Choice, ...], sampling: Sampling) -> tuple[Choice, ...]:
    """The `n` answers, where `drawn` of them were made."""
    return choices * sampling.n if drawn(sampling) < sampling.n else choices


def likeliest(tokens: Iterable[tuple[str, float]], count: int) -> dict[str, float]:
    """The `count` likeliest tokens in falling order, less those that are ruled out or are pieces of characters.

    Engines add the drawn token where it is not among them, in an order of their own. Pieces of characters have no text by which
    one would be told from the other.
    """
    found: dict[str, float] = {}
    for text, value in sorted(tokens, key=lambda one: (-one[1], one[0]))[:count]:
        if value > FORBIDDEN and text and "\ufffd" not in text:
            found.setdefault(text, value)
    return found
