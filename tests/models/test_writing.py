"""Folders that we write: opened again by us, by sentence-transformers and by Hugging Face."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

from gradir.data.schemas import load
from gradir.models.config import EncoderConfig
from gradir.models.encoders import DenseEncoder
from gradir.models.folder import load_pretrained, open_folder, open_tokenizer, write_dense_folder, write_splade_folder
from gradir.models.layout import hashes, read_layout

QUERIES = ["heat transfer?", "what was measured at high speed"]


def agree(folder: Path, vectors: Any, sentences: list[str]) -> Any:
    """What we read from the folder, after its vectors were found to be those of sentence-transformers."""
    from sentence_transformers import SentenceTransformer, SparseEncoder

    jsonschema.validate(json.loads((folder / "gradir.json").read_text()), load("encoder"))
    ours = open_folder(folder)
    theirs: Any = SentenceTransformer(str(folder), device="cpu")
    options = {}
    if ours.config.kind == "splade":
        theirs, options = SparseEncoder(str(folder), device="cpu"), {"convert_to_sparse_tensor": False}
    for side, texts, encode in (
        ("passage", sentences[:9], theirs.encode_document),
        ("query", QUERIES, theirs.encode_query),
    ):
        np.testing.assert_allclose(vectors(ours, texts, side), np.asarray(encode(texts, **options)), atol=1e-5)
    return ours


def dense(folder: Path, pooling: Any = "mean", normalize: bool = True, **options: Any) -> DenseEncoder:
    torch.manual_seed(1)
    return DenseEncoder(load_pretrained("AutoModel", folder)[0].eval(), pooling, normalize, **options).eval()


def layers() -> list[nn.Module]:
    torch.manual_seed(4)
    norm = nn.LayerNorm(10)
    nn.init.normal_(norm.weight)
    return [nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 10, bias=False), norm]


DENSE: list[dict[str, Any]] = [
    {},
    {"pooling": "cls", "normalize": False},
    {"pooling": "max", "query_prefix": "q: ", "passage_prefix": "p: "},
    {"pooling": "last", "projections": True},
    {"dimensions": 8},
    {"dimensions": 8, "normalize": False},
    {"dimensions": 6, "projections": True},
    {"pool_prefix": False, "query_prefix": "the query: ", "passage_prefix": "text: "},
]


@pytest.mark.parametrize("change", DENSE)
def test_dense_folders(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, change: dict[str, Any]) -> None:
    values = {"kind": "dense", "pooling": "mean", "normalize": True, "max_query_length": 40, "max_passage_length": 40}
    built: dict[str, Any] = {"projections": layers() if change.get("projections") else []}
    values |= {name: value for name, value in change.items() if name != "projections"}
    config = EncoderConfig(**values)
    model = dense(tiny("bert"), config.pooling, config.normalize, dimensions=config.dimensions, **built)
    write_dense_folder(tmp_path / "saved", model, open_tokenizer(tiny("bert")), config)
    opened = agree(tmp_path / "saved", vectors, sentences)
    assert replace(opened.config, tokenizer_sha256="", weights_sha256="") == config
    assert opened.model.size == model.size
    if config.pool_prefix:
        batch = opened.tokenizer([config.passage_prefix + sentences[0]], return_tensors="pt")
        with torch.no_grad():
            expected = model(batch["input_ids"], batch["attention_mask"]).numpy()
        np.testing.assert_allclose(vectors(opened, sentences[:1]), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "modernbert", "qwen2"])
def test_dense_folders_of_other_families(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, family: str) -> None:
    config = EncoderConfig("dense", "last", True, max_query_length=40, max_passage_length=40)
    write_dense_folder(tmp_path / "saved", dense(tiny(family), "last"), open_tokenizer(tiny(family)), config)
    agree(tmp_path / "saved", vectors, sentences)


def test_a_dense_folder_with_an_encoder_of_queries(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any) -> None:
    config = EncoderConfig("dense", "mean", True, query_side="separate", query_prefix="q: ", max_query_length=20)
    config = replace(config, max_passage_length=40)
    query = dense(tiny("distilbert"), "cls", projections=[nn.Linear(32, 32)])
    write_dense_folder(
        tmp_path / "saved",
        dense(tiny("bert")),
        open_tokenizer(tiny("bert")),
        config,
        (query, open_tokenizer(tiny("distilbert"))),
    )
    opened = agree(tmp_path / "saved", vectors, sentences)
    assert (opened.query_model.pooling, opened.model.pooling) == ("cls", "mean")


def test_hugging_face_opens_dense_folders(tiny: Any, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    config = EncoderConfig("dense", "mean", True, max_query_length=24, max_passage_length=40)
    write_dense_folder(tmp_path / "saved", dense(tiny("bert")), open_tokenizer(tiny("bert")), config)
    assert AutoModel.from_pretrained(tmp_path / "saved").config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").model_max_length == 40


SPLADE: list[dict[str, Any]] = [
    {},
    {"pooling": "sum", "activation": "log1p_relu"},
    {"expansion": False},
    {"expansion": False, "special_tokens": "drop"},
    {"query_side": "binary"},
    {"query_side": "idf"},
    {"query_side": "weights", "query_prefix": "wing "},
    {"query_side": "separate", "query_prefix": "q: ", "passage_prefix": "p: "},
]


@pytest.mark.parametrize("change", SPLADE)
def test_splade_folders(tiny: Any, tmp_path: Path, vectors: Any, sentences: Any, change: dict[str, Any]) -> None:
    values = {"kind": "splade", "pooling": "max", "special_tokens": "keep", "max_query_length": 40}
    config = EncoderConfig(**{**values, "max_passage_length": 40, **change})
    path = tiny("bert", head=True)
    mlm, tokenizer = load_pretrained("AutoModelForMaskedLM", path)[0], open_tokenizer(path)
    options: dict[str, Any] = {}
    if config.query_side in ("idf", "weights"):
        options["table"] = torch.rand(mlm.config.vocab_size, generator=torch.Generator().manual_seed(3))
    if config.query_side == "separate":
        query = tiny("distilbert", head=True)
        options["query"] = (load_pretrained("AutoModelForMaskedLM", query)[0], open_tokenizer(query))
    write_splade_folder(tmp_path / "saved", mlm, tokenizer, config, **options)
    opened = agree(tmp_path / "saved", vectors, sentences)
    assert replace(opened.config, tokenizer_sha256="", weights_sha256="") == config
    if "table" in options:
        ids = opened.tokenizer(config.query_prefix + QUERIES[0], add_special_tokens=False)["input_ids"]
        row = vectors(opened, QUERIES[:1], "query")[0]
        assert set(np.flatnonzero(row)) == set(ids)
        np.testing.assert_allclose(row[ids], options["table"][ids])


def test_an_opened_splade_encoder_is_written_whole(
    splade_dir: Path, tmp_path: Path, vectors: Any, sentences: Any
) -> None:
    opened = open_folder(splade_dir)
    before = vectors(opened, sentences[:5])
    with opened.model.whole() as mlm:  # type: ignore[operator]
        write_splade_folder(tmp_path / "saved", mlm, opened.tokenizer, opened.config)
    np.testing.assert_array_equal(vectors(opened, sentences[:5]), before)
    np.testing.assert_array_equal(vectors(open_folder(tmp_path / "saved"), sentences[:5]), before)


def test_what_is_given_for_queries_must_go_with_the_configuration(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    path = tiny("bert", head=True)
    mlm, tokenizer = load_pretrained("AutoModelForMaskedLM", path)[0], open_tokenizer(path)
    idf = EncoderConfig("splade", "max", query_side="idf")
    with raises_error("query_side 'idf' needs a table of its own for queries, and neither is given"):
        write_splade_folder(tmp_path / "a", mlm, tokenizer, idf)
    with raises_error("query_side 'encoder' needs neither", "a table is given"):
        write_splade_folder(tmp_path / "b", mlm, tokenizer, replace(idf, query_side="encoder"), torch.ones(3))
    with raises_error("the table weighs 3 terms"):
        write_splade_folder(tmp_path / "c", mlm, tokenizer, idf, torch.ones(3))


def test_a_lexical_encoder_with_queries_of_their_own_can_be_read_back(tiny: Any, tmp_path: Path) -> None:
    path = tiny("bert", head=True)
    source = open_folder(path)
    documents, queries = (load_pretrained("AutoModelForMaskedLM", path)[0] for _ in range(2))
    config = replace(source.config, query_side="separate", expansion=False)
    write_splade_folder(tmp_path / "made", documents, source.tokenizer, config, query=(queries, source.tokenizer))
    opened = open_folder(tmp_path / "made")
    assert not opened.model.expansion
    assert not opened.query_model.expansion


def test_a_tokenizer_is_known_again_beside_more_files_and_after_other_calls(tiny: Any, tmp_path: Path) -> None:
    source = open_folder(tiny("bert"))
    shutil.copytree(source.path, tmp_path / "copy")
    (tmp_path / "copy" / "vocab.txt").write_text("wing\n")
    source.tokenizer(["wing"], padding="max_length", truncation=True, max_length=7)
    source.tokenizer.save_pretrained(tmp_path / "copy")  # with that length and padding in it
    copy = open_folder(tmp_path / "copy")
    assert copy.config.tokenizer_sha256 == source.config.tokenizer_sha256
    settings = json.loads((tmp_path / "copy" / "tokenizer.json").read_text())
    settings["model"]["vocab"]["another"] = len(settings["model"]["vocab"])
    assert settings["padding"]
    (tmp_path / "copy" / "tokenizer.json").write_text(json.dumps(settings))
    assert hashes(read_layout(tmp_path / "copy"))["tokenizer_sha256"] != source.config.tokenizer_sha256
