"""`gradir train init-splade`: SPLADE encoders from encoders of several architectures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gradir.data.corpus import read_corpus
from gradir.data.manifest import read_manifest
from gradir.data.sample import reservoir
from gradir.data.schemas import load
from gradir.data.vectors import SparseVectors
from gradir.engine.encoder import Encoder
from gradir.models.config import read_config
from gradir.models.folder import open_tokenizer
from gradir.train import init_splade
from gradir.train.__main__ import main

FAMILIES = ["bert", "distilbert", "roberta"]
ARGUMENTS: dict[str, Any] = {"samples": 64, "max_length": 48}


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: Any, tiny: Any, corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(what it was made from, a SPLADE encoder with a calibrated head) of each family."""
    source, output = tiny(request.param), tmp_path_factory.mktemp("made") / "splade"
    outcome = init_splade(str(source), str(corpus_file), output, percentile=90.0, **ARGUMENTS)
    assert "calibrated head" in outcome.message
    return source, output


def pooled_logits(folder: Path, texts: list[str], max_length: int) -> torch.Tensor:
    """What Hugging Face's own model says: the largest logit of each term over the tokens of each text, [N, V]."""
    from transformers import AutoModelForMaskedLM

    model, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    options = {"padding": True, "truncation": True, "max_length": max_length, "return_token_type_ids": False}
    batch = open_tokenizer(folder)(texts, return_tensors="pt", **options)
    with torch.no_grad():
        logits = model.eval()(**batch).logits
    return logits.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, -torch.inf).amax(1)


def test_about_the_asked_percentile_lies_below_zero(made: tuple[Path, Path], sentences: list[str]) -> None:
    pooled = pooled_logits(made[1], sentences, 48)
    assert 100 * (pooled < 0).float().mean() == pytest.approx(90, abs=1.5)


def test_no_term_is_favoured_over_texts_at_large(tiny: Any, corpus_file: Path, tmp_path: Path) -> None:
    """Each term's mean logit over the sample texts is the same: what fits any text says nothing about one."""
    init_splade(str(tiny("bert")), str(corpus_file), tmp_path / "splade", samples=10_000, max_length=48)
    texts = [document.contents for document in read_corpus(corpus_file)]
    usual = pooled_logits(tmp_path / "splade", texts, 48).mean(0)
    tokenizer = open_tokenizer(tmp_path / "splade")
    real = torch.ones(len(usual), dtype=torch.bool)
    real[tokenizer.all_special_ids] = False
    real[len(tokenizer) :] = False
    torch.testing.assert_close(usual[real], usual[real].mean().expand(int(real.sum())), atol=2e-3, rtol=0)


def test_minilm_too_and_its_logits_have_unit_deviation(splade_dir: Path, sentences: list[str]) -> None:
    pooled = pooled_logits(splade_dir, sentences, 64)
    assert 100 * (pooled < 0).float().mean() == pytest.approx(98, abs=0.2)
    terms = np.diff(encode(Encoder.open(splade_dir, "cpu", "float32"), sentences).indptr)
    assert 100 < terms.mean() < 1200  # 2% of 30,522 terms, those of less than half an impact left out


def test_a_term_of_the_text_outweighs_most_others(splade_dir: Path) -> None:
    """What calibration is for: the text's own words stand out."""
    encoder = Encoder.open(splade_dir, "cpu", "float32")
    terms, impacts = encode(encoder, ["asthma"]).row(0)
    own = encoder.tokenizer.convert_tokens_to_ids("asthma")
    assert terms[np.argmax(impacts)] == own


def encode(encoder: Encoder, texts: list[str]) -> SparseVectors:
    vectors = encoder.encode(texts)
    assert isinstance(vectors, SparseVectors)
    return vectors


def test_special_tokens_are_never_active(made: tuple[Path, Path], sentences: list[str]) -> None:
    pooled = pooled_logits(made[1], sentences, 48)
    special = open_tokenizer(made[1]).all_special_ids
    assert len(special) == 5
    assert (pooled[:, special] < -10).all()


