"""`python -m gradir.encode input … output … encoder …` against `python -m pyserini.encode` on the same words."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from gradir import jvm
from gradir.encode import pyserini_run
from gradir.encode.__main__ import main

TITLES = ("Wing", "the boundary layer", "", "Asthma, chronic", "a [SEP] b")


@pytest.fixture(scope="module", autouse=True)
def _pyserini() -> None:
    os.environ.setdefault("OPENAI_API_KEY", "unused")
    jvm.ensure()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    """Ids of three kinds, titles that may be empty, texts with spaces at their ends, blank texts, an umlaut."""
    folder = tmp_path_factory.mktemp("drop-in") / "corpus"
    folder.mkdir()
    rows = []
    for i, text in enumerate([*sentences[:24], "  Überschall \n mit  Raum ", "a", " "]):
        name = ("id", "_id", "docid")[i % 3]
        rows.append({name: i if i % 2 else f"d {i}", "title": TITLES[i % len(TITLES)], "text": text})
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)]
    (folder / "b.jsonl").write_text("".join(lines[:15]), encoding="utf-8")
    (folder / "a.json").write_text("".join(lines[15:]), encoding="utf-8")
    return folder


def pyserini(words: list[str], output: Path) -> Path:
    """What Pyserini itself writes."""
    before = sys.argv
    sys.argv = ["pyserini.encode", *[str(output) if word == "OUTPUT" else word for word in words]]
    try:
        runpy.run_module("pyserini.encode", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before
    return output


def ours(words: list[str], output: Path) -> Path:
    assert main([str(output) if word == "OUTPUT" else word for word in words]) == 0
    return output


def lines(folder: Path) -> list[dict[str, Any]]:
    assert [path.name for path in folder.iterdir()] == ["embeddings.jsonl"]
    return [json.loads(line) for line in (folder / "embeddings.jsonl").read_text(encoding="utf-8").splitlines()]


def words(corpus: Path, encoder: Path, *, read: str = "", write: str = "", encoding: str = "") -> list[str]:
    first = ["input", "--corpus", str(corpus), *read.split(), "output", "--embeddings", "OUTPUT", *write.split()]
    return [*first, "encoder", "--encoder", str(encoder), "--device", "cpu", *encoding.split()]


def compare(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Same ids, order, texts; numbers to 1e-5, or impacts to one unit and the same terms but for those that round to 0."""
    assert [(one["id"], one["contents"]) for one in found] == [(one["id"], one["contents"]) for one in expected]
    assert expected
    for one, other in zip(found, expected, strict=True):
        if isinstance(other["vector"], dict):
            mine, theirs = one["vector"], other["vector"]
            assert all(isinstance(impact, int) for impact in mine.values())
            for term in mine.keys() | theirs.keys():
                assert abs(mine.get(term, 0) - theirs.get(term, 0)) <= 1
            assert len(mine.keys() ^ theirs.keys()) <= 1  # a weight of 1e-7 more or less
        else:
            np.testing.assert_allclose(one["vector"], other["vector"], atol=1e-5)


CASES = {
    "cls": "--encoder-class auto",
    "mean": "--encoder-class auto --pooling mean --l2-norm",
    "prefix": "--encoder-class auto --pooling mean --l2-norm --prefix passage:",
    "sentence-transformers": "--encoder-class sentence-transformers",
    "contriever": "--encoder-class contriever --max-length 12",
    "arctic": "--encoder-class arctic",
    "titles": "--encoder-class auto --pooling mean --fields title text --prefix to",
    "pairs": "--encoder-class auto --pooling mean --fields title text --add-sep",
    "cut pairs": "--encoder-class auto --pooling mean --fields title text --add-sep --max-length 16",
    "batches": "--encoder-class auto --batch-size 3",
}


@pytest.mark.parametrize("case", CASES)
def test_dense_classes(case: str, corpus: Path, minilm: Path, tmp_path: Path) -> None:
    if "pairs" in case:  # where Pyserini fails without a title
        text = "".join(path.read_text(encoding="utf-8") for path in corpus.iterdir())
        corpus = tmp_path / "corpus.jsonl"
        corpus.write_text(text.replace('"title": ""', '"title": "none"'), encoding="utf-8")
    if case not in ("prefix", "titles"):  # as without a text
        lacking = "".join(
            path.read_text(encoding="utf-8") for path in ([corpus] if corpus.is_file() else corpus.iterdir())
        )
        corpus = tmp_path / "whole.jsonl"
        corpus.write_text(lacking.replace('"text": " "', '"text": "b"'), encoding="utf-8")
    given = words(corpus, minilm, read="--fields title text", encoding=CASES[case])
    compare(lines(ours(given, tmp_path / "ours")), lines(pyserini(given, tmp_path / "theirs")))


@pytest.mark.parametrize(
    "encoding", ["", "--encoder-class splade --fields title text", "--fields title text --add-sep"]
)
def test_splade(encoding: str, corpus: Path, splade_dir: Path, tmp_path: Path) -> None:
    """Impacts that round to 0 stay in Pyserini's dictionaries, special tokens too, and so they do here."""
    text = "".join(path.read_text(encoding="utf-8") for path in corpus.iterdir()).replace(
        '"title": ""', '"title": "none"'
    )
    single = tmp_path / "corpus.jsonl"
    blank = '{"id": "blank", "contents": "\\n"}\n' if not encoding else ""
    single.write_text(text.replace('"text": " "', '"text": "b"') + blank, encoding="utf-8")
    given = words(single, splade_dir, read="--fields title text", encoding=encoding)
    expected = lines(pyserini(given, tmp_path / "theirs"))
    compare(lines(ours(given, tmp_path / "ours")), expected)
    assert any(0 in one["vector"].values() for one in expected)


