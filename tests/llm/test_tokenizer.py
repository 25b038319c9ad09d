"""Counting and cutting by a model's own tokens, and prompts as token ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.llm.records import Message
from gradir.llm.tokenizer import Tokenizer

PIECES = [
    "The wing spar",
    " grade",
    "日本語",
    "🚀",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "\n\n",
    "   ",
    "0123",
    "<|im_end|>",
    "x",
    "Straße",
    "\ufffd",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> Tokenizer:
    return Tokenizer(str(tiny_llm))


@settings(deadline=None, max_examples=300)
@given(text=TEXTS, tokens=st.integers(-1, 60))
def test_a_cut_is_the_beginning_in_whole_characters(tokenizer: Tokenizer, text: str, tokens: int) -> None:
    cut = tokenizer.cut(text, tokens)
    assert text.startswith(cut)
    assert tokenizer.count(cut) <= max(tokens, 0)
    if tokenizer.count(text) <= tokens:
        assert cut == text
    else:  # no more is left out than a character's pieces, and what is read otherwise at the end
        assert tokenizer.count(cut) >= tokens - 6


def test_a_character_in_pieces_is_in_or_out(tokenizer: Tokenizer) -> None:
    """The rocket has three tokens, of which the first holds the space before it."""
    assert tokenizer.count("The 🚀") == 4
    assert [tokenizer.cut("The 🚀 x", n) for n in range(1, 6)] == ["The", "The ", "The ", "The 🚀", "The 🚀 "]


def test_long_texts_are_cut_without_reading_all_of_them(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    backend = tokenizer.backend

    class Recorded:
        is_fast = True

        def __call__(self, text: str, **options: Any) -> Any:
            read.append(len(text))
            return backend(text, **options)

    monkeypatch.setattr(tokenizer, "backend", Recorded())
    assert tokenizer.cut("The wing spar " * 50_000, 3) == "The wing spar"
    assert max(read) < 1000
    blanks = " " * 500 + "x"  # tokens longer than thought: more is read
    assert tokenizer.cut(blanks, tokenizer.count(blanks)) == blanks


def test_slow_tokenizers_cut_alike(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The wing spar 🚀 grade 日本語"
    fast = [tokenizer.count(tokenizer.cut(text, n)) for n in range(16)]
    monkeypatch.setattr(type(tokenizer.backend), "is_fast", False)
    slow = [tokenizer.count(tokenizer.cut(text, n)) for n in range(16)]
    assert all(0 <= b - a <= 1 for a, b in zip(fast, slow, strict=True))


def test_decoding_leaves_out_pieces_at_the_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.prompt_ids("The 🚀日")
    texts = [tokenizer.decode(ids[:length]) for length in range(len(ids) + 1)]
    assert texts[0] == ""
    assert texts[-1] == "The 🚀日"
    assert not any("\ufffd" in text for text in texts)
    assert tokenizer.decode([*ids, tokenizer.backend.eos_token_id]) == "The 🚀日"


def test_a_chat_is_what_the_template_says(tokenizer: Tokenizer) -> None:
    chat = (Message("system", "Be brief."), Message("user", "hi"))
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.chat(chat) == text
    assert tokenizer.prompt_ids(chat) == tokenizer.backend(text, add_special_tokens=False).input_ids
    told = [message._asdict() for message in chat]
    whole = tokenizer.backend.apply_chat_template(told, add_generation_prompt=True, return_dict=False)
    assert tokenizer.prompt_ids(chat) == whole


def test_a_model_without_a_chat_template(tiny_llm: Path, tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    folder = Path(shutil.copytree(tiny_llm, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    tokenizer = Tokenizer(str(folder))
    assert tokenizer.prompt_ids("hi")
    with raises_error(str(folder), "no chat template", "mode: completion"):
        tokenizer.prompt_ids((Message("user", "hi"),))


def test_a_template_that_refuses(tiny_llm: Path, tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    folder = Path(shutil.copytree(tiny_llm, tmp_path / "strict"))
    (folder / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    with raises_error(str(folder), "System role not supported"):
        Tokenizer(str(folder)).prompt_ids((Message("system", "hi"),))


def test_no_tokenizer(tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    with raises_error(str(tmp_path), "tokenizer cannot be loaded"):
        Tokenizer(str(tmp_path))
