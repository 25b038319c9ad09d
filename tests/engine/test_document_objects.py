"""What takes the place of Pyserini's document encoders, compared with Pyserini's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir.engine import DenseDocumentEncoder, Encoder, SparseDocumentEncoder
from gradir.engine.document_encoders import separator

TITLES = ["A wing", "Rain on the mountains", "Noise", "Two equations"]


def furthest(ours: list[dict[str, int]], theirs: list[dict[str, int]]) -> int:
    """The largest difference of an impact."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(a.get(term, 0) - b.get(term, 0)) for a, b in pairs for term in {*a, *b})


@pytest.mark.parametrize("how", [{}, {"titles": TITLES}, {"titles": TITLES, "add_sep": True}, {"max_length": 9}])
def test_sparse_documents_are_pyserinis(
    tiny: Any, sentences: list[str], pyserini_encoders: Any, how: dict[str, Any]
) -> None:
    folder, texts = tiny("bert", head=True), sentences[:4]
    theirs = pyserini_encoders.SpladeDocumentEncoder(str(folder), device="cpu").encode(
        texts, **{"max_length": 64} | how
    )
    encoder = SparseDocumentEncoder(folder, device="cpu", dtype="float32", special_tokens="keep")
    ours = encoder.encode(texts, fp16=False, **how)
    assert furthest(ours, theirs) <= 1
    assert {type(impact) for row in ours for impact in row.values()} == {int}
    assert min(impact for row in ours for impact in row.values()) > 0


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("how", [{}, {"titles": TITLES}, {"titles": TITLES, "add_sep": True}, {"max_length": 9}])
def test_dense_documents_are_pyserinis(
    tiny: Any, sentences: list[str], pyserini_encoders: Any, family: str, how: dict[str, Any]
) -> None:
    folder, texts = tiny(family), sentences[:4]
    keywords: dict[str, Any] = {"device": "cpu", "pooling": "mean", "l2_norm": True, "prefix": "passage:"}
    theirs = pyserini_encoders.AutoDocumentEncoder(str(folder), **keywords).encode(texts, **{"max_length": 64} | how)
    ours = DenseDocumentEncoder.from_pyserini(model_name=str(folder), tokenizer_name=None, **keywords).encode(
        texts, **how
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_document_without_a_title_is_its_text(tiny: Any, sentences: list[str]) -> None:
    encoder = DenseDocumentEncoder(tiny("bert"), device="cpu", dtype="float32")
    np.testing.assert_allclose(
        encoder.encode(sentences[:2], titles=["", None]), encoder.encode(sentences[:2]), atol=1e-6
    )


def test_the_separator_is_the_tokenizers_own(tiny: Any) -> None:
    assert separator(Encoder.open(tiny("bert"), "cpu").tokenizer) == "[SEP]"
    assert separator(Encoder.open(tiny("roberta"), "cpu").tokenizer) == "</s></s>"


def test_an_open_encoder_keeps_its_length(tiny: Any, raises_error: Any) -> None:
    encoder = DenseDocumentEncoder(Encoder.open(tiny("bert"), "cpu", "float32", max_passage_length=20))
    assert encoder.encode(["a wing"], max_length=20).shape == (1, 32)
    with raises_error("max_length=9", "max_passage_length=9"):
        encoder.encode(["a wing"], max_length=9)


def test_what_cannot_be_done_is_refused(tiny: Any, raises_error: Any, tmp_path: Path) -> None:
    with raises_error("not splade", "DenseDocumentEncoder"):
        SparseDocumentEncoder(tiny("bert"), device="cpu")
    with raises_error("not dense", "SparseDocumentEncoder"):
        DenseDocumentEncoder(tiny("bert", head=True), device="cpu")
    with raises_error("tokenizer other", "Leave it out"):
        DenseDocumentEncoder.from_pyserini(tiny("bert"), tokenizer_name="other")
    with raises_error("max_passage_length"):
        DenseDocumentEncoder(tiny("bert"), device="cpu").encode(["a wing"], max_length=100_000)
