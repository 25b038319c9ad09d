"""Which `--encoder` of Pyserini's commands becomes gradir's, and what Pyserini is then given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import jvm, pyserini_plugin
from gradir.engine import DenseDocumentEncoder, DenseQueryEncoder, SparseDocumentEncoder, SparseQueryEncoder
from gradir.models.config import EncoderConfig, write_config


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`pyserini.encode`, its classes as they were when the test ends."""
    jvm.ensure()
    import pyserini.encode
    from pyserini.search.faiss import FaissSearcher
    from pyserini.search.lucene import LuceneImpactSearcher

    monkeypatch.setattr(LuceneImpactSearcher, "_init_query_encoder_from_str", staticmethod(lambda given: given))
    monkeypatch.setattr(FaissSearcher, "_init_encoder_from_str", staticmethod(lambda given: given))
    before = dict(vars(pyserini.encode))
    maps = [pyserini.encode.document_encoder_class_map, pyserini.encode.query_encoder_class_map]
    copies = [dict(classes) for classes in maps]
    yield pyserini.encode
    vars(pyserini.encode).update(before)
    for classes, copy in zip(maps, copies, strict=True):
        classes.clear()
        classes.update(copy)


@pytest.fixture(scope="module")
def dense(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A gradir folder; its path holds `ance`, from which Pyserini would guess another class."""
    folder = tmp_path_factory.mktemp("Relevance") / "dense"
    shutil.copytree(tiny("bert"), folder)
    lengths = {"max_query_length": 30, "max_passage_length": 40}
    write_config(folder, EncoderConfig(kind="dense", pooling="mean", normalize=True, passage_prefix="a: ", **lengths))
    return str(folder)


@pytest.fixture(scope="module")
def sparse(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("Relevance") / "sparse"
    shutil.copytree(tiny("bert", head=True), folder)
    lengths = {"max_query_length": 30, "max_passage_length": 40}
    write_config(folder, EncoderConfig(kind="splade", pooling="max", impact_scale=100.0, **lengths))
    return str(folder)


def chosen(classes: dict[str, Any], path: str, **keywords: Any) -> Any:
    """What Pyserini constructs: the first class whose key is part of the path."""
    return next(made for key, made in classes.items() if key in path.lower())(**keywords)


def test_the_document_encoder_of_encode(theirs: Any, dense: str, sentences: list[str]) -> None:
    words = [
        "input",
        "--corpus",
        "c",
        "output",
        "--embeddings",
        "e",
        "encoder",
        "--encoder",
        dense,
        "--batch-size",
        "8",
    ]
    ready, lines = pyserini_plugin.prepare("encode", words)
    assert ready == [*words, "--max-length", "40", "--dimension", "32"]
    assert lines == [
        f"gradir's encoder {dense}: dense, mean pooling, 40 tokens, unit length, prefix 'a: ', float32",
    ]
    made = chosen(theirs.document_encoder_class_map, dense, model_name=dense, device="cpu")
    direct = DenseDocumentEncoder(dense, dtype="float32").encode(sentences[:3])
    np.testing.assert_allclose(made.encode(texts=sentences[:3], fp16=False, max_length=40, add_sep=False), direct)


def test_flags_that_are_given_override_the_folder(theirs: Any, dense: str, sentences: list[str]) -> None:
    words = [
        "encoder",
        "--encoder",
        dense,
        "--max-length=12",
        "--pooling",
        "cls",
        "--prefix",
        "b:",
        "--dimension",
        "32",
    ]
    ready, (line,) = pyserini_plugin.prepare("encode", words)
    assert ready == words
    assert "cls pooling, 12 tokens" in line
    made = chosen(theirs.document_encoder_class_map, dense)
    oracle = theirs.AutoDocumentEncoder(dense, device="cpu", pooling="cls", l2_norm=True, prefix="b:")
    np.testing.assert_allclose(made.encode(sentences[:3]), oracle.encode(sentences[:3], max_length=12), atol=1e-5)


def test_sparse_documents(theirs: Any, sparse: str, sentences: list[str]) -> None:
    ready, _ = pyserini_plugin.prepare("encode", ["encoder", "--encoder", sparse, "--fields", "title", "text"])
    assert ready[-2:] == ["--max-length", "40"]
    made = chosen(theirs.document_encoder_class_map, sparse)
    assert isinstance(made, SparseDocumentEncoder)
    assert made.encode(sentences[:2]) == SparseDocumentEncoder(sparse, dtype="float32").encode(sentences[:2])


def test_the_query_encoders_of_faiss_and_hybrid(theirs: Any, dense: str, sparse: str) -> None:
    words = ["dense", "--encoder", dense, "--encoder-class", "gradir", "--index", "f", "sparse", "--index", "l"]
    words += ["--impact", "--encoder", sparse, "--min-idf", "-1", "fusion", "--alpha", "1", "run", "--topics", "t"]
    ready, lines = pyserini_plugin.prepare("search.hybrid", words)
    assert ready == [word for word in words if word not in ("--encoder-class", "gradir")]
    assert [line.split(": ")[1].split(",")[0] for line in lines] == ["dense", "splade"]
    keywords = {"encoder_dir": dense, "tokenizer_name": None, "device": "cpu", "prefix": None, "fp16": False}
    made = chosen(theirs.query_encoder_class_map, dense, **keywords)
    assert isinstance(made, DenseQueryEncoder)
    assert made.encoder.config.max_query_length == 30
    from pyserini.search.faiss import FaissSearcher
    from pyserini.search.lucene import LuceneImpactSearcher

    assert isinstance(LuceneImpactSearcher._init_query_encoder_from_str(sparse), SparseQueryEncoder)
    assert LuceneImpactSearcher._init_query_encoder_from_str("other") == "other"
    assert FaissSearcher._init_encoder_from_str(dense) is made


@pytest.mark.parametrize("more", [[], ["--weight-range", "5", "--quant-range", "256"]])
def test_encode_query_has_one_encoder_under_every_name(theirs: Any, sparse: str, more: list[str]) -> None:
    words = ["--topics", "t", "--encoder", sparse, "--output", "o", *more]
    ready, _ = pyserini_plugin.prepare("encode.query", words)
    assert ready == words + ([] if more else ["--weight-range", "1", "--quant-range", "1"])
    made = theirs.AnceQueryEncoder(sparse, device="cpu", tokenizer_name="roberta-base")
    assert made is theirs.AutoQueryEncoder(sparse, pooling="cls")
    assert made.encode("a wing", max_length=256) == SparseQueryEncoder(sparse, dtype="float32").encode("a wing")
    assert isinstance(theirs.QueryEncoder, type)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("search.faiss", ["--encoder", "DENSE", "--encoder-class", "auto"]),
        ("encode", ["encoder", "--encoder", "DENSE", "--encoder-class=auto"]),
        ("search.faiss", ["--encoder", "PLAIN"]),
        ("search.faiss", ["--encoder"]),
        ("search.faiss", ["--encoder", "DENSE", "--max-length", "many"]),
        ("search.faiss", ["--encoded-queries", "DENSE"]),
        ("search.faiss", ["--encoder-class", "gradir"]),
        ("search.lucene", ["--encoder", "SPARSE", "--index", "bm25"]),
        ("index.lucene", ["--encoder", "DENSE"]),
    ],
)
def test_everything_else_stays_pyserinis(
    theirs: Any, tiny: Any, dense: str, sparse: str, command: str, words: list[str]
) -> None:
    paths = {"DENSE": dense, "SPARSE": sparse, "PLAIN": str(tiny("bert"))}
    words = [paths.get(word, word) for word in words]
    before = list(theirs.query_encoder_class_map)
    assert pyserini_plugin.prepare(command, words) == (words, [])
    assert list(theirs.query_encoder_class_map) == before


def test_the_class_gradir_takes_any_folder(theirs: Any, tiny: Any) -> None:
    plain = str(tiny("bert"))
    ready, _ = pyserini_plugin.prepare(
        "search.faiss", ["--encoder-class=gradir", "--encoder", plain, "--device", "cuda:0"]
    )
    assert ready == ["--encoder", plain, "--device", "cuda:0"]
    assert isinstance(chosen(theirs.query_encoder_class_map, plain), DenseQueryEncoder)


def test_the_wrong_kind_is_an_error_before_pyserini_starts(
    theirs: Any, dense: str, sparse: str, raises_error: Any
) -> None:
    with raises_error("this one is dense"):
        pyserini_plugin.prepare("search.lucene", ["--impact", "--encoder", dense])
    with raises_error("this one is SPLADE"):
        pyserini_plugin.prepare("search.faiss", ["--encoder", sparse])
    with raises_error("max_query_length"):
        pyserini_plugin.prepare("search.faiss", ["--encoder", dense, "--max-length", "100000"])


def test_help_of_the_command_names_the_plug_in(capsys: pytest.CaptureFixture[str]) -> None:
    from gradir import run_pyserini

    assert run_pyserini.main(["--help"]) == 0
    assert "--encoder-class gradir" in capsys.readouterr().out


def test_a_missing_encoder_is_said_without_a_traceback(
    theirs: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from gradir import run_pyserini

    (tmp_path / "gradir.json").write_text("{}")
    assert run_pyserini.main(["search.faiss", "--encoder", str(tmp_path), "--index", "i", "--topics", "t"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
