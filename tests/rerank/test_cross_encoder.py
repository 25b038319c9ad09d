"""Scores against one text at a time in float32, written out, and against sentence-transformers' `CrossEncoder`."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gradir.engine.cross_encoder import Reranker

MONO = ("bert", "distilbert", "roberta", "modernbert")


def opened(path: Path, **options: Any) -> Reranker:
    return Reranker.open(path, **{"device": "cpu", "dtype": "float32", "batch_tokens": 256, **options})


def assert_close(found: Any, expected: Any, atol: float = 2e-5) -> None:
    assert found.dtype == np.float32
    assert np.ptp(expected) > 1e-2  # not all the same
    np.testing.assert_allclose(found, np.array(expected), atol=atol)


@cache
def hugging_face(path: Path, loader: str) -> tuple[Any, Any]:
    """(model, a tokenizer that cuts nothing)."""
    model = getattr(transformers, loader).from_pretrained(path).eval()
    return model, transformers.AutoTokenizer.from_pretrained(path, model_max_length=10**9)


def one_pair(path: Path, query: str, document: str, limit: int) -> torch.Tensor:
    """The logits of one pair alone, its document cut by hand."""
    model, tokenizer = hugging_face(path, "AutoModelForSequenceClassification")
    whole = tokenizer(query, document)
    over = max(0, len(whole["input_ids"]) - limit)
    asked, cut = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (query, document))
    cut = cut[: len(cut) - over]
    ids = [tokenizer.cls_token_id, *asked, tokenizer.sep_token_id, *cut, tokenizer.sep_token_id]
    batch = {"input_ids": torch.tensor([ids])}
    if "token_type_ids" in whole:
        batch["token_type_ids"] = torch.tensor([[0] * (len(asked) + 2) + [1] * (len(cut) + 1)])
    with torch.no_grad():
        return model(**batch).logits[0]


@pytest.mark.parametrize("labels", [1, 2])
def test_mono_bert_is_one_pair_at_a_time(classifier: Any, texts: Any, labels: int) -> None:
    path, asked = classifier("bert", labels), texts(40, 1)
    found = opened(path).score(asked)
    logits = [one_pair(path, *pair, limit=64) for pair in asked]
    assert_close(found, [one[0] if labels == 1 else one.log_softmax(0)[1] for one in logits])
    assert any(len(document.split()) > 64 for _, document in asked)


@pytest.mark.parametrize("family", MONO)
def test_one_logit_is_what_sentence_transformers_gives_before_its_activation(
    classifier: Any, texts: Any, family: str
) -> None:
    from sentence_transformers import CrossEncoder

    path, asked = classifier(family), texts(50, 1)
    theirs = CrossEncoder(str(path), device="cpu", max_length=64).predict(asked, activation_fn=torch.nn.Identity())
    assert_close(opened(path, max_length=64).score(asked), theirs)
    sigmoids = CrossEncoder(str(path), device="cpu", max_length=64).predict(asked)
    np.testing.assert_allclose(1 / (1 + np.exp(-opened(path, max_length=64).score(asked))), sigmoids, atol=1e-5)


def test_what_gradir_export_writes_is_opened(classifier: Any, texts: Any, tmp_path: Path) -> None:
    from gradir import export

    export.run(str(classifier()), tmp_path / "reranker")
    np.testing.assert_array_equal(
        opened(tmp_path / "reranker").score(texts(9, 1)), opened(classifier()).score(texts(9, 1))
    )


def t5_probability(path: Path, ids: list[int], labels: tuple[str, str] = ("▁true", "▁false")) -> torch.Tensor:
    """Log-softmax over the two labels of one prompt alone."""
    model, tokenizer = hugging_face(path, "T5ForConditionalGeneration")
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
    return logits[tokenizer.convert_tokens_to_ids(list(labels))].log_softmax(0)[0]


def cut_prompt(path: Path, query: str, documents: tuple[str, ...], limit: int) -> list[int]:
    """The ids of the default prompt, the longer document losing its last token until it fits."""
    _, tokenizer = hugging_face(path, "T5ForConditionalGeneration")
    gap = tokenizer.convert_tokens_to_ids(["▁"])  # before a word that is no token: the space, not of the document

    def plain(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    names = ["Document:"] if len(documents) == 1 else ["Document0:", "Document1:"]
    bodies = [plain(document) for document in documents]

    def joined() -> list[int]:
        ids = plain(f"Query: {query}")
        for name, body in zip(names, bodies, strict=True):
            # of an empty document two spaces remain, of which one is a token
            ids += plain(name) + (body or gap)
        return [*ids, *plain("Relevant:"), tokenizer.eos_token_id]

    while len(joined()) > limit:
        max(bodies, key=lambda body: len(body) - (body[:1] == gap)).pop()
    return joined()


def test_mono_t5_is_one_prompt_at_a_time(t5: Path, texts: Any) -> None:
    asked = texts(40, 1)
    prompts = [cut_prompt(t5, query, documents, 48) for query, *documents in asked]
    assert max(map(len, prompts)) == 48
    assert_close(opened(t5).score(asked), [t5_probability(t5, ids) for ids in prompts])
    assert opened(t5).documents == 1


def test_duo_t5_is_one_prompt_at_a_time(t5: Path, texts: Any) -> None:
    asked = texts(30, 2)
    prompts = [cut_prompt(t5, query, documents, 60) for query, *documents in asked]
    found = opened(t5, method="duo-t5", max_length=60).score(asked)
    assert_close(found, [t5_probability(t5, ids).exp() for ids in prompts])


def test_duo_bert_takes_a_second_document_behind_the_first(classifier: Any, texts: Any) -> None:
    path, asked = classifier("bert", 2), texts(30, 2)
    model, tokenizer = hugging_face(path, "AutoModelForSequenceClassification")
    expected = []
    for query, *documents in asked:
        parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (query, *documents)]
        while sum(map(len, parts)) + 4 > 64:
            max(parts[1:], key=len).pop()
        ids = [2, *parts[0], 3, *parts[1], 3, *parts[2], 3]
        types = [0] * (len(parts[0]) + 2) + [1] * (len(ids) - len(parts[0]) - 2)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0]
        expected.append(logits.softmax(0)[1])
    assert_close(opened(path, method="duo-bert").score(asked), expected)


def test_batches_change_nothing_but_the_last_bits(classifier: Any, t5: Path, texts: Any) -> None:
    for path in (classifier(), t5):
        asked = texts(60, 1)
        alone = np.concatenate([opened(path).score([one]) for one in asked[:20]])
        np.testing.assert_allclose(opened(path, batch_tokens=5000).score(asked)[:20], alone, atol=1e-5)
        np.testing.assert_array_equal(opened(path).score(asked), opened(path).score(asked))
        assert opened(path).score([]).shape == (0,)


def test_bfloat16_is_near_float32(classifier: Any, texts: Any) -> None:
    asked = texts(40, 1)
    low, full = opened(classifier(), dtype="bfloat16").score(asked), opened(classifier()).score(asked)
    assert 0 < np.abs(low - full).max() < 0.1


def test_labels_and_prompts_of_other_models(t5: Path, texts: Any) -> None:
    asked = texts(20, 1)
    usual = opened(t5).score(asked)
    # the probabilities of true and of false sum to 1
    swapped = opened(t5, labels=("false", "true")).score(asked)
    np.testing.assert_allclose(np.exp(usual) + np.exp(swapped), 1, atol=1e-5)
    assert np.abs(opened(t5, labels=("yes", "no")).score(asked) - usual).max() > 1e-3
    assert np.abs(opened(t5, prompt="{document} Relevant: {query}").score(asked) - usual).max() > 1e-3


def test_a_query_is_never_cut(classifier: Any, t5: Path, raises_error: Any) -> None:
    long = "wing " * 70
    for path in (classifier(), t5):
        with raises_error("the query 'wing wing", "leaves no room for a document", "--max-length"):
            opened(path).score([("a wing", "spar"), (long, "a spar")])


def test_what_is_refused(classifier: Any, t5: Path, minilm: Path, raises_error: Any, tmp_path: Path) -> None:
    with raises_error("is no reranker (BertModel)", "sequence classifier"):
        opened(minilm)
    with raises_error("is not for --method mono-t5", "Give mono-bert or duo-bert"):
        opened(classifier(), method="mono-t5")
    with raises_error("gives 3 scores for a pair"):
        opened(classifier("bert", 3))
    with raises_error("--max-length 65", "takes 64 tokens at most"):
        opened(classifier(), max_length=65)
    with raises_error("'relevant' is not one token", "--labels RELEVANT OTHER"):
        opened(t5, labels=("relevant", "false"))
    with raises_error("{query}, {document} once"):
        opened(t5, prompt="{query} {document0}")
    with raises_error("--prompt-template is for T5 models"):
        opened(classifier(), prompt="{query} {document}")
    with raises_error("scores a query with 1 documents, not 2"):
        opened(t5).score([("a", "b", "c")])
    nowhere = shutil.copytree(classifier(), tmp_path / "plain")
    (nowhere / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with raises_error("config.json names no architecture"):
        opened(nowhere)


def test_scores_that_are_no_numbers_are_refused(classifier: Any, raises_error: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(classifier(), tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with raises_error("a score for the query 'a wing' is not finite"):
        opened(folder).score([("a wing", "a spar")])


def test_a_folder_says_how_it_was_trained(t5: Path, texts: Any, tmp_path: Path) -> None:
    from gradir.train.cross import CrossModel

    own = {"labels": ("yes", "no"), "prompt": "{document} Relevant: {query}", "max_length": 40}
    CrossModel.open(t5, **own).save(tmp_path / "model")
    asked = texts(20, 1)
    found = opened(tmp_path / "model").score(asked)
    np.testing.assert_allclose(found, opened(t5, **own).score(asked), atol=1e-6)
    assert np.abs(found - opened(t5).score(asked)).max() > 1e-3
    given = opened(tmp_path / "model", labels=("true", "false")).score(asked)
    np.testing.assert_allclose(given, opened(t5, **(own | {"labels": ("true", "false")})).score(asked), atol=1e-6)
