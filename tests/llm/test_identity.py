"""The identity of a model: its content where it is a folder, its name elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir.llm.identity import check_model, model_identity
from tests.llm.tiny import make_tiny


@pytest.fixture
def copy(tiny_llm: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llm, tmp_path / "copy"))


def test_a_folder_that_was_moved_is_the_same_model(tiny_llm: Path, copy: Path) -> None:
    assert model_identity(str(copy)) == model_identity(str(tiny_llm)) == model_identity(f"{tiny_llm}/")
    assert model_identity(str(copy)).startswith("sha256:")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"])
def test_settings_count(copy: Path, name: str) -> None:
    before = model_identity(str(copy))
    (copy / name).write_text((copy / name).read_text() + " ")
    assert model_identity(str(copy)) != before


def test_other_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    first, second = make_tiny(tmp_path / "a", seed=0), make_tiny(tmp_path / "b", seed=1)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (first, second)]
    assert sizes[0] == sizes[1]
    assert model_identity(str(first)) != model_identity(str(second))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_large_weights_are_read_in_blocks(copy: Path, share: float) -> None:
    """A sparse file of 1 GiB: read at its beginning, its end and between."""
    large = copy / "model-00002.safetensors"
    size = 2**30
    with large.open("wb") as stream:
        stream.truncate(size)
    before = model_identity(str(copy))
    with large.open("r+b") as stream:
        stream.seek(int((size - 2**20) * share))
        stream.write(b"x" * 2**20 * 17)  # longer than what lies between two blocks
        stream.truncate(size)
    assert model_identity(str(copy)) != before


def test_what_decides_nothing_does_not_count(copy: Path) -> None:
    before = model_identity(str(copy))
    (copy / "README.md").write_text("about")
    (copy / "manifest.json").write_text("{}")
    assert model_identity(str(copy)) == before


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B@main", "gpt-oss", "served/by/path"])
def test_other_names_are_themselves(name: str) -> None:
    assert model_identity(name) == name


@pytest.mark.parametrize("name", ["./no/such", "/no/such", "~/no/such", "a/b/c"])
def test_a_path_to_nothing(name: str, raises_error: Callable[..., Any]) -> None:
    with raises_error(name, "no such folder"):
        check_model(name)


def test_a_folder_without_a_model(tmp_path: Path, raises_error: Callable[..., Any]) -> None:
    with raises_error(str(tmp_path), "config.json"):
        check_model(str(tmp_path))
