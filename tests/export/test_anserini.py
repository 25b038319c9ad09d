"""The variant for Anserini's Java encoders; Java itself is asked in test_export_stage (through --check) and here once more."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.errors import GradirError
from gradir.export.anserini import SLOTS, check_fits, write_variant
from gradir.export.java import encode_in_java
from gradir.export.samples import TEXTS, java_splits_alike
from gradir.models.config import EncoderConfig
from gradir.models.folder import open_folder, open_tokenizer


def session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def flat(path: Path, ids: torch.Tensor) -> dict[int, float]:
    """What the sparse variant gives, as Java reads it."""
    feeds = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
    places, weights = session(path).run(
        ["output_idx", "output_weights"], {name: value.numpy() for name, value in feeds.items()}
    )
    assert places.ndim == weights.ndim == 1
    assert (places.dtype, weights.dtype) == (np.int64, np.float32)
    return dict(zip(places.tolist(), weights.tolist(), strict=True))


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_query_length": 9}, {"impact_scale": 100.0}, {"top_k_query": 20}],
    ids=["", "cut", "scale", "top"],
)
def test_the_sparse_graph_gives_the_terms_of_a_query(splade_dir: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Java lets 511 tokens through and rounds by 51.2: the graph cuts, scales and chooses so that the impacts are ours."""
    slot = write_variant(open_folder(splade_dir, **changes), tmp_path / "anserini")
    assert slot.name == "SpladeV3"
    folder = open_folder(splade_dir, **changes)
    for text in ("a wing spar", "", "the boundary layer of a flat plate in a wind tunnel " * 9):
        whole = folder.tokenizer([text], truncation=True, max_length=511, return_tensors="pt")["input_ids"]
        length = folder.config.max_query_length
        cut = folder.tokenizer([text], truncation=True, max_length=length, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            weights = folder.model(cut, torch.ones_like(cut))[0] * folder.config.impact_scale / 51.2
        if folder.config.top_k_query:
            weights = torch.where(weights < weights.topk(20).values[-1], 0, weights)
        found = flat(tmp_path / "anserini" / "model.onnx", whole)
        assert set(found) == set(weights.nonzero()[:, 0].tolist())
        assert all(abs(found[i] - float(weights[i])) < 1e-4 for i in found)


def test_the_dense_graph_gives_the_vector_of_a_query(minilm: Path, tmp_path: Path) -> None:
    slot = write_variant(open_folder(minilm, max_query_length=12), tmp_path / "anserini")
    assert slot.name == "CosDprDistil"
    folder = open_folder(minilm, max_query_length=12)
    for text in ("a wing spar", "", "the boundary layer of a flat plate in a wind tunnel " * 9):
        whole = folder.tokenizer([text], return_tensors="pt")["input_ids"]
        (found,) = session(tmp_path / "anserini" / "model.onnx").run(["pooler_output"], {"input_ids": whole.numpy()})
        cut = folder.tokenizer([text], truncation=True, max_length=12, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected = folder.model(cut, torch.ones_like(cut))
        assert found.shape == (1, 384)
        assert np.abs(found - expected.numpy()).max() < 1e-5


def test_queries_without_a_model_work_in_java_too(splade_dir: Path, tmp_path: Path, torch_outputs: Any) -> None:
    """An inference-free query side is a graph like any other: a look-up."""
    from transformers import AutoModelForMaskedLM

    from gradir.models.folder import write_splade_folder

    source = open_folder(splade_dir)
    mlm = AutoModelForMaskedLM.from_pretrained(splade_dir)
    table = torch.linspace(0.5, 3, 30522)
    write_splade_folder(tmp_path / "idf", mlm, source.tokenizer, replace(source.config, query_side="idf"), table)
    slot = write_variant(open_folder(tmp_path / "idf"), tmp_path / "idf" / "anserini")
    folder, texts = open_folder(tmp_path / "idf"), ["wing spar of a wing", "boundary layer"]
    terms = (tmp_path / "idf" / "vocab.txt").read_text(encoding="utf-8").split("\n")
    expected = torch.round(torch_outputs(folder, texts, "query") * 51.2).int()
    for row, found in zip(expected, encode_in_java(tmp_path / "idf" / "anserini", slot, texts), strict=True):
        assert found == {terms[i]: int(row[i]) for i in row.nonzero()[:, 0]}


def test_where_java_splits_otherwise_it_is_known(splade_export: tuple[Path, Any], torch_outputs: Any) -> None:
    """The texts that are left out of the comparison do differ, and the built-in ones do not."""
    tokenizer = open_tokenizer(splade_export[0])
    assert all(java_splits_alike(text, tokenizer.all_special_tokens) for text in TEXTS)
    odd = ["東京 タワー 北京", "soft\u00adware zero\u200bwidth", "the [MASK] token"]
    assert not any(java_splits_alike(text, tokenizer.all_special_tokens) for text in odd)
    folder = open_folder(splade_export[0])
    terms = (splade_export[0] / "vocab.txt").read_text(encoding="utf-8").split("\n")
    expected = torch.round(torch_outputs(folder, odd, "query") * 51.2).int()
    found = encode_in_java(splade_export[0] / "anserini", SLOTS["splade"], odd)
    for row, java in zip(expected, found, strict=True):
        assert java != {terms[i]: int(row[i]) for i in row.nonzero()[:, 0]}


def test_java_that_fails_is_named(splade_export: tuple[Path, Any], tmp_path: Path, raises_error: Any) -> None:
    shutil.copytree(splade_export[0] / "anserini", tmp_path / "anserini")
    (tmp_path / "anserini" / "model.onnx").write_bytes(b"no graph")
    with raises_error("Anserini's SpladeV3 encoder failed"):
        encode_in_java(tmp_path / "anserini", SLOTS["splade"], ["a"])


class _Tokenizer:
    """As much of a tokenizer as check_fits looks at."""

    def __init__(self, model: str = "WordPiece", lowercase: bool = True, accents: bool | None = None, **vocab: int):
        normalizer = {"type": "BertNormalizer", "lowercase": lowercase, "strip_accents": accents}
        self._text = json.dumps({"model": {"type": model}, "normalizer": normalizer})
        names = {"PAD": 0, "UNK": 100, "CLS": 101, "SEP": 102} | vocab
        self._vocab = {f"[{name}]": i for name, i in names.items() if i >= 0}
        self.backend_tokenizer = self

    def to_str(self) -> str:
        return self._text

    def get_vocab(self) -> dict[str, int]:
        return self._vocab


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        ({"model": "BPE"}, "no WordPiece of BERT's"),
        ({"lowercase": False}, "keeps capital letters"),
        ({"accents": False}, "keeps accents"),
        ({"CLS": 2, "SEP": 3}, "[CLS] is 2, not 101, [SEP] is 3, not 102"),
        ({"UNK": -1}, "no [UNK]"),
    ],
)
def test_tokenizers_that_java_has_not(tokenizer: dict[str, Any], reason: str) -> None:
    config = EncoderConfig(kind="splade", pooling="max")
    check_fits(config, _Tokenizer())
    with pytest.raises(GradirError, match="--anserini") as caught:
        check_fits(config, _Tokenizer(**tokenizer))
    assert reason in str(caught.value)


def test_a_query_prefix_is_refused(minilm: Path, raises_error: Any) -> None:
    folder = open_folder(minilm, query_prefix="query: ")
    with raises_error("queries have the prefix 'query: '"):
        check_fits(folder.config, folder.query_tokenizer)


def test_the_readme_puts_the_files_where_java_looks(splade_export: tuple[Path, Any], tmp_path: Path) -> None:
    variant = tmp_path / "anserini"
    shutil.copytree(splade_export[0] / "anserini", variant)
    text = (variant / "README.md").read_text()
    commands = text.partition("```bash\n")[2].partition("```")[0].splitlines()
    subprocess.run(["bash", "-ec", "\n".join(commands[:3])], cwd=variant, check=True)
    cache = variant / "anserini-home" / ".cache" / "pyserini" / "encoders"
    assert sorted(path.name for path in cache.iterdir()) == ["splade-v3-optimized.onnx", "splade-v3-vocab.txt"]
    assert shlex.split(commands[4])[:3] == ["gradir", "pyserini", "search.lucene"]
    assert "--onnx-encoder SpladeV3" in commands[4]
