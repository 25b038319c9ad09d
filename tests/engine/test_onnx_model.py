"""Models in ONNX Runtime against torch, and graphs that are missing, stale or damaged."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradir.engine.onnx_model import OnnxModel, graph_name, note_of, open_onnx
from gradir.export.files import write_encoder
from gradir.export.graphs import sample_inputs, write_graph
from gradir.export.int8 import write_int8
from gradir.models.folder import EncoderFolder, open_folder, write_splade_folder

FAMILIES = ["bert", "distilbert", "roberta", "modernbert"]
DENSE: list[dict[str, Any]] = [
    {"pooling": "mean"},
    {"pooling": "cls", "normalize": True},
    {"pooling": "max", "normalize": False},
    {"pooling": "last", "normalize": False},
    {"pooling": "mean", "dimensions": 8},
    {"pooling": "mean", "pool_prefix": False, "passage_prefix": "wing ", "query_prefix": "wing "},
]
SPLADE: list[dict[str, Any]] = [
    {"pooling": "max"},
    {"pooling": "sum"},
    {"expansion": False},
    {"activation": "log1p_relu"},
    {"special_tokens": "keep"},
]
BATCHES = [
    ["a wing spar of aluminium", "", "the boundary layer of a flat plate"],
    ["boundary"],
    ["a b c d e f g h i j k l m n o p", "x", "y z", "spar", "wing " * 70],
]


def batch(folder: EncoderFolder, texts: list[str], length: int = 60) -> tuple[Tensor, Tensor]:
    options: dict[str, Any] = {"padding": True, "truncation": True, "max_length": length, "return_tensors": "pt"}
    tokens = folder.tokenizer([folder.config.passage_prefix + text for text in texts], **options)
    return tokens["input_ids"], tokens["attention_mask"]


def with_graph(source: Path, target: Path, int8: bool = False, **changes: Any) -> EncoderFolder:
    """A copy of a folder with its graph; the folder is opened afresh, as the graph changes the attention in use."""
    shutil.copytree(source, target)
    opened = open_folder(target, **changes)
    write_graph(opened.model, target / "model.onnx", sample_inputs(opened.tokenizer), "out", note_of(opened.config))
    if int8:
        write_int8(target / "model.onnx", target / "model_int8.onnx")
    return open_folder(target, **changes)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [False, True], ids=["dense", "splade"])
def test_every_form_of_an_encoder_gives_what_torch_gives(tiny: Any, tmp_path: Path, family: str, head: bool) -> None:
    for number, changes in enumerate(SPLADE if head else DENSE):
        folder = with_graph(tiny(family, head=head), tmp_path / str(number), **changes)
        model = open_onnx(folder)
        assert isinstance(model, OnnxModel)
        for texts in BATCHES:
            ids, mask = batch(folder, texts)
            with torch.inference_mode():
                expected = folder.model(ids, mask)
            found = model(ids, mask)
            assert found.dtype == torch.float32
            assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5), changes
            assert model.size == expected.shape[1]


def test_real_minilm_dense_and_splade(minilm: Path, splade_dir: Path, tmp_path: Path, sentences: list[str]) -> None:
    for source in (minilm, splade_dir):
        folder = with_graph(source, tmp_path / source.name)
        ids, mask = batch(folder, [*sentences[:7], "", "wing " * 100], 128)
        with torch.inference_mode():
            expected = folder.model(ids, mask)
        assert (open_onnx(folder)(ids, mask) - expected).abs().max() < 1e-5


def test_the_graph_of_splade_holds_the_embeddings_once_and_never_all_products(splade_dir: Path, tmp_path: Path) -> None:
    """[B, S, V] would be the output of a single product with V columns."""
    import onnx

    with_graph(splade_dir, tmp_path / "splade")
    path = tmp_path / "splade" / "model.onnx"
    assert path.stat().st_size < 1.05 * (splade_dir / "model.safetensors").stat().st_size
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    wide = [
        one.name for one in graph.value_info if [d.dim_value for d in one.type.tensor_type.shape.dim][2:] == [30522]
    ]
    assert wide == []
    assert sum(node.op_type == "MatMul" for node in graph.node) > 30


def test_a_folder_without_a_graph_says_how_to_make_one(tiny: Any, raises_error: Any) -> None:
    folder = open_folder(tiny("bert"))
    with raises_error("holds no model.onnx", f"gradir export {folder.path} --output DIR --onnx"):
        open_onnx(folder)
    with raises_error("holds no model_int8.onnx", "--onnx --int8"):
        open_onnx(folder, int8=True)


def test_a_graph_of_other_weights_is_refused(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = with_graph(tiny("bert"), tmp_path / "bert")
    weights = load_file(folder.path / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 7] += 1
    save_file(weights, folder.path / "model.safetensors", metadata={"format": "pt"})
    with raises_error("other weights_sha256", "Make it again"):
        open_onnx(open_folder(folder.path))


def test_a_graph_of_another_configuration_is_refused(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    folder = with_graph(tiny("bert"), tmp_path / "bert")
    assert isinstance(open_onnx(open_folder(folder.path, max_query_length=9, query_prefix="query: ")), OnnxModel)
    with raises_error("other pooling, normalize"):
        open_onnx(open_folder(folder.path, pooling="cls", normalize=False))
    with raises_error("other dimensions"):
        open_onnx(open_folder(folder.path, dimensions=8))


def test_int8_is_close_and_for_cpus_only(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    folder = with_graph(tiny("bert", head=True), tmp_path / "bert", int8=True)
    ids, mask = batch(folder, BATCHES[0])
    with torch.inference_mode():
        expected = folder.model(ids, mask)
    found = open_onnx(folder, int8=True)(ids, mask)
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.99
    assert not torch.allclose(found, expected, atol=1e-4)
    with raises_error("onnx-int8 runs on CPUs only", "cuda:1"):
        open_onnx(folder, int8=True, device="cuda:1")


def test_cuda_without_a_provider_names_the_clash(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    folder = with_graph(tiny("bert"), tmp_path / "bert")
    with raises_error("has no working CUDA", "pip uninstall -y onnxruntime onnxruntime-gpu", "--device cpu"):
        open_onnx(folder, device="cuda")
    with raises_error("not on mps"):
        OnnxModel(folder.path / "model.onnx", "mps")


def test_cuda_that_falls_back_silently_is_noticed(
    tiny: Any, tmp_path: Path, raises_error: Any, monkeypatch: Any
) -> None:
    import onnxruntime

    folder = with_graph(tiny("bert"), tmp_path / "bert")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), raises_error("has no working CUDA"):
        open_onnx(folder, device="cuda")


def test_a_damaged_file(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    folder = with_graph(tiny("bert"), tmp_path / "bert")
    path = folder.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-5000])
    with raises_error(str(path), "cannot be loaded", "Export it again"):
        open_onnx(folder)


def test_a_graph_of_somebody_else(tmp_path: Path, raises_error: Any) -> None:
    from torch import nn

    class Doubled(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels * 2

    path = tmp_path / "other.onnx"
    torch.onnx.export(Doubled(), (torch.zeros(1, 2),), str(path), dynamo=False, input_names=["pixels"])
    with raises_error("wants the inputs pixels"):
        OnnxModel(path)


def test_onnxruntime_that_is_not_installed(monkeypatch: Any, tmp_path: Path, raises_error: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with raises_error("needs onnxruntime", "pip install 'gradir[cpu]'"):
        OnnxModel(tmp_path / "model.onnx")


def test_queries_that_need_no_model_need_no_graph(tiny: Any, tmp_path: Path) -> None:
    source = open_folder(tiny("bert", head=True))
    write_encoder(replace(source, config=replace(source.config, query_side="binary")), tmp_path / "made")
    folder = open_folder(tmp_path / "made")
    assert open_onnx(folder, side="query") is folder.query_model


def test_queries_with_a_model_of_their_own_take_its_graph(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    from transformers import AutoModelForMaskedLM

    documents, queries = (AutoModelForMaskedLM.from_pretrained(tiny("bert", head=True)) for _ in range(2))
    with torch.no_grad():
        queries.cls.predictions.bias += 0.5
    source = open_folder(tiny("bert", head=True))
    config = replace(source.config, query_side="separate")
    write_splade_folder(tmp_path, documents, source.tokenizer, config, query=(queries, source.tokenizer))
    folder = open_folder(tmp_path)
    for side, model in (("passage", folder.model), ("query", folder.query_model)):
        path = tmp_path / graph_name(side)  # type: ignore[arg-type]
        write_graph(model, path, sample_inputs(folder.tokenizer), "weights", note_of(folder.config))
    opened = open_folder(tmp_path)
    ids, mask = batch(opened, BATCHES[0])
    with torch.inference_mode():
        assert torch.allclose(open_onnx(opened, side="query")(ids, mask), opened.query_model(ids, mask), atol=1e-5)
        assert torch.allclose(open_onnx(opened)(ids, mask), opened.model(ids, mask), atol=1e-5)
        assert not torch.allclose(opened.query_model(ids, mask), opened.model(ids, mask), atol=0.1)
    (tmp_path / "model_query.onnx").unlink()
    with raises_error("holds no model_query.onnx"):
        open_onnx(opened, side="query")


def test_errors_of_a_run_are_such_that_the_engine_can_halve_a_batch(tiny: Any, tmp_path: Path) -> None:
    model = open_onnx(with_graph(tiny("bert"), tmp_path / "bert"))
    assert isinstance(model, OnnxModel)
    with pytest.raises(RuntimeError):
        model(torch.full((1, 4), 10**6), torch.ones(1, 4, dtype=torch.long))  # no such token
