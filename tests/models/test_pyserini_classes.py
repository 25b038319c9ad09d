"""Folders opened as Pyserini's classes, against Pyserini's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradir.models.pyserini_classes import CLASSES, open_as

# (class, folder, arguments of ours, arguments of theirs)
DENSE = [
    ("auto", "bert", {}, {}),
    ("auto", "roberta", {"pooling": "mean", "l2_norm": True}, {"pooling": "mean", "l2_norm": True}),
    ("auto", "distilbert", {"pooling": "cls", "prefix": "passage:"}, {"pooling": "cls", "prefix": "passage:"}),
    ("sentence-transformers", "bert", {"pooling": "cls"}, {"pooling": "mean", "l2_norm": True}),
    ("contriever", "bert", {"pooling": "cls"}, {"pooling": "mean", "l2_norm": False}),
    ("arctic", "bert", {}, {}),
    ("dpr", "dpr", {}, {}),
    ("dpr", "dpr-projected", {}, {}),
    ("ance", "ance", {}, {}),
    ("tct_colbert", "bert", {}, {}),
]


def places(tiny: Any, pyserini_folder: Any, name: str) -> str:
    return str(tiny(name) if name in ("bert", "roberta", "distilbert") else pyserini_folder(name))


@pytest.mark.parametrize(("name", "folder", "ours", "theirs"), DENSE)
def test_documents_have_pyserinis_vectors(
    name: str,
    folder: str,
    ours: Any,
    theirs: Any,
    tiny: Any,
    pyserini_folder: Any,
    pyserini_encoders: Any,
    sentences: Any,
    vectors: Any,
) -> None:
    path = places(tiny, pyserini_folder, folder)
    texts = [*sentences[:9], "wing", sentences[3] * 20]
    encoder = pyserini_encoders.document_encoder_class_map[name](path, device="cpu", **theirs)
    expected = encoder.encode(texts, max_length=48)
    actual = vectors(open_as(name, path, max_length=48, **ours), texts)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "folder", "theirs"),
    [
        ("auto", "bert", {}),
        ("sentence-transformers", "bert", {"pooling": "mean", "l2_norm": True}),
        ("contriever", "bert", {"pooling": "mean"}),
        ("arctic", "bert", {}),
        ("dpr", "dpr-question", {}),
        ("ance", "ance", {}),
        ("tct_colbert", "bert", {}),
    ],
)
def test_queries_have_pyserinis_vectors(
    name: str,
    folder: str,
    theirs: Any,
    tiny: Any,
    pyserini_folder: Any,
    pyserini_encoders: Any,
    sentences: Any,
    vectors: Any,
) -> None:
    path = places(tiny, pyserini_folder, folder)
    queries = ["heat transfer?", "what was measured at high speed", sentences[0]]
    known = pyserini_encoders.query_encoder_class_map
    encoder = (known["sentence"] if name == "sentence-transformers" else known[name])(path, device="cpu", **theirs)
    expected = np.stack([encoder.encode(query) for query in queries])
    np.testing.assert_allclose(vectors(open_as(name, path), queries, "query"), expected, atol=1e-5)


def test_splade_has_pyserinis_impacts(tiny: Any, pyserini_encoders: Any, sentences: Any, vectors: Any) -> None:
    path = tiny("bert", head=True)
    folder = open_as("splade", path, max_length=48)
    assert (folder.config.impact_scale, folder.config.special_tokens) == (51.2, "keep")
    expected = pyserini_encoders.SpladeDocumentEncoder(str(path), device="cpu").encode(sentences[:9], max_length=48)
    terms = {i: term for term, i in folder.tokenizer.get_vocab().items()}
    for row, impacts in zip(vectors(folder, sentences[:9]), expected, strict=True):
        ours = {terms[i]: int(np.round(row[i] * 51.2)) for i in np.flatnonzero(row)}
        assert ours.keys() == impacts.keys()
        assert all(abs(ours[term] - impact) <= 1 for term, impact in impacts.items())
    assert expected[0].keys() & {"[CLS]", "[SEP]"}


def test_what_pyserini_ignores_does_what_it_says(tiny: Any, pyserini_folder: Any, sentences: Any, vectors: Any) -> None:
    plain, scaled = (
        vectors(open_as("ance", pyserini_folder("ance"), l2_norm=on), sentences[:3]) for on in (False, True)
    )
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    last = vectors(open_as("auto", tiny("bert"), pooling="eos"), sentences[:3])
    one = vectors(open_as("auto", tiny("bert"), pooling="last"), sentences[2:3])
    np.testing.assert_allclose(last[2:], one, atol=1e-5)


def test_a_gradir_json_does_not_count(tiny: Any, splade_dir: Any) -> None:
    folder = open_as("splade", splade_dir)
    assert (folder.config.special_tokens, folder.config.max_passage_length) == ("keep", 256)
    assert open_as("auto", splade_dir).config.kind == "dense"


def test_an_unknown_class(tiny: Any, raises_error: Any) -> None:
    with raises_error("--encoder-class anse", "did you mean 'ance'?", *CLASSES):
        open_as("anse", tiny("bert"))
    with raises_error("--pooling clss", "did you mean 'cls'?"):
        open_as("auto", tiny("bert"), pooling="clss")


def test_a_folder_of_another_class(tiny: Any, raises_error: Any) -> None:
    with raises_error("has no weights for embeddingHead.weight", "--encoder-class auto"):
        open_as("ance", tiny("roberta"))
    with raises_error("has no weights for", "--encoder-class auto"):
        open_as("dpr", tiny("bert"))
    with raises_error("`max_passage_length` is 65", "at most 64 tokens"):
        open_as("auto", tiny("bert"), max_length=65)
