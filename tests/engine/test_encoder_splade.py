"""SPLADE impacts against Pyserini and sentence-transformers, on an encoder made from the real MiniLM."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.data.vectors import SparseVectors
from gradir.engine.encoder import Encoder, UnsoundVector
from gradir.engine.query_encoders import SparseQueryEncoder, to_dicts
from gradir.models.folder import open_folder

TEXTS = [
    "wing spar",
    "The boundary layer of a flat plate grows with the square root of the distance " * 5,
    "Why does yeast grow?",
    "naïve façade, 東京 and 👩‍👧 in one text",
    "a",
]


@pytest.fixture(scope="module")
def encoder(splade_dir: Path) -> Encoder:
    return Encoder.open(splade_dir, "cpu", "float32")


def encode(encoder: Encoder, texts: list[str], side: Any = "passage") -> SparseVectors:
    vectors = encoder.encode(texts, side)
    assert isinstance(vectors, SparseVectors)
    return vectors


def without(terms: dict[str, int], dropped: list[str]) -> dict[str, int]:
    """Pyserini's dictionary without the weights that round to 0, and without special tokens."""
    return {term: impact for term, impact in terms.items() if impact > 0 and term not in dropped}


def furthest(ours: dict[str, int], theirs: dict[str, int]) -> int:
    return max(abs(ours.get(term, 0) - theirs.get(term, 0)) for term in {*ours, *theirs})


def test_documents_are_those_of_pyserini(encoder: Encoder, splade_dir: Path, pyserini_encoders: Any) -> None:
    theirs = pyserini_encoders.SpladeDocumentEncoder(str(splade_dir), device="cpu").encode(TEXTS, max_length=64)
    special = encoder.tokenizer.all_special_tokens
    ours = to_dicts(encode(encoder, TEXTS), encoder.vocab())
    for mine, other in zip(ours, theirs, strict=True):
        assert len(mine) > 10
        assert furthest(mine, without(other, special)) <= 1
        assert not set(mine) & set(special)


def test_queries_are_those_of_pyserini(encoder: Encoder, splade_dir: Path, pyserini_encoders: Any) -> None:
    theirs = pyserini_encoders.SpladeQueryEncoder(str(splade_dir))
    ours = SparseQueryEncoder(encoder)
    for text in TEXTS:
        mine, other = ours.encode(text), theirs.encode(text, max_length=64)
        assert furthest(mine, without(other, encoder.tokenizer.all_special_tokens)) <= 1
        assert {type(impact) for impact in mine.values()} == {int}  # pyjnius takes no other


def test_weights_are_those_of_sentence_transformers(encoder: Encoder, splade_dir: Path) -> None:
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(str(splade_dir), device="cpu")
    assert theirs.max_seq_length == 64
    weights = theirs.encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    assert weights.shape[1] == len(encoder.vocab())
    impacts = np.rint(weights * encoder.config.impact_scale)
    for i in range(len(TEXTS)):
        terms, ours = encode(encoder, TEXTS).row(i)
        mine = np.zeros(weights.shape[1])
        mine[terms] = ours
        assert np.abs(mine - impacts[i]).max() <= 1
        assert mine.sum() > 0


def test_bfloat16_stays_close(encoder: Encoder, splade_dir: Path, sentences: list[str]) -> None:
    low = Encoder.open(splade_dir, "cpu", "bfloat16")
    exact, rough = (to_dicts(encode(one, sentences[::4]), one.vocab()) for one in (encoder, low))
    off = [abs(a.get(term, 0) - b.get(term, 0)) for a, b in zip(exact, rough, strict=True) for term in {*a, *b}]
    assert max(off) <= 4
    assert np.mean(np.array(off) > 1) < 0.1
    assert max(off) > 0  # it was bfloat16 indeed


@pytest.mark.parametrize("batch_tokens", [1, 20, 100_000])
def test_order_and_batches(encoder: Encoder, splade_dir: Path, batch_tokens: int) -> None:
    other = Encoder.open(splade_dir, "cpu", "float32", batch_tokens)
    alone = [to_dicts(encode(encoder, [text]), encoder.vocab())[0] for text in TEXTS]
    together = to_dicts(encode(other, TEXTS), other.vocab())
    for mine, single in zip(together, alone, strict=True):
        assert furthest(mine, single) <= 1


