"""The model card: commands, and what Pyserini makes of a path and of an encoder."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gradir.export.card import Card, write_card
from gradir.export.commands import beyond_pyserini, differences, pyserini_commands
from gradir.export.pyserini_names import DOCUMENT_KEYS, QUERY_KEYS, guesses, unusable
from gradir.models.config import EncoderConfig

SPLADE = EncoderConfig(kind="splade", pooling="max")
DENSE = EncoderConfig(kind="dense", pooling="mean", normalize=True)


def test_the_keys_are_those_of_pyserini(monkeypatch: Any) -> None:
    from gradir import jvm

    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    jvm.ensure()
    import pyserini.encode

    assert tuple(pyserini.encode.document_encoder_class_map) == DOCUMENT_KEYS
    assert tuple(pyserini.encode.query_encoder_class_map) == QUERY_KEYS


@pytest.mark.parametrize(
    ("path", "kind", "keys"),
    [
        ("graded-relevance/splade-x", "splade", ["ance"]),
        ("models/splade-x", "splade", []),
        ("models/Splade-X", "splade", []),
        ("/models/performance/x", "dense", ["ance"]),
        ("/tmp/bedpress/model", "dense", ["dpr"]),
        ("automatic/model", "dense", ["auto"]),
        ("sentences/x", "dense", ["sentence"]),
        ("models/splade-like-dense", "dense", ["splade"]),
        ("ckpt/gradir-dense", "dense", []),
    ],
)
def test_what_pyserini_sees_in_a_path(path: str, kind: str, keys: list[str]) -> None:
    assert guesses(path, kind) == keys


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("models/unicoil/splade", "splade", "uniCOIL"),
        ("models/sparse", "splade", "only if its path holds `splade`"),
        ("models/splade", "splade", ""),
        ("models/goldset", "dense", "`dse`"),
        ("clips/x", "dense", "`clip`"),
        ("models/dense", "dense", ""),
    ],
)
def test_paths_that_no_class_helps(path: str, kind: str, words: str) -> None:
    assert words in unusable(path, kind)
    assert bool(unusable(path, kind)) == bool(words)


def test_that_pyserini_does_fail_on_them(minilm: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Told the class `auto`, it still passes what is meant for CLIP."""
    from gradir import jvm

    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    jvm.ensure()
    from pyserini.encode.__main__ import init_encoder

    for name in ("clips", "goldset"):
        (tmp_path / name).symlink_to(minilm)
        with pytest.raises(TypeError, match="multimodal"):
            init_encoder(str(tmp_path / name), "auto", "cpu", "mean", True, None, False, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"pooling": "sum"}, ["sum pooling"]),
        ({"activation": "log1p_relu"}, ["the activation log1p_relu"]),
        ({"expansion": False}, ["terms of the text only"]),
        ({"impact_scale": 100.0}, ["an impact scale other than 51.2"]),
        ({"top_k_query": 9, "query_prefix": "q: "}, ["a limit on the terms of a text", "prefixes"]),
        ({"query_side": "idf"}, ["queries that take another way than documents"]),
        ({"max_query_length": 32}, []),
    ],
)
def test_what_pyserini_cannot_do_of_splade(changes: dict[str, Any], words: list[str]) -> None:
    assert beyond_pyserini(replace(SPLADE, **changes), projected=False) == words


@pytest.mark.parametrize(
    ("changes", "projected", "words"),
    [
        ({"query_prefix": "query: ", "passage_prefix": "passage: "}, False, []),
        ({"query_prefix": "query:"}, False, ["prefixes that do not end in one space"]),
        ({"pooling": "last"}, True, ["last pooling", "layers after the pooling"]),
        ({"dimensions": 9, "pool_prefix": False}, False, ["vectors that are cut", "prefixes left out of the pooling"]),
    ],
)
def test_what_pyserini_cannot_do_of_dense(changes: dict[str, Any], projected: bool, words: list[str]) -> None:
    assert beyond_pyserini(replace(DENSE, **changes), projected) == words


def test_prefixes_are_given_without_their_space() -> None:
    config = replace(DENSE, query_prefix="query: ", passage_prefix="a long passage: ", pooling="cls", normalize=False)
    encode, search, _ = (shlex.split(line) for line in pyserini_commands("my models/x", config, 768))
    assert encode[encode.index("--prefix") + 1] == "a long passage:"
    assert search[search.index("--query-prefix") + 1] == "query:"
    for line in (encode, search):
        assert line[line.index("--encoder") + 1] == "my models/x"
        assert line[line.index("--encoder-class") + 1] == "auto"
        assert line[line.index("--pooling") + 1] == "cls"
        assert "--l2-norm" not in line
    assert encode[encode.index("--dimension") + 1] == "768"


def test_pooling_and_scaling_are_said_on_both_sides() -> None:
    for line in pyserini_commands("models/x", DENSE, 384)[:2]:
        assert "--encoder-class auto --pooling mean --l2-norm" in line


def test_differences_on_some_texts_are_told() -> None:
    assert "Pyserini cuts queries at 256 tokens, gradir at 32." in differences(replace(SPLADE, max_query_length=32))
    assert differences(DENSE) == []
    assert differences(replace(DENSE, max_query_length=32)) == ["Pyserini cuts queries at 256 tokens, gradir at 32."]


def card(folder: Path, path: str, config: EncoderConfig | None = SPLADE, made_from: str = "naver/splade-v3") -> str:
    write_card(folder, Card(path, made_from, config, 30522))
    return (folder / "README.md").read_text(encoding="utf-8")


def test_every_command_of_pyserini_that_takes_a_class_is_told_one(tmp_path: Path) -> None:
    for config in (SPLADE, DENSE):
        text = card(tmp_path, "graded-relevance/splade-x", config)
        lines = re.findall(r"^python -m pyserini\.(.*)$", text, re.MULTILINE)
        assert len(lines) >= 3
        for line in lines:
            if line.startswith(("encode", "search.faiss")):
                assert "--encoder-class" in line
        assert "without it Pyserini sees `ance`" in text


def test_a_path_or_encoder_that_pyserini_cannot_use_gets_the_wrapper(tmp_path: Path) -> None:
    text = card(tmp_path, "models/sparse")
    assert "cannot use this path: `search.lucene` opens an encoder only if its path holds `splade`" in text
    assert "gradir pyserini search.lucene --impact" in text
    assert "python -m pyserini" not in text
    text = card(tmp_path, "models/splade", replace(SPLADE, pooling="sum"))
    assert "do not know sum pooling" in text
    assert "python -m pyserini" not in text


def test_the_front_matter_is_yaml_for_the_hub(tmp_path: Path) -> None:
    import yaml

    text = card(tmp_path, "models/splade")
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "sentence-transformers"
    assert head["base_model"] == "naver/splade-v3"
    assert {"gradir", "splade", "pyserini"} <= set(head["tags"])
    assert "base_model" not in yaml.safe_load(card(tmp_path, "x", made_from=str(tmp_path)).split("---")[1])
    assert yaml.safe_load(card(tmp_path, "x", None).split("---")[1])["pipeline_tag"] == "text-ranking"
