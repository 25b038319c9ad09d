"""The model's tokens as a vLLM server tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from gradir.llm.tokenizer import Tokenizer
from gradir.llm.tokens import cut

# What tokenizers of equal vocabularies take apart differently: digits, code, runs of blanks, characters written in two ways.
_PROBE = (
    "The measurements were taken at speed: m×m spatial-merge_blocks(0:12345) don't  \n\n\tx\u00a0e\u0301 Straße 日本語 🚀\r\n"
    "  DON'T {}..."
)
_KEPT = 64  # texts whose tokens are kept: what is asked twice is asked soon again


class ServedTokens:
    """Counts and cuts by the server's own tokenizer: a text is one question, a cut three.

    Args:
        model: The server's word for it.
        ask: Asks the server: a path, a body, and what reads the answer.

    Raises:
        GradirError: From `ask`, on every use.
    """

    def __init__(self, model: str, ask: Callable[[str, Mapping[str, Any], Callable[[dict[str, Any]], Any]], Any]):
        self._model, self._ask = model, ask
        self._ids = lru_cache(_KEPT)(self._ask_ids)

    def count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        return len(self._ids(text))

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text, as `gradir.llm.tokens.cut`."""
        return cut(text, tokens, self._ids, self._decode)

    def equal(self, tokenizer: Tokenizer) -> bool:
        """Whether a tokenizer takes apart a text of many traps as the server does.

        Equal files are not enough: releases of transformers make different tokenizers of them.
        """
        return self._ids(_PROBE) == tuple(tokenizer.ids(_PROBE))

    def _ask_ids(self, text: str) -> tuple[int, ...]:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        ids: tuple[int, ...] = self._ask("/tokenize", body, lambda answer: tuple(map(int, answer["tokens"])))
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        body = {"model": self._model, "tokens": list(ids)}
        return str(self._ask("/detokenize", body, lambda answer: str(answer["prompt"])))
