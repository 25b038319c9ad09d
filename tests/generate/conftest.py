"""A tiny language model for all tests of generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.llm.tiny import make_tiny


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Qwen2 with a chat template; prompts with examples need a context of some thousand tokens."""
    return make_tiny(tmp_path_factory.mktemp("llm") / "tiny", context=4096, whole=True)
