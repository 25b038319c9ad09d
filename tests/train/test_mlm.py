"""`gradir train mlm`: whole runs with a tiny BERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from safetensors.torch import load_file

from gradir.data.manifest import read_manifest
from gradir.data.schemas import load
from gradir.engine.encoder import Encoder
from gradir.models.config import read_config
from gradir.train.__main__ import main
from gradir.train.mlm import run
from gradir.train.mlm_model import MaskedObjective

SHORT: dict[str, Any] = {
    "steps": 12, "batch_size": 8, "max_length": 32, "save_every": 4, "log_every": 1, "learning_rate": 1e-3, "dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 documents of two sentences each."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    texts = [f"{sentences[i % 64]} {sentences[(i * 7 + i // 64) % 64]}" for i in range(600)]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def losses(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "training.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_the_held_out_loss_falls_and_the_folder_opens(
    tiny: Any, corpus: Path, tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForMaskedLM

    source, output = tiny(family, head=True), tmp_path / "mlm"
    outcome = run(str(source), str(corpus), output, **(SHORT | {"steps": 60, "log_every": 10, "learning_rate": 3e-3}))
    measured = read_manifest(output)["measured"]
    assert measured["held_out_loss_after"] < 0.8 * measured["held_out_loss_before"]
    assert f"held-out loss {measured['held_out_loss_before']:.3f} -> " in outcome.message
    assert f"held-out loss before: {measured['held_out_loss_before']:.3f}" in capsys.readouterr().err
    assert outcome.next_command.startswith("gradir train splade ")
    rows = losses(output)
    assert rows[-1]["mlm"] < rows[0]["mlm"]
    model, info = AutoModelForMaskedLM.from_pretrained(output, output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    assert model.config.architectures == [type(model).__name__]
    opened = Encoder.open(output, "cpu")
    assert opened.config == read_config(output)
    assert (opened.config.kind, opened.config.max_passage_length) == ("splade", 32)
    jsonschema.validate(read_manifest(output), load("manifest"))
    assert not (output / ".parts").exists()
    assert not (output / "manifest.partial.json").exists()


@pytest.mark.parametrize("options", [{}, {"flops": 1e-3, "flops_steps": 8}, {"pack": True, "workers": 1}])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """With dropout, so that the state of the random numbers counts."""
    source = str(tiny("bert", head=True))
    run(source, str(corpus), tmp_path / "whole", **SHORT, **(options | {"workers": 0}))
    forward, begun = MaskedObjective.forward, list[int]()

    def killed(objective: MaskedObjective, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        begun.append(objective.step)
        if len(begun) == 11:
            raise KeyboardInterrupt
        return forward(objective, batch)

    with monkeypatch.context() as patch:
        patch.setattr(MaskedObjective, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, str(corpus), tmp_path / "broken", **SHORT, **options)
    assert [path.name for path in (tmp_path / "broken" / ".parts").glob("checkpoint-*")] == ["checkpoint-8"]
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr(MaskedObjective, "forward", killed)
        run(source, str(corpus), tmp_path / "broken", **SHORT, **options)
    assert begun == [*range(11), *range(8, 12)]  # it went on, and did not begin again
    assert len(losses(tmp_path / "whole")) == 12
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    for file in sorted((tmp_path / "whole").rglob("*")):
        if file.is_file() and file.name != "manifest.json":
            made = (tmp_path / "broken" / file.relative_to(tmp_path / "whole")).read_bytes()
            made = (
                made.replace(b"broken", b"whole") if file.name == "README.md" else made
            )  # its commands name the folder
            assert made == file.read_bytes()
    assert losses(tmp_path / "whole")[0] != losses(tmp_path / "whole")[8]


def test_flops_makes_texts_sparser_and_the_model_still_knows_hidden_words(
    tiny: Any, corpus: Path, tmp_path: Path
) -> None:
    source, measured = str(tiny("bert", head=True)), {}
    options = SHORT | {"steps": 60, "log_every": 60, "save_every": 60, "learning_rate": 3e-3}
    for weight in (1e-9, 0.1):
        run(source, str(corpus), tmp_path / str(weight), flops=weight, flops_steps=1.0, **options)
        measured[weight] = read_manifest(tmp_path / str(weight))["measured"]
        assert measured[weight]["held_out_loss_after"] < 0.8 * measured[weight]["held_out_loss_before"]
    assert measured[0.1]["held_out_terms_after"] < 0.5 * measured[0.1]["held_out_terms_before"]
    assert measured[0.1]["held_out_terms_after"] < 0.5 * measured[1e-9]["held_out_terms_after"]
    assert measured[0.1]["held_out_terms_after"] > 1
    said = run(
        source, str(corpus), tmp_path / "empty", flops=1.0, flops_steps=1.0, **(options | {"learning_rate": 1e-2})
    ).message
    assert "at 0 active terms" in said
    assert "give a smaller --flops" in said


def test_a_splade_folder_keeps_its_settings(tiny: Any, corpus_file: Path, tmp_path: Path) -> None:
    from gradir.train import init_splade

    init_splade(str(tiny("bert")), str(corpus_file), tmp_path / "start", samples=64, max_length=48)
    value = json.loads((tmp_path / "start" / "gradir.json").read_text(encoding="utf-8"))
    value |= {"special_tokens": "keep", "passage_prefix": "the ", "impact_scale": 100.0}
    (tmp_path / "start" / "gradir.json").write_text(json.dumps(value), encoding="utf-8")
    run(str(tmp_path / "start"), str(corpus_file), tmp_path / "mlm", **SHORT)
    found = read_config(tmp_path / "mlm")
    assert (found.special_tokens, found.passage_prefix, found.impact_scale) == ("keep", "the ", 100.0)
    assert found.max_passage_length == 32
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("start", "mlm"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_finished_changed_and_overwritten(tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any) -> None:
    source, output = str(tiny("bert", head=True)), tmp_path / "mlm"
    run(source, str(corpus_file), output, **SHORT)
    before = (output / "model.safetensors").read_bytes()
    again = run(source, str(corpus_file), output, **(SHORT | {"save_every": 3, "log_every": 2}))  # decide nothing
    assert "nothing to do" in again.message
    with raises_error("mask: 0.15 -> 0.3", "steps: 12 -> 2", "--overwrite"):
        run(source, str(corpus_file), output, **(SHORT | {"mask": 0.3, "steps": 2}))
    assert (output / "model.safetensors").read_bytes() == before
    run(source, str(corpus_file), output, overwrite=True, **(SHORT | {"mask": 0.3, "steps": 2}))
    assert read_manifest(output)["counts"]["steps"] == 2


def test_one_pass_over_the_documents_if_nothing_is_said(tiny: Any, corpus_file: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in SHORT.items() if name != "steps"}
    run(str(tiny("bert", head=True)), str(corpus_file), tmp_path / "mlm", **options)
    counts = read_manifest(tmp_path / "mlm")["counts"]
    assert (counts["documents"], counts["held_out"], counts["steps"]) == (64, 1, 8)


def test_a_model_without_a_head_is_sent_to_init_splade(
    minilm: Path, tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any
) -> None:
    for source in (minilm, tiny("bert")):
        with raises_error("no trained masked-language head", f"gradir train init-splade --encoder {source}"):
            run(str(source), str(corpus_file), tmp_path / "mlm", **SHORT)
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_checked_together_before_anything_is_read(tmp_path: Path, raises_error: Any) -> None:
    wrong = {"steps": 0, "epochs": 1.0, "batch_size": 0, "max_length": 2, "mask": 1.0, "flops": -1.0, "seed": -1}
    words = [
        "either --steps or --epochs",
        "--batch-size 0",
        "--max-length 2",
        "--mask 1.0",
        "--flops -1.0",
        "--seed -1",
    ]
    with raises_error(*words, "--steps 0"):
        run("nothing", "nowhere", tmp_path / "mlm", **wrong)  # type: ignore[arg-type]
    with raises_error("--pack does not go with --flops"):
        run("nothing", "nowhere", tmp_path / "mlm", pack=True, flops=1.0)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"_id": "a", "text": "one"}'], "one document"),
        (['{"_id": "a", "text": " "}', '{"_id": "b", "text": ""}'], "all documents are blank"),
        (['{"_id": "a", "text": "one"}', '{"_id": "a", "text": "two"}'], "used before"),
        (['{"_id": "a", "text": "one"}', '{"_id": "b", "text": 5.5}'], "`text` is not text"),
    ],
)
def test_a_corpus_that_cannot_be_learnt_from(
    tiny: Any, tmp_path: Path, raises_error: Any, lines: list[str], words: str
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(lines) + "\n")
    with raises_error(str(corpus), words):
        run(str(tiny("bert", head=True)), str(corpus), tmp_path / "mlm", **SHORT)


def test_other_models_that_cannot_be(tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any) -> None:
    source = str(tiny("bert", head=True))
    with raises_error("`max_passage_length` is 65", "at most 64"):
        run(source, str(corpus_file), tmp_path / "mlm", **(SHORT | {"max_length": 65}))
    from gradir.models.folder import load_pretrained, open_tokenizer

    tokenizer = open_tokenizer(Path(source))
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "maskless")
    load_pretrained("AutoModelForMaskedLM", Path(source))[0].save_pretrained(tmp_path / "maskless")
    with raises_error("no mask token"):
        run(str(tmp_path / "maskless"), str(corpus_file), tmp_path / "mlm", **SHORT)
    assert not (tmp_path / "mlm").exists()


def test_a_loss_that_is_no_number_stops_and_names_its_documents(
    tiny: Any, corpus_file: Path, tmp_path: Path, raises_error: Any
) -> None:
    with raises_error("of step ", "In its batch: d", "learning_rate"):
        run(str(tiny("bert", head=True)), str(corpus_file), tmp_path / "mlm", **(SHORT | {"learning_rate": 1e30}))


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with raises_error("mlm trains in one process, and 2 were started; leave out torchrun"):
        run("nothing", "nowhere", tmp_path / "mlm")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with raises_error("nothing"):  # it looks for the model
        run("nothing", "nowhere", tmp_path / "mlm")


def test_the_command(tiny: Any, corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--encoder", str(tiny("bert", head=True)), "--corpus", str(corpus_file), "--output", str(tmp_path / "a b")]
    assert main(["mlm", *words, "--steps", "2", "--batch-size", "4", "--max-length", "32"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"next: gradir train splade CONFIG.yaml --encoder '{tmp_path / 'a b'}'"
