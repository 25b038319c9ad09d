"""The vocabulary of a tokenizer as the terms of sparse vectors: position = id."""

from __future__ import annotations

from typing import Any


def size(tokenizer: Any) -> int:
    """One more than the highest id: added tokens may leave holes, so that it can be more than the number of tokens."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def terms_by_id(tokenizer: Any, rows: int) -> list[str]:
    """The term of each of the model's `rows` ids; an id that stands for no token has a name that no text can hold."""
    terms = [f"[no-token-{i}]" for i in range(rows)]
    for token, i in tokenizer.get_vocab().items():
        terms[i] = token
    return terms


def ids_without_token(tokenizer: Any, rows: int) -> list[int]:
    """Ids of the model that stand for no token: vocabularies are often padded to a round number of rows."""
    return sorted(set(range(rows)).difference(tokenizer.get_vocab().values()))


def special_ids(tokenizer: Any) -> list[int]:
    """Ids of the special tokens ([CLS], [SEP], [PAD], …), ascending."""
    return sorted(set(tokenizer.all_special_ids))


def prefix_length(tokenizer: Any, prefix: str) -> int:
    """Tokens that a prefix takes at the start of a text, the special ones before it included; 0 where there is no prefix."""
    if not prefix:
        return 0
    ids = tokenizer(prefix)["input_ids"]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids)
