"""Dense vectors against sentence-transformers and Pyserini, on the real MiniLM."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.engine.encoder import Encoder, UnsoundVector
from gradir.models.folder import open_folder

# Very different lengths, in an order that no sorting keeps.
LENGTHS = (3, 90, 1, 40, 0, 7, 200, 2, 15, 60)
TEXTS = [" ".join(f"word{i} of {n}" for i in range(n)) for n in LENGTHS]
ODD = {
    "empty": "",
    "white space": " \t\n ",
    "20,000 characters": "aerofoil " * 2222,
    "one word of 20,000 characters": "a" * 20_000,
    "emoji": "👩‍👩‍👧‍👦 🛩️ lift",
    "right to left": "אוירודינמיקה الديناميكا",
    "NUL": "wing\x00spar",
    "NUL alone": "\x00",
    "control characters": "\x01\x02\x1b[0m\x7f\u200b\ufeff",
}


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> Encoder:
    return Encoder.open(minilm, "cpu", "float32", max_passage_length=64, max_query_length=64)


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder, minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(minilm), device="cpu")
    theirs.max_seq_length = 64
    ours = encoder.encode(TEXTS)
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    np.testing.assert_array_equal(ours, encoder.encode(TEXTS, "query"))


def test_vectors_are_those_of_pyserini(encoder: Encoder, minilm: Path, pyserini_encoders: Any) -> None:
    theirs = pyserini_encoders.AutoDocumentEncoder(str(minilm), device="cpu", pooling="mean", l2_norm=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs.encode(TEXTS, max_length=64), atol=1e-5)


def test_what_the_folder_says_is_what_sentence_transformers_says(minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    config = Encoder.open(minilm, "cpu", "float32").config
    assert config.max_passage_length == SentenceTransformer(str(minilm), device="cpu").max_seq_length
    assert (config.kind, config.pooling, config.normalize) == ("dense", "mean", True)


@pytest.mark.parametrize("batch_tokens", [1, 130, 100_000])
def test_batches_change_nothing_but_the_order_of_sums(encoder: Encoder, minilm: Path, batch_tokens: int) -> None:
    other = Encoder.open(minilm, "cpu", "float32", batch_tokens, max_passage_length=64)
    np.testing.assert_allclose(other.encode(TEXTS), encoder.encode(TEXTS), atol=2e-6)


def test_the_same_texts_give_the_same_bytes(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_odd_texts_have_finite_vectors_of_unit_length(encoder: Encoder) -> None:
    vectors = encoder.encode(list(ODD.values()))
    assert isinstance(vectors, np.ndarray)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    same = list(ODD).index("NUL alone")
    np.testing.assert_allclose(vectors[same], vectors[0], atol=1e-5)  # BERT's tokenizer drops it


def test_no_texts(encoder: Encoder) -> None:
    vectors = encoder.encode([])
    assert isinstance(vectors, np.ndarray)
    assert vectors.shape == (0, 384)


def test_progress_and_tokens_are_counted(encoder: Encoder) -> None:
    before, done = encoder.tokens, []
    encoder.encode(["wing", "", "wing engine"], progress=done.append)
    assert sum(done) == 3
    assert encoder.tokens - before == 3 + 2 + 4  # [CLS] and [SEP] with each


def test_prefixes_go_before_texts_of_their_side(encoder: Encoder, minilm: Path) -> None:
    prefixed = Encoder.open(minilm, "cpu", "float32", query_prefix="query: ", passage_prefix="passage: ")
    plain = encoder.encode(["query: wing", "passage: wing"])
    np.testing.assert_allclose(prefixed.encode(["wing"], "query")[0], plain[0], atol=1e-6)
    np.testing.assert_allclose(prefixed.encode(["wing"], "passage")[0], plain[1], atol=1e-6)


def test_each_side_has_its_length(minilm: Path) -> None:
    encoder = Encoder.open(minilm, "cpu", "float32", max_query_length=4, max_passage_length=6)
    encoder.encode(["one two three four five six"], "query")
    assert encoder.tokens == 4
    encoder.encode(["one two three four five six"], "passage")
    assert encoder.tokens == 4 + 6


def test_a_prefix_must_leave_room(minilm: Path, raises_error: Any) -> None:
    encoder = Encoder.open(minilm, "cpu", "float32", query_prefix="one two three", max_query_length=5)
    with raises_error("`max_query_length` is 5", "take 5", "--max-length"):
        encoder.encode(["wing"], "query")
    assert len(encoder.encode(["wing"], "passage")) == 1


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
def test_every_architecture_equals_sentence_transformers(tiny: Any, family: str, sentences: list[str]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tiny(family)
    transformer = Transformer(str(folder), max_seq_length=64)
    for pooling in ("mean", "cls"):
        theirs = SentenceTransformer(
            modules=[transformer, Pooling(32, pooling_mode=pooling), Normalize()], device="cpu"
        )
        ours = Encoder.open(folder, "cpu", "float32", 100, pooling=pooling)
        assert ours.config.max_passage_length == 64  # the default of 256 is more than the model takes
        texts = [*sentences[:7], "", sentences[8] * 9]
        np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=1e-5)


def test_a_text_without_any_token(tiny: Any, tmp_path: Path) -> None:
    """A tokenizer without special tokens gives the empty text none at all."""
    folder = _without_special_tokens(tiny("bert"), tmp_path / "bare")
    encoder = Encoder.open(folder, "cpu", "float32")
    vectors = encoder.encode(["", "wing", ""])
    assert isinstance(vectors, np.ndarray)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    np.testing.assert_allclose(encoder.encode([""]), vectors[:1], atol=1e-6)


def _without_special_tokens(source: Path, folder: Path) -> Path:
    from transformers import AutoTokenizer

    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_unsound_weights_are_refused_with_the_place_of_the_text(minilm: Path, wrong: float) -> None:
    folder = open_folder(minilm)
    rows = folder.model.get_submodule("backbone.embeddings.word_embeddings")
    with torch.no_grad():
        rows.weight[folder.tokenizer.convert_tokens_to_ids("engine")] = wrong  # type: ignore[index,operator]
    encoder = Encoder(folder, "cpu", "float32")
    texts = ["a long text of many words about wings", "wing", "engine"]
    with pytest.raises(UnsoundVector, match="text 2: ") as caught:
        encoder.encode(texts)
    assert caught.value.row == 2
    assert len(encoder.encode(texts[:2])) == 2


def test_a_dense_encoder_has_no_terms(encoder: Encoder, raises_error: Any) -> None:
    with raises_error("dense encoder has no vocabulary"):
        encoder.vocab()


def test_batch_tokens_must_be_positive(minilm: Path, raises_error: Any) -> None:
    for wrong in (0, -5):
        with raises_error(f"--batch-tokens {wrong}"):
            Encoder.open(minilm, "cpu", batch_tokens=wrong)
