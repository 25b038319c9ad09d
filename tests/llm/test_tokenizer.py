"""Counting and cutting by a model's own tokens, and prompts as token ids."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.llm.records import Message
from gradir.llm.tokenizer import Tokenizer
from gradir.llm.tokens import Estimated

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


@settings(deadline=None, max_examples=300)
@given(text=TEXTS, tokens=st.integers(0, 60))
def test_a_cut_is_where_the_last_token_ends(tokenizer: Tokenizer, text: str, tokens: int) -> None:
    """The oracle is where the tokenizer's offsets say that its tokens are."""
    if unicodedata.normalize("NFC", text) != text:
        return
    spans = tokenizer.backend(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    if len(spans) <= tokens:
        assert tokenizer.cut(text, tokens) == text
        return
    end = min(spans[tokens - 1][1], spans[tokens][0]) if tokens else 0
    while tokenizer.count(text[:end]) > tokens:
        end -= 1
    assert tokenizer.cut(text, tokens) == text[:end]


def test_where_characters_are_composed_a_cut_is_between_any_two(tokenizer: Tokenizer) -> None:
    text = "Cafe\u0301 " * 20
    for tokens in range(1, tokenizer.count(text)):
        cut = tokenizer.cut(text, tokens)
        assert tokenizer.count(cut) <= tokens < tokenizer.count(text[: len(cut) + 1])


def test_long_texts_are_cut_without_reading_all_of_them(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    read, whole = list[int](), tokenizer.ids

    def ids(text: str, special: bool = False) -> list[int]:
        read.append(len(text))
        return whole(text, special)

    monkeypatch.setattr(tokenizer, "ids", ids)
    assert tokenizer.cut("The wing spar " * 50_000, 3) == "The wing spar"
    assert tokenizer.cut("Cafe\u0301 " * 50_000, 3).startswith("Ca")
    assert max(read) < 1000
    blanks = " " * 500 + "x"  # tokens longer than thought: more is read
    assert tokenizer.cut(blanks, tokenizer.count(blanks)) == blanks


@given(text=st.text(), tokens=st.integers(-1, 60))
def test_an_estimated_cut_is_the_longest_that_fits(text: str, tokens: int) -> None:
    guess = Estimated()
    fitting = [length for length in range(len(text) + 1) if guess.count(text[:length]) <= tokens]
    assert guess.cut(text, tokens) == text[: max(fitting, default=0)]


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


def test_code_of_a_model_is_not_run_and_nobody_is_asked_to(
    tiny_llm: Path, tmp_path: Path, raises_error: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradir.llm.hf_engine import open_engine

    folder, ran = Path(shutil.copytree(tiny_llm, tmp_path / "theirs")), tmp_path / "ran"
    (folder / "theirs.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass Tokenizer: ...\nclass Config: ...\n"
    )
    told = {
        "config.json": {"AutoConfig": "theirs.Config"},
        "tokenizer_config.json": {"AutoTokenizer": ["theirs.Tokenizer", None]},
    }
    for name, mapped in told.items():
        value = json.loads((folder / name).read_text()) | {"auto_map": mapped}
        value |= {"model_type": "theirs"} if name == "config.json" else {"tokenizer_class": "Theirs"}
        (folder / name).write_text(json.dumps(value))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with raises_error(str(folder), "tokenizer cannot be loaded"):
        Tokenizer(str(folder))
    with raises_error(str(folder), "cannot be loaded"):
        open_engine(str(folder), None, {"device": "cpu"})
    assert not ran.exists()
