"""The command line of `pyserini.encode`: which class it means, how it reads, what it refuses. (What it writes: tests/e2e.)"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradir import jvm
from gradir.encode import pyserini_run
from gradir.encode.__main__ import main
from gradir.encode.pyserini_corpus import PyseriniCorpus
from gradir.encode.pyserini_encoder import OpenPyserini
from gradir.encode.pyserini_form import Encoding
from gradir.encode.pyserini_run import KEYWORDS, class_of, opener_of


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Pyserini's module."""
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    jvm.ensure()
    import pyserini.encode

    return pyserini.encode


def test_the_keywords_are_those_of_pyserini(theirs: Any) -> None:
    assert list(theirs.document_encoder_class_map) == list(KEYWORDS)


@pytest.mark.parametrize(
    ("path", "expected", "warns"),
    [
        ("/data/graded-relevance/splade-run1", "ance", True),
        ("/models/performance/x", "ance", True),
        ("/tmp/bedpress/model", "dpr", True),
        ("/ckpt/gradir-dense", "auto", False),
        ("/ckpt/splade-v3", "splade", False),
        ("/ckpt/distilsplade", "splade", True),
        ("castorini/tct_colbert-v2-msmarco", "tct_colbert", False),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers", False),
        ("facebook/Contriever", "contriever", False),
        ("models/auto", "auto", False),
        ("automatic/model", "auto", True),
    ],
)
def test_the_class_is_guessed_as_pyserini_does(
    path: str, expected: str, warns: bool, theirs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert class_of(path, None) == expected
    known = theirs.document_encoder_class_map
    assert next((known[word] for word in known if word in path.lower()), theirs.AutoDocumentEncoder) is known[expected]
    assert ("inside a word of the path; give --encoder-class" in capsys.readouterr().err) == warns
    assert class_of(path, "splade") == "splade"


class _Made(Exception):
    """The arguments that Pyserini would have opened a class with."""


@pytest.mark.parametrize("given", [None, "auto", "sentence-transformers", "contriever"])
@pytest.mark.parametrize("path", ["m/x", "m/auto-x", "sentence-transformers/x", "facebook/contriever-x"])
def test_pooling_and_length_are_those_that_pyserini_would_use(
    path: str, given: Any, theirs: Any, monkeypatch: Any
) -> None:
    from pyserini.encode.__main__ import init_encoder

    def made(**arguments: Any) -> None:
        raise _Made(arguments)

    for name in ("auto", "sentence-transformers", "contriever"):
        monkeypatch.setitem(theirs.document_encoder_class_map, name, made)
    monkeypatch.setattr("pyserini.encode.__main__.AutoDocumentEncoder", made)
    with pytest.raises(_Made) as caught:
        init_encoder(path, given, "cpu", "mean", True, "p", False, False)
    found = opener_of(Encoding(path, given, pooling="mean", l2_norm=True, prefix="p"), class_of(path, given))
    expected = {"pooling": "cls", "l2_norm": False, "prefix": None} | caught.value.args[0]
    assert found.encoder_class == "auto"
    assert (found.pooling, found.l2_norm, found.prefix) == (
        expected["pooling"],
        expected["l2_norm"],
        expected["prefix"],
    )


VALUES = st.text(st.sampled_from("ab \n|\t\u00e9\u3000"), max_size=6)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 9) | VALUES,
        "_id": VALUES,
        "docid": VALUES,
        "key": VALUES,
        "title": VALUES | st.none(),
        "text": VALUES,
        "img_path": st.sampled_from(["", "a.png", "http://x/a.png"]),
        "contents": VALUES,
    },
)
READINGS = st.fixed_dictionaries(
    {
        "fields": st.sampled_from([("text",), ("title", "text"), ("text", "img_path")]),
        "docid_field": st.sampled_from([None, None, "key"]),
        "delimiter": st.sampled_from(["\n", "|", "\n\n"]),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(rows=st.lists(OBJECTS, min_size=1, max_size=3), reading=READINGS, name=st.sampled_from(["c", "mbeir", "bright"]))
def test_a_corpus_is_read_as_pyserini_reads_it(
    rows: list[dict[str, Any]], reading: dict[str, Any], name: str, theirs: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        read = theirs.JsonlCollectionIterator(
            str(path), list(reading["fields"]), reading["docid_field"], reading["delimiter"]
        ).all_info
        expected = list(zip(read["id"], *(read[field] for field in reading["fields"]), strict=True))
    except (ValueError, AssertionError, KeyError):
        expected = None
    try:
        found = [(row.id, *row.text.values()) for row in PyseriniCorpus(str(path), **reading).rows()]
    except ValueError:  # InputError is one
        found = None
    assert found == expected


def test_a_folder_is_read_in_the_order_of_the_system(tmp_path: Path, theirs: Any) -> None:
    for i in (3, 1, 2):
        (tmp_path / f"{i}.jsonl").write_text(f'{{"id": "d{i}", "text": "a"}}\n')
    read = theirs.JsonlCollectionIterator(str(tmp_path), ["text"]).all_info["id"]
    assert [row.id for row in PyseriniCorpus(str(tmp_path)).rows()] == read


@pytest.fixture
def words(tiny: Any, tmp_path: Path) -> list[str]:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "wing"}\n{"id": "b", "text": "spar"}\n')
    first = ["input", "--corpus", str(corpus), "output", "--embeddings", str(tmp_path / "e")]
    return [*first, "encoder", "--encoder", str(tiny("bert")), "--encoder-class", "auto"]


def vectors(folder: Path) -> np.ndarray:
    lines = (folder / "embeddings.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["vector"] for line in lines])


def test_without_a_gpu_the_cpu_encodes_and_says_so(
    words: list[str], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "warning: --device cuda:0: there is no GPU here" in said.err
    assert "next: gradir pyserini index.faiss" in said.err
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*words, "--l2-norm"]) == 1
    assert "normalize: False -> True" in capsys.readouterr().err
    i = words.index("encoder")
    assert main([*words[:i], "--overwrite", *words[i:], "--l2-norm", "--device", "cpu"]) == 0
    np.testing.assert_allclose(np.linalg.norm(vectors(tmp_path / "e"), axis=1), 1, atol=1e-6)


def test_flags_that_pyserini_ignores_do_what_they_say(tiny: Any, words: list[str], tmp_path: Path) -> None:
    """fp16, and poolings other than cls and mean."""
    from gradir.data.manifest import read_manifest
    from gradir.engine.encoder import Encoder

    more = ["--device", "cpu", "--pooling", "max", "--fp16"]
    assert main([*words, *more]) == 0
    expected = Encoder.open(tiny("bert"), "cpu", "float32", pooling="max", normalize=False).encode(["wing", "spar"])
    np.testing.assert_allclose(vectors(tmp_path / "e"), expected, atol=0.2)
    config = read_manifest(tmp_path / "e")["config"]
    assert (config["dtype"], config["pooling"]) == ("bfloat16", "max")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--encoder-class", "bpr"], "--encoder-class bpr: Pyserini has no document encoder of it"),
        (["--fields", "title", "text"], "Add title there"),
        (["--dimension", "33"], "--dimension 33: the vectors have 32 numbers"),
        (["--encoder-class", "qwen3", "--batch-size", "0"], "--batch-size 0"),
        (["--max-length", "0"], "--max-length 0"),
        (["--device", "gpu"], "--device gpu"),
    ],
)
def test_what_is_refused(words: list[str], more: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    assert main([*words, "--device", "cpu", *more]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_missing_part_is_an_error_of_usage(words: list[str], capsys: Any) -> None:
    for wrong in (words[:3], [*words, "--no-such-flag"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
    assert "the part `output` is missing" in capsys.readouterr().err
    assert main([word.replace("--embeddings", "--emb") for word in [*words, "--device", "cpu"]]) == 0


def test_pyserini_is_asked_for_by_name(words: list[str], monkeypatch: Any, capsys: Any) -> None:
    from gradir.errors import MissingDependency

    def missing() -> None:
        raise MissingDependency("Pyserini", "A JVM", jvm.INSTALL)

    monkeypatch.setattr(jvm, "ensure", missing)
    assert main([*words, "--encoder-class", "qwen3", "--device", "cpu"]) == 1
    assert "pip install 'gradir[lucene]'" in capsys.readouterr().err


def test_parts_end_where_batches_do() -> None:
    assert [pyserini_run.whole_batches(size) for size in (1, 64, 5, 4096, 5000)] == [4096, 4096, 4095, 4096, 5000]


@pytest.mark.parametrize("name", ["qwen3", "dse"])
def test_a_models_own_code_runs_only_when_it_is_asked_for(name: Any, tmp_path: Path, raises_error: Any) -> None:
    """Pyserini's own classes of these names run it unasked."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Mine"}}')
    assert isinstance(opener_of(Encoding(str(tmp_path / "plain"), name), name), OpenPyserini)
    for encoder in (str(tmp_path / "code"), "some/model-of-the-hub"):
        with raises_error(f"--encoder-class {name}", "the model's own code", "--trust-remote-code"):
            opener_of(Encoding(encoder, name), name)
        assert isinstance(opener_of(Encoding(encoder, name, trust_remote_code=True), name), OpenPyserini)
