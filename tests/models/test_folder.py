"""Opening encoder folders, and what is said about those that cannot be opened."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gradir.models.config import EncoderConfig, read_config
from gradir.models.encoders import DenseEncoder, SpladeEncoder
from gradir.models.folder import (
    load_pretrained,
    locate,
    open_folder,
    open_tokenizer,
    weights_hash,
    write_dense_folder,
)
from gradir.models.vocabulary import ids_without_token, size, special_ids, terms_by_id
from gradir.models.weights import bytes_needed, free_memory

Copy = Callable[..., Path]


@pytest.fixture
def copy(tiny: Any, tmp_path: Path) -> Copy:
    """A copy of a tiny encoder, to be damaged."""

    def make(family: str = "bert", **options: Any) -> Path:
        return Path(shutil.copytree(tiny(family, **options), tmp_path / "encoder"))

    return make


@pytest.fixture
def projected(tiny: Any, tmp_path: Path) -> Path:
    """A dense encoder with a projection to 4 numbers."""
    torch.manual_seed(2)
    backbone = load_pretrained("AutoModel", tiny("bert"))[0]
    model = DenseEncoder(backbone, "mean", False, [torch.nn.Linear(32, 4), torch.nn.Tanh()])
    config = EncoderConfig("dense", "mean", max_query_length=32, max_passage_length=32)
    write_dense_folder(tmp_path / "projected", model, open_tokenizer(tiny("bert")), config)
    return tmp_path / "projected"


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_the_kind_decides_the_model(tiny: Any) -> None:
    dense, splade = open_folder(tiny("bert")), open_folder(tiny("bert", head=True))
    assert isinstance(dense.model, DenseEncoder)
    assert isinstance(splade.model, SpladeEncoder)
    assert not dense.model.training
    assert {len(dense.config.weights_sha256), len(splade.config.tokenizer_sha256)} == {64}
    assert dense.config.weights_sha256 != splade.config.weights_sha256
    assert dense.config.tokenizer_sha256 == splade.config.tokenizer_sha256


def test_a_masked_language_model_opened_as_dense(tiny: Any) -> None:
    folder = open_folder(tiny("bert", head=True), kind="dense")
    assert (folder.config.kind, folder.config.pooling, folder.config.normalize) == ("dense", "mean", True)
    assert open_folder(tiny("bert", head=True), kind="dense", pooling="cls").config.pooling == "cls"


def test_a_dense_model_opened_as_splade(tiny: Any, raises_error: Any) -> None:
    with raises_error("has no weights for", "gradir train init-splade"):
        open_folder(tiny("bert"), kind="splade")


def test_a_pooling_that_does_not_go_with_the_kind(tiny: Any, raises_error: Any) -> None:
    with raises_error("pooling 'sum' does not go with a dense encoder"):
        open_folder(tiny("bert"), pooling="sum")


def test_missing_weights_of_a_dense_model(copy: Copy, raises_error: Any) -> None:
    folder = copy()
    change_weights(folder, lambda weights: {name: w for name, w in weights.items() if "layer.1." not in name})
    with raises_error(f"{folder}: has no weights for encoder.layer.1", "and 13 more", "Copy it again"):
        open_folder(folder)


def test_a_missing_pooler_does_not_matter(copy: Copy) -> None:
    folder = copy()
    change_weights(folder, lambda weights: {name: w for name, w in weights.items() if "pooler" not in name})
    assert open_folder(folder).config.kind == "dense"


def test_damaged_weights(copy: Copy, raises_error: Any) -> None:
    folder = copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with raises_error(f"{folder}: cannot be loaded"):
        open_folder(folder)


def test_weights_of_another_shape(copy: Copy, raises_error: Any) -> None:
    folder = copy()
    change_json(folder / "config.json", intermediate_size=48)
    with raises_error(f"{folder}: cannot be loaded"):
        open_folder(folder)


def test_no_weights(copy: Copy, raises_error: Any) -> None:
    folder = copy()
    (folder / "model.safetensors").unlink()
    with raises_error(f"{folder}: cannot be loaded"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_pickles_are_refused_unread(copy: Copy, raises_error: Any, name: str) -> None:
    folder = copy()
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"would not even load")
    with raises_error(f"{folder}: has its weights in {name} only", "pickle", "safetensors"):
        open_folder(folder)


def test_a_pickle_beside_safetensors_is_not_read(copy: Copy) -> None:
    folder = copy()
    (folder / "pytorch_model.bin").write_bytes(b"would not even load")
    assert open_folder(folder).config.kind == "dense"


def test_no_tokenizer(copy: Copy, raises_error: Any) -> None:
    folder = copy()
    for file in folder.glob("*token*"):
        file.unlink()
    with raises_error(f"{folder}: holds no tokenizer"):
        open_folder(folder)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_damaged_tokenizer(copy: Copy, raises_error: Any, text: str) -> None:
    folder = copy()
    (folder / "tokenizer.json").write_text(text)
    with raises_error(f"{folder}: its tokenizer cannot be loaded"):
        open_folder(folder)


@pytest.mark.parametrize("head", [True, False])
def test_a_vocabulary_larger_than_the_model(copy: Copy, raises_error: Any, head: bool) -> None:
    folder = copy(head=head)
    tokenizer = open_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["zweihundert", "dreihundert"])
    tokenizer.save_pretrained(folder)
    with raises_error(f"{folder}: the tokenizer has {rows + 2} tokens, the model {rows}"):
        open_folder(folder)


@pytest.mark.parametrize("side", ["query", "passage"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_longer_than_the_model_takes(copy: Copy, raises_error: Any, family: str, side: str) -> None:
    folder = copy(family)
    (folder / "model.safetensors").unlink()  # said before the weights are looked at
    with raises_error(f"`max_{side}_length` is 65, but the model takes at most 64 tokens"):
        open_folder(folder, **{f"max_{side}_length": 65})  # type: ignore[arg-type]


def test_the_longest_text_that_the_model_takes(tiny: Any) -> None:
    from gradir.engine.encoder import Encoder

    for family in ("bert", "distilbert", "roberta", "modernbert"):
        encoder = Encoder.open(tiny(family), "cpu", "float32", max_passage_length=64)
        assert encoder.encode(["wing spar " * 100])[0].shape == (32,)
        assert encoder.tokens == 64


@pytest.mark.parametrize("name", ["no-such-encoder", "nobody/no-such-encoder", "a/b/c/d", "/no/such/folder", ""])
def test_neither_folder_nor_hub_name(raises_error: Any, monkeypatch: Any, name: str, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    if not name:
        assert locate(name) == Path()  # the current folder, as everywhere
        return
    with raises_error(f"{name} is no folder here, and the hub did not give it (", "Check the path or the name"):
        locate(name)


def test_a_file_is_no_folder(tiny: Any, raises_error: Any) -> None:
    with raises_error("model.safetensors: is a file", "Name the model folder"):
        locate(tiny("bert") / "model.safetensors")


def test_code_of_the_model_is_not_run_unasked(copy: Copy, raises_error: Any, tmp_path: Path) -> None:
    folder = copy()
    change_json(
        folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    )
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with raises_error(str(folder), "--trust-remote-code"):
        open_folder(folder)
    assert not (tmp_path / "ran").exists()


def test_encoder_decoders_are_refused(tmp_path: Path, tiny: Any, raises_error: Any) -> None:
    from transformers import T5Config, T5Model

    config = T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    open_tokenizer(tiny("bert")).save_pretrained(tmp_path)
    with raises_error(f"{tmp_path}: is an encoder-decoder"):
        open_folder(tmp_path)


def test_a_causal_model_is_no_splade_encoder(tmp_path: Path, tiny: Any, raises_error: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    open_tokenizer(tiny("bert")).save_pretrained(tmp_path)
    with raises_error(f"{tmp_path}: cannot be loaded", "GPT2Config"):
        open_folder(tmp_path, kind="splade")


def test_a_model_larger_than_the_free_memory(tiny: Any, raises_error: Any, monkeypatch: Any) -> None:
    folder = tiny("bert")
    needed = 4 * sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert bytes_needed(folder) == needed
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr("gradir.models.weights.free_memory", lambda: needed - 1)
    with raises_error(
        f"{folder}: its weights take {needed:,} bytes", f"{needed - 1:,} bytes of memory are free", "smaller"
    ):
        open_folder(folder)


@pytest.mark.parametrize("free", [10**12, None])
def test_a_model_that_fits_is_loaded(tiny: Any, monkeypatch: Any, free: int | None) -> None:
    monkeypatch.setattr("gradir.models.weights.free_memory", lambda: free)
    assert open_folder(tiny("bert")).config.kind == "dense"


def test_the_free_memory_is_some_of_the_machines() -> None:
    free = free_memory()
    assert free is None or 0 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_half_precision_weights_count_as_float32(copy: Copy) -> None:
    folder = copy()
    needed = bytes_needed(folder)
    change_weights(folder, lambda weights: {name: w.half() for name, w in weights.items()})
    assert bytes_needed(folder) == needed


def test_a_tokenizer_without_special_tokens(copy: Copy, vectors: Any) -> None:
    folder = copy(head=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer |= {"post_processor": None, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    opened = open_folder(folder)
    ids = opened.tokenizer("wing spar")["input_ids"]
    assert len(ids) == 2
    assert opened.model.dropped.tolist() == special_ids(opened.tokenizer)
    assert vectors(opened, ["wing spar"]).any()


@pytest.mark.parametrize(("head", "kind"), [(False, "dense"), (True, "splade")])
def test_tevatrons_and_navers_folders_are_plain_ones(tiny: Any, head: bool, kind: str) -> None:
    config = open_folder(tiny("distilbert", head=head)).config
    assert (config.kind, config.special_tokens) == (kind, "drop")


def test_more_dimensions_than_there_are(tiny: Any, raises_error: Any) -> None:
    assert open_folder(tiny("bert"), dimensions=32).model.size == 32
    with raises_error("its vectors have 32 numbers, and 33 are asked for"):
        open_folder(tiny("bert"), dimensions=33)


def test_dimensions_are_cut_before_scaling(tiny: Any, vectors: Any, sentences: Any) -> None:
    whole = vectors(open_folder(tiny("bert"), normalize=False), sentences[:5])[:, :8]
    cut = vectors(open_folder(tiny("bert"), dimensions=8), sentences[:5])
    np.testing.assert_allclose(cut, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"activation_function": "torch.nn.modules.activation.Tanhh"}, "has the activation"),
        ({"activation_function": "os.system"}, "has the activation os.system"),
        ({"use_residual": True}, "has a residual"),
        ({"module_input_name": "token_embeddings"}, "a layer over tokens"),
        ({"in_features": None}, "no whole numbers `in_features`"),
        ({"out_features": 5}, "its weights do not fit"),
    ],
)
def test_projections_that_are_not_known(
    projected: Path, raises_error: Any, settings: dict[str, Any], problem: str
) -> None:
    assert open_folder(projected).model.size == 4
    change_json(projected / "2_Dense" / "config.json", **settings)
    with raises_error("2_Dense", problem):
        open_folder(projected)


def test_a_projection_in_a_pickle(projected: Path, raises_error: Any) -> None:
    (projected / "2_Dense" / "model.safetensors").rename(projected / "2_Dense" / "pytorch_model.bin")
    with raises_error("2_Dense: has its weights in pytorch_model.bin only", "pickle"):
        open_folder(projected)


def test_the_projection_is_part_of_the_weights_hash(projected: Path) -> None:
    before = open_folder(projected).config.weights_sha256
    path = projected / "2_Dense" / "model.safetensors"
    save_file({name: w + 1 for name, w in load_file(path).items()}, path)
    assert open_folder(projected).config.weights_sha256 not in ("", before)


def test_weights_decide_their_hash(copy: Copy) -> None:
    folder = copy()
    before = weights_hash(folder)
    change_weights(folder, lambda weights: {name: w + 1 for name, w in weights.items()})
    assert weights_hash(folder) not in (before, "")
    assert weights_hash(folder.parent) == ""


def test_loading_is_in_float32_and_says_what_lacks(tiny: Any) -> None:
    model, missing = load_pretrained("AutoModelForMaskedLM", tiny("bert"))
    assert model.dtype == torch.float32
    assert "cls.predictions.transform.dense.weight" in missing
    assert load_pretrained("AutoModelForMaskedLM", tiny("bert", head=True))[1] == []


class Holes:
    """A tokenizer whose ids leave holes."""

    all_special_ids = (0,)

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0, "b": 3}


def test_a_vocabulary_with_holes() -> None:
    assert size(Holes()) == 4
    assert terms_by_id(Holes(), 5) == ["a", "[no-token-1]", "[no-token-2]", "b", "[no-token-4]"]
    assert ids_without_token(Holes(), 5) == [1, 2, 4]


def test_minilm_opens_as_sentence_transformers_made_it(minilm: Path) -> None:
    folder = open_folder(minilm)
    assert folder.config.max_passage_length == 256
    assert read_config(minilm).weights_sha256 == ""
    assert folder.config.weights_sha256 == weights_hash(minilm)
