"""Texts to token ids, as the encoder's tokenizer would give them, without its wrapping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradir.errors import GradirError
from gradir.models.config import EncoderConfig, Side


class Tokens:
    """The tokenizer of one side: its prefix and its length.

    A fast tokenizer is asked directly and without offsets: the wrapper of Hugging Face costs half as much again, and several
    times the encoding itself where there is only one query.

    Args:
        tokenizer: A Hugging Face tokenizer.
        config: The encoder's configuration.
        side: Which prefix and length apply.

    Attributes:
        padding: The id that fills up a batch.
        nothing: Ids of the empty text: its prefix and special tokens.

    Raises:
        GradirError: Prefix and special tokens leave no room for a text.
    """

    def __init__(self, tokenizer: Any, config: EncoderConfig, side: Side):
        self._tokenizer, self._prefix, self._length = tokenizer, config.prefix(side), config.max_length(side)
        self.padding: int = tokenizer.pad_token_id or 0
        nothing: list[int] = tokenizer(self._prefix)["input_ids"]
        if len(nothing) >= self._length:
            raise GradirError(
                f"`max_{side}_length` is {self._length}, and special tokens and prefix alone take {len(nothing)}. "
                "Give a larger --max-length."
            )
        self.nothing = nothing or [self.padding]
        self._fast = _copied(tokenizer, self._length)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at least one: a tokenizer without special tokens gives an empty text none."""
        if not texts:
            return []
        prefixed = [self._prefix + text for text in texts] if self._prefix else list(texts)
        if self._fast is not None:
            return [encoded.ids or [self.padding] for encoded in self._fast.encode_batch_fast(prefixed)]
        rows: list[list[int]] = self._tokenizer(
            prefixed,
            truncation=True,
            max_length=self._length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return [row or [self.padding] for row in rows]

    def blank(self, text: str, ids: list[int]) -> bool:
        """Whether a text has no token of its own: nothing but white space, or characters that the tokenizer drops."""
        return ids == self.nothing or not text.strip()


def _copied(tokenizer: Any, length: int) -> Any:
    """The fast tokenizer inside, set to this length; None where there is none. A copy: every call of the wrapper sets it anew."""
    inside = getattr(tokenizer, "backend_tokenizer", None)
    if inside is None or not getattr(tokenizer, "is_fast", False):
        return None
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(inside.to_str())
    copy.no_padding()
    copy.enable_truncation(length, direction=tokenizer.truncation_side)
    copy.encode_special_tokens = inside.encode_special_tokens
    return copy
