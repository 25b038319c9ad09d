"""Queries through ONNX Runtime find what they find through torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradir import export, search
from gradir.errors import GradirError


def test_onnx(indexed: Any, splade: Path, collection: Path, read: Any, tmp_path: Path) -> None:
    export.run(str(splade), tmp_path / "splade", onnx=True)
    given: tuple[Any, ...] = (indexed("impact"), str(collection))
    search.run(*given, tmp_path / "torch.trec", str(splade), device="cpu", dtype="float32")
    # forced: the export wrote the same weights in another layout
    exported: dict[str, Any] = {"encoder": str(tmp_path / "splade"), "backend": "onnx", "force": True}
    search.run(*given, tmp_path / "onnx.trec", device="cpu", **exported)
    ours, theirs = read(tmp_path / "onnx.trec"), read(tmp_path / "torch.trec")
    assert list(ours) == list(theirs)
    for qid, hits in theirs.items():  # a weight may be rounded to the next integer
        assert dict(ours[qid]) == pytest.approx(dict(hits), rel=0.02)
    config = json.loads((tmp_path / "onnx.trec.manifest.json").read_text())["config"]
    assert config["encoder"]["backend"] == "onnx"


def test_a_folder_without_the_model(indexed: Any, splade: Path, collection: Path, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match=r"model\.onnx"):
        search.run(indexed("impact"), str(collection), tmp_path / "run.trec", str(splade), backend="onnx")
    assert not (tmp_path / "run.trec").exists()
