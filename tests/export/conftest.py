"""Exported encoders that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

Outputs = Callable[..., Tensor]

# Of unlike length, one of them empty, more than one batch.
TEXTS = (
    "a wing spar",
    "",
    "the boundary layer of a flat plate, measured in a wind tunnel",
    "x",
    "aluminium wing " * 30,
)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture(scope="session")
def splade_export(splade_dir: Path, corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(folder, outcome) of MiniLM as SPLADE with every form, checked."""
    from gradir.export import run

    output = tmp_path_factory.mktemp("relevance") / "splade-x"
    forms = {"onnx": True, "int8": True, "anserini": True, "pyserini_compat": True}
    outcome = run(str(splade_dir), output, check=True, corpus=str(corpus_file), samples=8, **forms)
    return output, outcome


@pytest.fixture(scope="session")
def dense_export(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(folder, outcome) of MiniLM with every form, checked."""
    from gradir.export import run

    output = tmp_path_factory.mktemp("encoders") / "minilm"
    outcome = run(str(minilm), output, int8=True, anserini=True, pyserini_compat=True, check=True)
    return output, outcome


@pytest.fixture(scope="session")
def torch_outputs() -> Outputs:
    """`torch_outputs(folder, texts, side)`: what torch gives one text at a time, without padding."""

    def outputs(folder: Any, texts: Sequence[str], side: str = "passage") -> Tensor:
        model, tokenizer = (
            (folder.query_model, folder.query_tokenizer) if side == "query" else (folder.model, folder.tokenizer)
        )
        rows = []
        for text in texts:
            ids = tokenizer(
                folder.config.prefix(side) + text, truncation=True, max_length=folder.config.max_length(side)
            )
            row = torch.tensor([ids["input_ids"] or [tokenizer.pad_token_id]])
            with torch.inference_mode():
                rows.append(model(row, torch.ones_like(row))[0])
        return torch.stack(rows)

    return outputs