def test_tct_colbert(corpus: Path, minilm: Path, tmp_path: Path) -> None:
    given = words(
        corpus, minilm, read="--fields title text", encoding="--encoder-class tct_colbert --fields title text"
    )
    compare(lines(ours(given, tmp_path / "ours")), lines(pyserini(given, tmp_path / "theirs")))


def test_to_faiss(corpus: Path, minilm: Path, tmp_path: Path) -> None:
    import faiss

    text = "--encoder-class auto --pooling mean --dimension 384 --prefix p"
    given = words(corpus, minilm, read="--fields title text", write="--to-faiss", encoding=text)
    mine, theirs = ours(given, tmp_path / "ours"), pyserini(given, tmp_path / "theirs")
    assert sorted(path.name for path in mine.iterdir()) == ["docid", "index"]
    assert (mine / "docid").read_bytes() == (theirs / "docid").read_bytes()
    found, expected = (faiss.read_index(str(folder / "index")) for folder in (mine, theirs))
    assert (found.d, found.ntotal, found.metric_type) == (expected.d, expected.ntotal, expected.metric_type)
    np.testing.assert_allclose(
        found.reconstruct_n(0, found.ntotal), expected.reconstruct_n(0, expected.ntotal), atol=1e-5
    )


@pytest.mark.parametrize(("shard", "shards"), [(0, 4), (2, 4), (3, 4), (0, 1)])
def test_shards_and_delimiters(shard: int, shards: int, minilm: Path, sentences: list[str], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [
        {"key": f"k{i}", "contents": f" t{i} | {text}" + ("|" if i % 2 else "")}
        for i, text in enumerate(sentences[:10])
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = f"--fields title text --delimiter | --docid-field key --shard-id {shard} --shard-num {shards}"
    given = words(corpus, minilm, read=read, encoding="--encoder-class auto --fields title text")
    compare(lines(ours(given, tmp_path / "ours")), lines(pyserini(given, tmp_path / "theirs")))


def test_dpr_and_ance(tiny: Any, tmp_path: Path, sentences: list[str]) -> None:
    """Tiny random ones; Pyserini's classes want BERT's and RoBERTa's own tokenizers."""
    from transformers import DPRConfig, DPRContextEncoder

    source = tiny("bert")
    folder = tmp_path / "dpr"
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    DPRContextEncoder(DPRConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **settings)).save_pretrained(
        folder
    )
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"id": str(i), "title": f"title {i}", "text": text} for i, text in enumerate(sentences[:9])]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for fields in ("text", "title text"):
        encoding = f"--encoder-class dpr --fields {fields} --max-length 20"
        given = words(corpus, folder, read="--fields title text", encoding=encoding)
        name = fields.replace(" ", "-")
        compare(lines(ours(given, tmp_path / f"ours-{name}")), lines(pyserini(given, tmp_path / f"theirs-{name}")))


def test_a_dense_class_of_pyserini_runs_in_our_loop(
    minilm: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one pads on the left, so that the batches decide the numbers of a BERT: they must be the same too."""
    monkeypatch.setattr(pyserini_run, "PART_SIZE", 12)
    encoding = "--encoder-class qwen3 --l2-norm --batch-size 5 --prefix p"
    given = words(corpus, minilm, read="--fields title text", encoding=encoding)
    compare(lines(ours(given, tmp_path / "ours")), lines(pyserini(given, tmp_path / "theirs")))


def test_a_sparse_class_of_pyserini_runs_in_our_loop(
    minilm: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uniCOIL gives real weights by term: one more layer on BERT. Its class lacks what transformers 5 asks for."""
    import torch
    from pyserini.encode import UniCoilEncoder

    folder = tmp_path / "unicoil"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (minilm / name).exists():
            (folder / name).write_bytes((minilm / name).read_bytes())
    torch.manual_seed(1)
    weights = {f"bert.{name}": value for name, value in load_file(minilm / "model.safetensors").items()}
    weights |= {"tok_proj.weight": torch.randn(1, 384), "tok_proj.bias": torch.ones(1)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    given = words(corpus, folder, read="--fields title text", encoding="--fields title text --batch-size 5")
    assert main([str(tmp_path / "refused") if word == "OUTPUT" else word for word in given]) == 1
    monkeypatch.setattr(UniCoilEncoder, "all_tied_weights_keys", {}, raising=False)
    found, expected = lines(ours(given, tmp_path / "ours")), lines(pyserini(given, tmp_path / "theirs"))
    assert [one.keys() for one in found] == [one.keys() for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one["id"], one["contents"]) == (other["id"], other["contents"])
        assert list(one["vector"]) == list(other["vector"])
        np.testing.assert_allclose(list(one["vector"].values()), list(other["vector"].values()), atol=1e-5)
    assert (
        main([str(tmp_path / "f") if word == "OUTPUT" else word for word in (*given[:7], "--to-faiss", *given[7:])])
        == 1
    )


def test_pyserini_indexes_what_was_written(corpus: Path, splade_dir: Path, tmp_path: Path) -> None:
    """Nothing but the vectors may lie in the folder: every other file would be taken for documents."""
    given = words(corpus, splade_dir, read="--fields title text", encoding="--fields title text")
    folder = ours(given, tmp_path / "ours")
    from gradir.cli import main as gradir

    options = ["--collection", "JsonVectorCollection", "--input", str(folder), "--index", str(tmp_path / "index")]
    options += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1", "--impact", "--pretokenized"]
    assert gradir(["pyserini", "index.lucene", *options]) == 0
    from pyserini.index.lucene import LuceneIndexReader

    assert LuceneIndexReader(str(tmp_path / "index")).stats()["documents"] == 27
