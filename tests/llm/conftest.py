"""A tiny language model for all tests of the port, and small helpers around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.llm.tiny import make_tiny


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Qwen2 with a chat template and a context of 512 tokens."""
    return make_tiny(tmp_path_factory.mktemp("llm") / "tiny")


@pytest.fixture(scope="session")
def open_hf(tiny_llm: Path) -> Callable[..., Any]:
    """`open_hf(**options)`: the transformers engine of the tiny model, in float32 on the CPU."""
    from gradir.llm.hf_engine import open_engine

    def opened(**options: object) -> Any:
        values = {"dtype": "float32", "device": "cpu"} | {key: str(value) for key, value in options.items()}
        return open_engine(str(tiny_llm), None, values)

    return opened