def test_rows_without_a_token_are_never_active(
    tiny: Any, corpus_file: Path, tmp_path: Path, sentences: list[str]
) -> None:
    init_splade(str(tiny("bert", rows=512)), str(corpus_file), tmp_path / "splade", **ARGUMENTS)
    tokens = len(open_tokenizer(tmp_path / "splade"))
    assert (pooled_logits(tmp_path / "splade", sentences, 48)[:, tokens:] < -10).all()
    lines = (tmp_path / "splade" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == 512


def test_the_backbone_is_kept(made: tuple[Path, Path]) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in made)
    shared = [(name, other) for name in before for other in after if other.endswith("." + name)]
    assert len(shared) > 20
    for name, other in shared:
        assert torch.equal(before[name], after[other])


def test_two_runs_give_the_same_bytes(made: tuple[Path, Path], corpus_file: Path, tmp_path: Path) -> None:
    source, first = made
    init_splade(str(source), str(corpus_file), tmp_path / "again", percentile=90.0, **ARGUMENTS)
    for file in sorted(first.rglob("*")):
        if file.is_file() and file.name != "manifest.json":
            found = (tmp_path / "again" / file.relative_to(first)).read_bytes()
            if file.name == "README.md":  # its commands name the folder, and so does its title
                found = found.replace(str(tmp_path / "again").encode(), str(first).encode()).replace(
                    b"# again", b"# splade"
                )
            assert found == file.read_bytes(), file.name


def test_queries_without_a_model(tiny: Any, corpus_file: Path, tmp_path: Path, sentences: list[str]) -> None:
    for side in ("encoder", "binary"):
        init_splade(str(tiny("bert")), str(corpus_file), tmp_path / side, query_side=side, **ARGUMENTS)
    both = [Encoder.open(tmp_path / side, "cpu", "float32") for side in ("encoder", "binary")]
    np.testing.assert_array_equal(encode(both[0], sentences).impacts, encode(both[1], sentences).impacts)
    query = both[1].encode([sentences[0]], "query")
    assert isinstance(query, SparseVectors)
    ids = set(both[1].tokenizer(sentences[0], add_special_tokens=False)["input_ids"])
    terms, impacts = query.row(0)
    assert dict(zip(terms.tolist(), impacts.tolist(), strict=True)) == dict.fromkeys(ids, 51)
    assert read_manifest(tmp_path / "binary")["config"]["query_side"] == "binary"
    assert "query_side" not in read_manifest(tmp_path / "encoder")["config"]  # as it was before there was a choice


def test_what_else_the_folder_holds(made: tuple[Path, Path], sentences: list[str]) -> None:
    source, folder = made
    value = json.loads((folder / "gradir.json").read_text(encoding="utf-8"))
    jsonschema.validate(value, load("encoder"))
    assert (value["kind"], value["max_query_length"], value["max_passage_length"]) == ("splade", 48, 48)
    tokenizer, original = open_tokenizer(folder), open_tokenizer(source)
    assert tokenizer.model_max_length == 48
    vocab = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert vocab == tokenizer.convert_ids_to_tokens(range(len(vocab)))
    assert tokenizer(sentences)["input_ids"] == original(sentences)["input_ids"]
    backend = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert backend["truncation"] is backend["padding"] is None  # not those of the last call
    opened = Encoder.open(folder, "cpu").config
    assert read_config(folder) == opened  # both hashes are right


def test_sentence_transformers_reads_the_folder_alike(made: tuple[Path, Path], sentences: list[str]) -> None:
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(str(made[1]), device="cpu")
    assert theirs.max_seq_length == 48
    weights = theirs.encode(sentences[:5], convert_to_sparse_tensor=False).numpy()
    ours = encode(Encoder.open(made[1], "cpu", "float32"), sentences[:5])
    for i in range(5):
        terms, impacts = ours.row(i)
        assert np.abs(weights[i][terms] * 51.2 - impacts).max(initial=0) <= 0.51
        assert len(terms) == np.count_nonzero(np.rint(weights[i] * 51.2))
    assert len(ours.terms) > 0


@pytest.mark.parametrize("family", [*FAMILIES, "modernbert"])
def test_a_trained_head_is_kept(tiny: Any, corpus_file: Path, tmp_path: Path, family: str) -> None:
    source = tiny(family, head=True)
    outcome = init_splade(str(source), str(corpus_file), tmp_path / "splade", **ARGUMENTS)
    assert "its own masked-language head" in outcome.message
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "splade"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_manifest(tmp_path / "splade")["counts"]["samples"] == 0
    assert read_config(tmp_path / "splade").special_tokens == "drop"