def test_blank_texts_are_empty_rows(encoder: Encoder) -> None:
    vectors = encode(encoder, ["", "wing", " \t\n", "\x00\x01", "engine", "\u200b"])
    lengths = np.diff(vectors.indptr)
    assert (lengths > 0).tolist() == [False, True, False, False, True, False]
    assert vectors.row(4)[0].tolist() == encode(encoder, ["engine"]).row(0)[0].tolist()
    assert len(encode(encoder, ["", " "]).terms) == 0
    assert len(encode(encoder, [])) == 0


def test_a_prefix_alone_is_empty_too(splade_dir: Path) -> None:
    encoder = Encoder.open(splade_dir, "cpu", "float32", passage_prefix="passage: ")
    assert (np.diff(encode(encoder, ["", "\x00", "wing"]).indptr) > 0).tolist() == [False, False, True]


def test_top_k_of_each_side(encoder: Encoder, splade_dir: Path) -> None:
    cut = Encoder.open(splade_dir, "cpu", "float32", top_k_query=3, top_k_passage=10)
    assert np.diff(encode(cut, TEXTS, "query").indptr).tolist() == [3] * len(TEXTS)
    best, whole = encode(cut, TEXTS), encode(encoder, TEXTS)
    for i in range(len(TEXTS)):
        assert sorted(best.row(i)[1]) == sorted(whole.row(i)[1])[-10:]


def test_special_tokens_can_be_kept(splade_dir: Path, tmp_path: Path) -> None:
    """The calibrated head never activates them, so that their bias is raised here."""
    kept = {}
    for choice in ("keep", "drop"):
        folder = open_folder(splade_dir, special_tokens=choice)
        with torch.no_grad():
            folder.model.get_submodule("decoder").bias[folder.tokenizer.cls_token_id] = 100.0  # type: ignore[index,operator]
        encoder = Encoder(folder, "cpu", "float32")
        kept[choice] = "[CLS]" in to_dicts(encode(encoder, ["wing"]), encoder.vocab())[0]
    assert kept == {"keep": True, "drop": False}


def test_rows_without_a_token_are_never_terms(tiny: Any, tmp_path: Path) -> None:
    """Vocabularies are padded to a round number of rows; those rows have embeddings but stand for nothing."""
    folder = tmp_path / "padded"
    shutil.copytree(tiny("bert", head=True, rows=512), folder)
    for choice in ("drop", "keep"):
        encoder = Encoder.open(folder, "cpu", "float32", special_tokens=choice)
        tokens = len(encoder.tokenizer)
        assert len(encoder.vocab()) == 512
        assert encoder.vocab()[tokens:] == [f"[no-token-{i}]" for i in range(tokens, 512)]
        vectors = encode(encoder, ["A wing spar of aluminium was measured"])
        assert 0 < vectors.terms.max() < tokens


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
def test_every_architecture_equals_the_naive_formula(tiny: Any, family: str, sentences: list[str]) -> None:
    from transformers import AutoModelForMaskedLM

    folder, texts = tiny(family, head=True), sentences[:9]
    encoder = Encoder.open(folder, "cpu", "float32", 100)
    assert encoder.config.kind == "splade"
    options = {"padding": True, "truncation": True, "max_length": 64, "return_token_type_ids": False}
    batch = encoder.tokenizer(texts, return_tensors="pt", **options)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**batch).logits
    weights = (torch.log1p(torch.relu(logits)) * batch["attention_mask"].unsqueeze(-1)).amax(1)
    weights[:, encoder.tokenizer.all_special_ids] = 0
    impacts = np.rint(weights.numpy() * 51.2)
    vectors = encode(encoder, texts)
    for i in range(len(texts)):
        mine = np.zeros(impacts.shape[1])
        mine[vectors.row(i)[0]] = vectors.row(i)[1]
        assert np.abs(mine - impacts[i]).max() <= 1
        assert mine.sum() > 0


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_unsound_weights_are_refused_with_the_place_of_the_text(splade_dir: Path, wrong: float) -> None:
    folder = open_folder(splade_dir)
    rows = folder.model.get_submodule("mlm.bert.embeddings.word_embeddings")
    weight = rows.weight.clone()  # type: ignore[operator]
    weight[folder.tokenizer.convert_tokens_to_ids("engine")] = wrong
    rows.weight = torch.nn.Parameter(weight)  # the decoder keeps the sound ones
    encoder = Encoder(folder, "cpu", "float32")
    with pytest.raises(UnsoundVector, match="text 1: ") as caught:
        encoder.encode(["a long text of many words about wings", "engine"])
    assert caught.value.row == 1
