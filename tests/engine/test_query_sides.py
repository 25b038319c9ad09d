"""The engine on every query side and back end: tables, models of their own, ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.data.vectors import SparseVectors
from gradir.engine import DenseQueryEncoder, Encoder, SparseQueryEncoder
from gradir.export import run as export
from gradir.models.folder import load_pretrained, open_folder, open_tokenizer, write_splade_folder


@pytest.mark.parametrize("side", ["binary", "weights"])
def test_inference_free_queries(tiny: Any, tmp_path: Path, side: Any) -> None:
    """A query's impact is the table's weight of each of its tokens, once; no model, no special tokens."""
    path = tiny("bert", head=True)
    mlm, tokenizer = load_pretrained("AutoModelForMaskedLM", path)[0], open_tokenizer(path)
    table = torch.rand(mlm.config.vocab_size, generator=torch.Generator().manual_seed(3)) * 3
    config = replace(open_folder(path).config, query_side=side)
    write_splade_folder(tmp_path / "splade", mlm, tokenizer, config, table if side == "weights" else None)
    weights = table if side == "weights" else torch.ones(len(table))
    queries = ["wing spar of a wing", "", "  ", "heat transfer"]
    for dtype in ("float32", "bfloat16"):
        found = SparseQueryEncoder(tmp_path / "splade", device="cpu", dtype=dtype).encode_batch(queries)
        for query, impacts in zip(queries, found, strict=True):
            ids = set(tokenizer(query, add_special_tokens=False)["input_ids"])
            wanted = {tokenizer.convert_ids_to_tokens(i): round(float(weights[i]) * 51.2) for i in ids}
            assert impacts == {term: impact for term, impact in wanted.items() if impact}
    documents = Encoder.open(tmp_path / "splade", "cpu", "float32").encode(["wing spar"])
    plain = Encoder.open(path, "cpu", "float32").encode(["wing spar"])
    assert isinstance(documents, SparseVectors)
    assert isinstance(plain, SparseVectors)
    np.testing.assert_array_equal(documents.impacts, plain.impacts)


def test_onnx_back_ends_give_what_torch_gives(
    minilm: Path, splade_dir: Path, tmp_path: Path, sentences: list[str]
) -> None:
    export(str(minilm), tmp_path / "dense", int8=True)
    dense = [DenseQueryEncoder(tmp_path / "dense", device="cpu", dtype="float32").encode_batch(sentences)]
    dense += [
        DenseQueryEncoder(tmp_path / "dense", device="cpu", backend=b).encode_batch(sentences)
        for b in ("onnx", "onnx-int8")
    ]
    np.testing.assert_allclose(dense[1], dense[0], atol=1e-5)
    assert (dense[2] * dense[0]).sum(1).mean() > 0.98
    export(str(splade_dir), tmp_path / "splade", onnx=True)
    torch_, onnx = (
        Encoder.open(tmp_path / "splade", "cpu", "float32", backend=b).encode([*sentences, "", " "])
        for b in ("torch", "onnx")
    )
    assert isinstance(torch_, SparseVectors)
    assert isinstance(onnx, SparseVectors)
    np.testing.assert_array_equal(onnx.indptr[-3:], [onnx.indptr[-1]] * 3)  # blank texts are empty here too
    for i in range(len(sentences)):
        ours, theirs = (dict(zip(*(part.tolist() for part in v.row(i)), strict=True)) for v in (onnx, torch_))
        assert max(abs(ours.get(t, 0) - theirs.get(t, 0)) for t in ours.keys() | theirs.keys()) <= 1


def test_an_onnx_encoder_says_what_it_is(minilm: Path, tmp_path: Path, raises_error: Any) -> None:
    with raises_error("holds no model.onnx", "gradir export"):
        Encoder.open(minilm, "cpu", backend="onnx").encode(["wing"])
    with raises_error("--dtype bfloat16 is for --backend torch"):
        Encoder.open(minilm, "cpu", "bfloat16", backend="onnx")
    assert Encoder.open(minilm, "cpu", backend="onnx-int8").description()["backend"] == "onnx-int8"
    assert "backend" not in Encoder.open(minilm, "cpu").description()
