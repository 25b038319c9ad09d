"""Folders of sentence-transformers, read by us and by itself: the same vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

from gradir.models.folder import open_folder

FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert", "qwen2", "llama")
PROMPTS = {"query": "query: ", "document": "a passage: "}
QUERIES = ["heat transfer?", "what was measured at high speed", ""]


def agree(folder: Path, vectors: Any, sentences: list[str], limit: float = 1e-5) -> None:
    """Both sides' vectors are those that sentence-transformers gives after opening the folder."""
    theirs: Any = json.loads((folder / "config_sentence_transformers.json").read_text())["model_type"]
    options = {"convert_to_sparse_tensor": False} if theirs == "SparseEncoder" else {}
    theirs = (SparseEncoder if options else SentenceTransformer)(str(folder), device="cpu")
    ours = open_folder(folder)
    for side, texts, encode in (
        ("passage", [*sentences[:5], sentences[7] * 9], theirs.encode_document),
        ("query", QUERIES, theirs.encode_query),
    ):
        expected = np.asarray(encode(texts, **options))
        np.testing.assert_allclose(vectors(ours, texts, side), expected, atol=limit, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_every_family_and_pooling(
    tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, family: str, pooling: Any
) -> None:
    parts = [Transformer(str(tiny(family)), max_seq_length=40), Pooling(32, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=parts, prompts=PROMPTS).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences)


def test_minilm(minilm: Path, vectors: Any, sentences: Any) -> None:
    theirs = SentenceTransformer(str(minilm), device="cpu").encode_document(sentences[:9])
    np.testing.assert_allclose(vectors(open_folder(minilm), sentences[:9]), theirs, atol=1e-5)


@pytest.mark.parametrize("activation", [torch.nn.Identity(), torch.nn.Tanh(), torch.nn.ReLU(), torch.nn.GELU()])
def test_projections(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, activation: Any) -> None:
    torch.manual_seed(3)
    norm = LayerNorm(9)
    torch.nn.init.normal_(norm.norm.weight)
    layers = [Dense(32, 12, activation_function=activation), Dense(12, 9, bias=False), norm]
    parts = [Transformer(str(tiny("bert"))), Pooling(32), *layers, Normalize()]
    SentenceTransformer(modules=parts, prompts=PROMPTS).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences)
    assert open_folder(tmp_path / "saved").model.size == 9


def test_a_prompt_outside_of_the_pooling(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    for name, pooling in (("a", "mean"), ("b", "cls"), ("c", "max")):
        parts = [Transformer(str(tiny("bert"))), Pooling(32, pooling_mode=pooling, include_prompt=False)]  # type: ignore[arg-type]
        SentenceTransformer(modules=parts, prompts=PROMPTS).save(str(tmp_path / name))
        agree(tmp_path / name, vectors, sentences)
    assert open_folder(tmp_path / "a").query_model is not open_folder(tmp_path / "a").model


def test_a_truncated_dimension(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    parts = [Transformer(str(tiny("bert"))), Pooling(32)]
    SentenceTransformer(modules=parts, truncate_dim=8).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences)
    assert open_folder(tmp_path / "saved").model.size == 8


def test_the_layout_of_old_versions(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    parts = [Transformer(str(tiny("bert")), max_seq_length=30), Pooling(32, pooling_mode="max")]
    SentenceTransformer(modules=parts).save(str(tmp_path / "saved"))
    old = tmp_path / "saved" / "0_Transformer"
    shutil.copytree(tiny("bert"), old)
    for file in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
    ):
        (tmp_path / "saved" / file).unlink()
    (old / "sentence_bert_config.json").write_text('{"max_seq_length": 30, "do_lower_case": false}')
    modules = json.loads((tmp_path / "saved" / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "saved" / "modules.json").write_text(json.dumps(modules))
    legacy = {"word_embedding_dimension": 32, "pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "saved" / "1_Pooling" / "config.json").write_text(json.dumps(legacy))
    agree(tmp_path / "saved", vectors, sentences)
    assert open_folder(tmp_path / "saved").config.max_passage_length == 30


def test_separate_dense_encoders(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    query = [Transformer(str(tiny("distilbert")), max_seq_length=20), Pooling(32, pooling_mode="cls")]
    document = [Transformer(str(tiny("bert")), max_seq_length=40), Pooling(32), Dense(32, 32)]
    router = Router.for_query_document(query_modules=query, document_modules=document)
    SentenceTransformer(modules=[router, Normalize()], prompts=PROMPTS).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences)
    config = open_folder(tmp_path / "saved").config
    assert (config.query_side, config.max_query_length, config.max_passage_length) == ("separate", 20, 40)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert"])
@pytest.mark.parametrize(("pooling", "activation"), [("max", "relu"), ("sum", "relu"), ("max", "log1p_relu")])
def test_sparse_encoders(
    tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, family: str, pooling: Any, activation: Any
) -> None:
    mlm = Transformer(str(tiny(family, head=True)), transformer_task="fill-mask", max_seq_length=40)
    SparseEncoder(modules=[mlm, SpladePooling(pooling, activation)]).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences)


def test_queries_without_a_model(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    mlm = Transformer(str(tiny("bert", head=True)), transformer_task="fill-mask", max_seq_length=40)
    table = torch.rand(len(mlm.tokenizer), generator=torch.Generator().manual_seed(2))
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(mlm.tokenizer, table)], document_modules=[mlm, SpladePooling()]
    )
    SparseEncoder(modules=[router]).save(str(tmp_path / "saved"))
    agree(tmp_path / "saved", vectors, sentences, 0.0)
    assert open_folder(tmp_path / "saved").config.query_side == "weights"
    assert not vectors(open_folder(tmp_path / "saved"), [""], "query").any()
