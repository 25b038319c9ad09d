"""Encoders as ONNX files: pooling and activation inside the graph, batch and sequence dynamic."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradir.errors import GradirError, MissingDependency
from gradir.models.weights import bytes_needed

# 17 is known to ONNX Runtime since 1.13, and to the one inside Anserini.
_OPSET = 17
_LARGEST = 2**31  # bytes of one file, by the format
INSTALL = "pip install onnx"


def check_can_export(path: Path) -> None:
    """Refuse before any work is done.

    Raises:
        MissingDependency: `onnx` is not installed.
        GradirError: The weights are larger than an ONNX file may be.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependency("onnx", "gradir export --onnx", INSTALL) from error
    needed = bytes_needed(path)
    if needed >= _LARGEST:
        raise GradirError(
            f"{path}: its weights take {needed:,} bytes, an ONNX file holds 2 GB. Export it without --onnx."
        )


def write_graph(
    model: nn.Module, path: Path, inputs: Mapping[str, Tensor], output: str, note: Mapping[str, Any]
) -> None:
    """Write a model as an ONNX file. The model's attention is changed for good: use a copy.

    SPLADE's head stays tiled over the vocabulary, so that `[B, S, V]` does not exist in the graph either.

    Args:
        model: Called with the inputs in their order.
        path: The file.
        inputs: What the model is traced with, int64 [B, S] each: two texts of unlike length.
        output: The name of what it gives, [B, …].
        note: Kept in the file's metadata.
    """
    axes: dict[str, Any] = {name: {0: "batch", 1: "sequence"} for name in inputs}
    trace(model, path, inputs, {**axes, output: {0: "batch"}}, [output])
    with torch.no_grad():
        sizes = model(*inputs.values()).shape[1:]
    _annotate(path, note, sizes)


def trace(
    model: nn.Module, path: Path, inputs: Mapping[str, Tensor], axes: Mapping[str, Any], outputs: Sequence[str]
) -> None:
    """`torch.onnx.export` of a model in eval mode, without its warnings."""
    from transformers import PreTrainedModel

    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation("eager")  # exporters know the fused kinds only in some versions
    model.eval()  # the exporter would otherwise put parts back into train mode
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes that are constants here, an exporter that will go one day
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dict(axes),
        )


def _annotate(path: Path, note: Mapping[str, Any], sizes: Sequence[int]) -> None:
    """Put our note into an ONNX file, and the sizes of its output after the batch, which the exporter does not always know."""
    import onnx

    from gradir.engine.onnx_model import NOTE

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {NOTE: json.dumps(note, ensure_ascii=False)})
    for axis, size in zip(model.graph.output[0].type.tensor_type.shape.dim[1:], sizes, strict=True):
        axis.dim_value = size
    onnx.save(model, path)


def sample_inputs(tokenizer: Any, names: Sequence[str] = ("input_ids", "attention_mask")) -> dict[str, Tensor]:
    """Two texts of unlike length, as a model takes them, int64 [2, S] each."""
    ids: list[list[int]] = tokenizer(["one text", "and another, a longer one"])["input_ids"]
    ids = [row or [0] for row in ids]  # a tokenizer that knows no word of these
    longest = max(map(len, ids)) + 1  # so that one position is padding in both
    padding = tokenizer.pad_token_id or 0
    tensors = {
        "input_ids": torch.tensor([row + [padding] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
    }
    tensors["token_type_ids"] = torch.zeros_like(tensors["input_ids"])
    return {name: tensors[name] for name in names}
