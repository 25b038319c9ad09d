"""8-bit graphs: close to float32, and every text by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.engine.onnx_model import OnnxModel
from gradir.export.int8 import _to_int8
from gradir.models.folder import open_folder


@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_is_off_by_at_most_half_a_step(axis: int) -> None:
    matrix = np.random.default_rng(3).normal(size=(50, 70)).astype(np.float32)
    matrix[:, 7] = 0  # a column of zeros, as padding rows of embeddings have
    integers, scales = _to_int8(matrix, axis)
    assert integers.dtype == np.int8
    assert scales.shape == ((1, 70) if axis == 0 else (50, 1))
    assert (np.abs(integers * scales - matrix) <= scales / 2 * 1.0001).all()
    assert np.abs(integers).max() == 127


def test_a_vector_does_not_depend_on_its_batch(splade_export: tuple[Path, Any], texts: list[str]) -> None:
    """Where all states of a batch share a scale, as ONNX Runtime's own quantisation has it, this fails."""
    folder = open_folder(splade_export[0])
    model = OnnxModel(splade_export[0] / "model_int8.onnx")
    together = folder.tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    rows = model(together["input_ids"], together["attention_mask"])
    for text, row in zip(texts, rows, strict=True):
        alone = folder.tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
        assert torch.allclose(model(alone["input_ids"], alone["attention_mask"])[0], row, atol=2e-2)


def test_it_is_a_good_deal_closer_than_one_scale_a_batch(
    splade_export: tuple[Path, Any], sentences: list[str], tmp_path: Path
) -> None:
    """Against onnxruntime.quantization.quantize_dynamic, per channel, of the same graph."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(splade_export[0] / "model.onnx"), str(tmp_path / "folded.onnx"), skip_symbolic_shape=True)
    quantize_dynamic(tmp_path / "folded.onnx", tmp_path / "theirs.onnx", per_channel=True, weight_type=QuantType.QInt8)
    folder = open_folder(splade_export[0])
    tokens = folder.tokenizer(sentences[:8], padding=True, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    with torch.inference_mode():
        expected = folder.model(ids, mask)
    ours, theirs = (
        torch.nn.functional.cosine_similarity(OnnxModel(path)(ids, mask), expected).mean()
        for path in (splade_export[0] / "model_int8.onnx", tmp_path / "theirs.onnx")
    )
    assert ours > 0.99
    assert 1 - ours < 0.5 * (1 - theirs)


def test_the_file_is_less_than_half_as_large(splade_export: tuple[Path, Any], dense_export: tuple[Path, Any]) -> None:
    for folder in (splade_export[0], dense_export[0]):
        assert (folder / "model_int8.onnx").stat().st_size < 0.45 * (folder / "model.onnx").stat().st_size


def test_all_operators_are_plain_onnx(splade_export: tuple[Path, Any]) -> None:
    import onnx

    model = onnx.load(splade_export[0] / "model_int8.onnx")
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