@pytest.mark.parametrize(("family", "config"), [("modernbert", {}), ("bert", {"tie_word_embeddings": False})])
def test_other_heads_are_refused(
    tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any, family: str, config: dict[str, Any]
) -> None:
    with raises_error("its masked-language head is not built as in BERT", "tied decoder"):
        init_splade(str(tiny(family, **config)), str(corpus_file), tmp_path / "splade", **ARGUMENTS)
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_with_missing_weights_is_refused(
    tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any
) -> None:
    """A head calibrated on random states would look like an encoder."""
    from safetensors.torch import save_file

    source = Path(shutil.copytree(tiny("bert"), tmp_path / "source"))
    weights = {name: w for name, w in load_file(source / "model.safetensors").items() if "layer.1." not in name}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with raises_error(f"{source}: has no weights for bert.encoder.layer.1", "no part of the head"):
        init_splade(str(source), str(corpus_file), tmp_path / "splade", **ARGUMENTS)


def test_arguments_are_checked_together_before_anything_is_read(tmp_path: Path, raises_error: Any) -> None:
    with raises_error("--percentile 100", "--samples 0", "--max-length 2"):
        init_splade("nothing", "nowhere", tmp_path / "splade", percentile=100, samples=0, max_length=2)


def test_texts_longer_than_the_model_takes(tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any) -> None:
    with raises_error("`max_passage_length` is 65", "at most 64"):
        init_splade(str(tiny("bert")), str(corpus_file), tmp_path / "splade", max_length=65)


def test_a_blank_corpus(tiny: Any, tmp_path: Path, raises_error: Any) -> None:
    corpus = tmp_path / "blank.jsonl"
    corpus.write_text('{"_id": "a", "text": " "}\n')
    with raises_error(f"{corpus}: all documents are blank"):
        init_splade(str(tiny("bert")), str(corpus), tmp_path / "splade", **ARGUMENTS)
    assert not (tmp_path / "splade").exists()


def test_more_logits_than_torch_can_sort(tiny: Any, tmp_path: Path) -> None:
    """torch.quantile refuses more than 16 million values, which 600 texts have in BERT's vocabulary."""
    from gradir.models.calibrate import _percentile

    values = torch.arange(17_000_000, dtype=torch.float32)
    assert _percentile(values.reshape(17, -1), 50) == pytest.approx(8_500_000, rel=1e-4)


def test_finished_changed_and_overwritten(tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any) -> None:
    source, output = str(tiny("bert")), tmp_path / "splade model"
    first = init_splade(source, str(corpus_file), output, **ARGUMENTS)
    assert first.next_command.startswith(f"gradir encode --encoder '{output}' --corpus ")
    manifest = read_manifest(output)
    jsonschema.validate(manifest, load("manifest"))
    assert manifest["counts"]["samples"] == 64
    assert "nothing to do" in init_splade(source, str(corpus_file), output, **ARGUMENTS).message
    with raises_error("percentile: 98.0 -> 90.0", "--overwrite"):
        init_splade(source, str(corpus_file), output, percentile=90.0, **ARGUMENTS)
    init_splade(source, str(corpus_file), output, percentile=90.0, overwrite=True, **ARGUMENTS)
    assert read_manifest(output)["config"]["percentile"] == 90.0


def test_the_number_of_samples_is_that_of_the_texts(tiny: Any, corpus_file: Path, tmp_path: Path) -> None:
    init_splade(str(tiny("bert")), str(corpus_file), tmp_path / "splade", samples=1000, max_length=48)
    assert read_manifest(tmp_path / "splade")["counts"]["samples"] == 64


def test_the_command(tiny: Any, corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", str(tiny("bert")), "--corpus", str(corpus_file), "--output", str(tmp_path / "splade")]
    assert main(["init-splade", *words, "--max-length", "48"]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("next: gradir encode --encoder ")
    assert main(["init-spade"]) == 2
    assert main(["--help"]) == 0


def test_a_reservoir_is_a_uniform_repeatable_sample() -> None:
    texts = [str(i) for i in range(20)]
    assert reservoir(iter([*texts, " ", ""]), 99, 1) == texts
    assert reservoir(iter(texts), 5, 1) == reservoir(iter(texts), 5, 1)
    drawn = np.bincount([int(text) for seed in range(2000) for text in reservoir(iter(texts), 5, seed)], minlength=20)
    assert drawn.sum() == 2000 * 5
    assert np.abs(drawn - 500).max() < 100  # five deviations of a uniform draw
