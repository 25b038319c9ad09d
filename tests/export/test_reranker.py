"""Cross-encoders: exported folders and graphs against sentence-transformers' `CrossEncoder`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.engine.onnx_model import OnnxModel
from gradir.export import run
from gradir.export.reranker import open_reranker, tokenized

PAIRS = [
    ("a wing spar", "a wing spar of aluminium carries the load"),
    ("boundary layer", ""),
    ("x", "the boundary layer of a flat plate " * 20),
]


def cross_encoder(tiny: Any, target: Path, family: str, labels: int = 1, activation: str = "") -> Path:
    """A random cross-encoder with the tokenizer of the tiny encoder."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    source = tiny(family)
    config = AutoConfig.from_pretrained(source, num_labels=labels)
    if activation:
        config.sentence_transformers = {"activation_fn": f"torch.nn.modules.{activation}", "version": "6.0.0"}
    torch.manual_seed(5)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    if family == "bert":  # gives token types, as BERT's own tokenizer does
        path = target / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return target


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
@pytest.mark.parametrize("activation", ["", "linear.Identity"])
def test_scores_are_those_of_sentence_transformers(tiny: Any, tmp_path: Path, family: str, activation: str) -> None:
    from sentence_transformers import CrossEncoder

    source = cross_encoder(tiny, tmp_path / "source", family, activation=activation)
    outcome = run(str(source), tmp_path / "reranker", int8=True, pyserini_compat=True, check=True)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.next_command == ""
    assert outcome.text.count("| met |") == 3
    expected = CrossEncoder(str(source), device="cpu", max_length=64).predict(PAIRS)
    assert np.ptp(expected) > 1e-3
    exported = CrossEncoder(str(tmp_path / "reranker"), device="cpu").predict(PAIRS)
    assert np.abs(exported - expected).max() < 1e-5
    opened = open_reranker(tmp_path / "reranker")
    batch = tokenized(opened, PAIRS)
    found = OnnxModel(tmp_path / "reranker" / "model.onnx")(**batch)
    assert found.shape == (3,)
    assert np.abs(found.numpy() - expected).max() < 1e-5
    assert ("token_type_ids" in batch) == (family == "bert")


def test_token_types_matter_and_are_passed_on(tiny: Any, tmp_path: Path) -> None:
    run(str(cross_encoder(tiny, tmp_path / "source", "bert")), tmp_path / "reranker", onnx=True)
    batch = tokenized(open_reranker(tmp_path / "reranker"), PAIRS)
    model = OnnxModel(tmp_path / "reranker" / "model.onnx")
    assert batch["token_type_ids"].sum() > 0
    without = model(batch["input_ids"], batch["attention_mask"])
    assert (without - model(**batch)).abs().max() > 1e-4


def test_the_card_and_the_note(tiny: Any, tmp_path: Path) -> None:
    run(str(cross_encoder(tiny, tmp_path / "source", "bert")), tmp_path / "reranker", onnx=True)
    card = (tmp_path / "reranker" / "README.md").read_text()
    assert "pipeline_tag: text-ranking" in card
    assert f"CrossEncoder('{tmp_path / 'reranker'}')" in card
    assert "up to 64 tokens together; a score is the Sigmoid of one logit" in card
    assert OnnxModel(tmp_path / "reranker" / "model.onnx").note["activation"] == "Sigmoid"
    assert not (tmp_path / "reranker" / "gradir.json").exists()


def test_what_is_refused(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    with raises_error("gives 3 scores for a pair"):
        run(str(cross_encoder(tiny, tmp_path / "three", "bert", labels=3)), tmp_path / "out")
    with raises_error("has the activation torch.nn.modules.activation.Softplus"):
        odd = cross_encoder(tiny, tmp_path / "odd", "bert", activation="activation.Softplus")
        run(str(odd), tmp_path / "out")
    with raises_error("is a cross-encoder, and Anserini's Java runs none"):
        run(str(cross_encoder(tiny, tmp_path / "one", "bert")), tmp_path / "out", anserini=True)
    config = json.loads((tiny("bert") / "config.json").read_text())
    assert "ForSequenceClassification" not in config["architectures"][0]
    assert not (tmp_path / "out").exists()
