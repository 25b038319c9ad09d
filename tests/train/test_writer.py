"""`gradir train writer`: a tiny writer learns ten answers by heart, and writes them when gradir's own engine asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradir.data.manifest import read_manifest
from gradir.errors import GradirError, InputError
from gradir.llm.hf_engine import open_engine
from gradir.llm.records import Request, Sampling
from gradir.llm.tokenizer import Tokenizer
from gradir.train.__main__ import main
from gradir.train.writer_data import IGNORED, Collator, Example, Examples, Steps, held_out, read_examples
from gradir.train.writer_model import WriterObjective, new_model, new_tokenizer
from gradir.train.writer_stage import Shape, writer
from tests.llm.tiny import make_tiny

SHAPE = Shape(400, 2, 64, 2, 128)
TINY: dict[str, Any] = {
    "vocabulary": 400, "layers": 2, "hidden": 64, "heads": 2, "context": 128, "max_length": 64, "batch_size": 11,
    "dtype": "float32", "device": "cpu", "save_every": 4, "log_every": 1,
}  # fmt: skip
THINGS = ["spar", "rib", "skin", "keel", "mast", "hull", "deck", "oar", "anchor", "rudder", "sail"]
DOES = ["bends", "turns", "breaks", "floats", "leans", "leaks", "burns", "rows", "sinks", "steers", "fills"]


def row(number: int) -> dict[str, Any]:
    thing, does = THINGS[number], DOES[-number]
    prompt = f"Document: The {thing} number {number} is old; it {does}.\nQuery:"
    return {
        "format": 1,
        "prompt": prompt,
        "answer": f"why the {thing} {does}",
        "qid": f"q{number}",
        "docid": "d",
        "grade": 3,
    }


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven pairs, of which one is held out."""
    return written(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", [row(i) for i in range(11)])


@pytest.fixture(scope="module")
def tokenizer(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    from gradir.train.writer_data import texts

    folder = tmp_path_factory.mktemp("tokenizer")
    new_tokenizer(texts([pairs]), SHAPE).save_pretrained(folder)
    return Tokenizer(str(folder))


@pytest.fixture(scope="module")
def objective(tokenizer: Tokenizer) -> WriterObjective:
    torch.manual_seed(1)
    return WriterObjective(new_model(tokenizer.backend, SHAPE)).eval()


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text(encoding="utf-8").splitlines()]


def test_what_it_learnt_by_heart_is_what_the_engine_writes(pairs: Path, tmp_path: Path) -> None:
    """The oracle of the whole chain: training and asking must agree on tokens, seam, begin and end."""
    output = tmp_path / "writer"
    # measured at the end alone: the weights that are kept are the last, and not those best for the pair held out
    words = TINY | {"steps": 150, "learning_rate": 5e-3, "eval_every": 150, "save_every": 500}
    outcome = writer([pairs], output, **words)
    assert outcome.next_command.startswith(f"gradir generate queries --llm hf:{output} ")
    examples = read_examples([pairs], Tokenizer(str(output)), 64)
    learnt = [row(int(i)) for i in np.flatnonzero(~held_out(examples, 13, pairs))]
    assert len(learnt) == 10
    engine = open_engine(str(output), None, {"dtype": "float32", "device": "cpu"})
    assert engine.context == 128
    requests = [Request(one["prompt"], Sampling(max_tokens=40, stop=("\n",))) for one in learnt]
    found = {place: reply for group in engine.run(requests) for place, reply in group}
    assert [found[i].choices[0].text.strip() for i in range(10)] == [one["answer"] for one in learnt]
    assert {found[i].choices[0].finish for i in range(10)} == {"stop"}
    manifest = read_manifest(output)
    assert manifest["counts"]["held_out"] == 1
    assert not (output / ".parts").exists()
    assert "nothing to do" in writer([pairs], output, **words).message


def test_the_tokenizer_reads_any_text_and_numbers_by_digits(tokenizer: Tokenizer) -> None:
    text = "Straße 2048 日本語 🚀\u00a0x"
    assert tokenizer.decode(tokenizer.prompt_ids(text)) == text
    assert len(tokenizer.prompt_ids("2048")) == 5  # and the token that begins a prompt
    assert tokenizer.prompt_ids("")[0] == tokenizer.backend.bos_token_id


def test_an_answer_goes_on_the_prompt_as_the_model_will_be_asked(pairs: Path, tokenizer: Tokenizer) -> None:
    examples = read_examples([pairs], tokenizer, 64)
    for number in range(11):
        one, known = examples[number], row(number)
        assert one.ids[: one.answer].tolist() == tokenizer.prompt_ids(known["prompt"])
        assert tokenizer.decode(one.ids[one.answer :].tolist()) == f" {known['answer']}"
        assert one.ids[-1] == tokenizer.backend.eos_token_id


@torch.no_grad()
def test_the_loss_of_a_filled_batch_is_that_of_its_pairs(
    pairs: Path, tokenizer: Tokenizer, objective: WriterObjective
) -> None:
    """Against the cross-entropy by hand, of each pair alone and with all its logits."""
    examples, collate = read_examples([pairs], tokenizer, 64), Collator(0)
    some = [examples[i] for i in (0, 3, 7)]
    some.append(Example("short", some[0].ids[-9:], 3))
    total = tokens = 0.0
    for one in some:
        ids = torch.from_numpy(one.ids.astype(np.int64))
        log_probs = objective.model(input_ids=ids[None]).logits[0].log_softmax(-1)
        total -= float(log_probs[torch.arange(one.answer - 1, len(ids) - 1), ids[one.answer :]].sum())
        tokens += len(ids) - one.answer
    parts = objective(collate(some))
    assert float(parts["loss"]) == pytest.approx(total / tokens, abs=1e-5)
    assert float(parts["answers"]) == pytest.approx(total / tokens, abs=1e-5)


@torch.no_grad()
def test_the_loss_counts_answers_and_as_much_of_prompts_as_is_asked(
    pairs: Path, tokenizer: Tokenizer, objective: WriterObjective
) -> None:
    one = read_examples([pairs], tokenizer, 64)[2]
    batch = Collator(0)([one])
    assert int(batch["answers"].sum()) == len(one.ids) - one.answer
    assert int((batch["labels"] != IGNORED).sum()) == len(one.ids) - 1
    changed = {**batch, "labels": batch["labels"].clone()}
    changed["labels"][0, 0] = 17  # a token of the prompt is not to be predicted
    assert float(objective(changed)["loss"]) == float(objective(batch)["loss"])
    shared = WriterObjective(objective.model, 0.5)
    parts = shared(batch)
    answers, prompts = len(one.ids) - one.answer, one.answer - 1
    expected = (parts["answers"] * answers + 0.5 * parts["prompts"] * prompts) / (answers + 0.5 * prompts)
    assert float(parts["loss"]) == pytest.approx(float(expected), rel=1e-6)
    assert float(shared(changed)["loss"]) != float(parts["loss"])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    words = TINY | {"steps": 12, "batch_size": 4, "prompt_loss": 0.2, "optimizer": optimizer}
    writer([pairs], tmp_path / "whole", **words)
    forward, begun = WriterObjective.forward, list[int]()

    def killed(objective: WriterObjective, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        begun.append(1)
        if len(begun) == 11:
            raise KeyboardInterrupt
        return forward(objective, batch)

    with monkeypatch.context() as patch:
        patch.setattr(WriterObjective, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            writer([pairs], tmp_path / "again", **words)
    writer([pairs], tmp_path / "again", **words)
    assert losses(tmp_path / "again") == losses(tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("again", "whole")]
    assert weights[0] == weights[1]


def test_it_goes_on_from_a_model_that_exists(pairs: Path, tmp_path: Path) -> None:
    start, output = make_tiny(tmp_path / "start"), tmp_path / "writer"
    writer([pairs], output, start=str(start), **TINY | {"steps": 3})
    assert Tokenizer(str(output)).prompt_ids("Query: wing") == Tokenizer(str(start)).prompt_ids("Query: wing")
    sizes = [json.loads((folder / "config.json").read_text())["vocab_size"] for folder in (output, start)]
    assert sizes[0] == sizes[1]


def made(lengths: Sequence[int], sizes: tuple[int, ...], groups: Sequence[int] | None = None) -> Examples:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    answers = np.ones(len(lengths), np.int32)
    keys = np.array(groups if groups is not None else range(len(lengths)), np.uint64)
    return Examples(np.zeros(starts[-1], np.int32), starts, answers, keys, sizes, 0, 0)


def test_files_come_by_weight_and_the_held_out_never() -> None:
    examples = made([5] * 300, (100, 200))
    held = np.arange(300) % 10 == 0
    steps = Steps(examples, held, [1.0, 0.25], 5, None, 4, 13)
    rows = np.concatenate([np.array(batch) for batch in steps])
    assert len(steps) == round(4 * (90 + 45) / 5)
    assert not held[rows].any()
    times = np.bincount(rows, minlength=300)[~held]
    assert set(times[:90]) <= {3, 4, 5}
    assert set(times[90:]) <= {0, 1, 2}
    assert [batch for batch in Steps(examples, held, [1.0, 0.25], 5, None, 4, 13)] == list(steps)


def test_pairs_of_a_query_are_held_out_together(pairs: Path) -> None:
    examples = made([3] * 900, (300, 600), [i % 300 for i in range(900)])
    held = held_out(examples, 13, pairs)
    assert held.sum() == 9
    assert len(set(np.flatnonzero(held) % 300)) == 3
    assert (held_out(examples, 14, pairs) != held).any()


def test_long_pairs_are_cut_or_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    long = {**row(1), "prompt": "Document: " + "The keel is old. " * 20}
    path = written(tmp_path / "pairs.jsonl", [row(0), long, {**row(2), "answer": "the keel is old " * 20}])
    examples, end = read_examples([path], tokenizer, 40), tokenizer.backend.eos_token_id
    assert (len(examples), examples.left_out, examples.cut) == (2, 1, 1)
    assert examples[0].ids[-1] == end
    assert len(examples[1].ids) == 40
    assert end not in examples[1].ids
    with pytest.raises(InputError, match="no pair fits --max-length 4"):
        read_examples([path], tokenizer, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": 60}, "heads of 32 or 64 numbers want 64 or 128"),
        ({"weights": [1.0, 2.0]}, "--weights has 2 numbers for 1 files"),
        ({"steps": 2, "epochs": 1.0}, "either --steps or --epochs"),
        ({"max_length": 500}, "above --context 128"),
        ({"learning_rate": float("nan")}, "--learning-rate nan is not above 0"),
    ],
)
def test_arguments_that_cannot_be(pairs: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(GradirError, match=words):
        writer([pairs], tmp_path / "writer", **TINY | options)
    assert not (tmp_path / "writer").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"format": 1, "prompt": "a:", "answer": ""}, "answer"),
        ({"format": 1, "prompt": 3, "answer": "b"}, "no `prompt`"),
        ({"format": 9, "prompt": "a:", "answer": "b"}, "format"),
    ],
)
def test_lines_that_are_no_pairs(tmp_path: Path, line: dict[str, Any], words: str) -> None:
    path = written(tmp_path / "pairs.jsonl", [row(1), line])
    with pytest.raises(InputError, match=rf"pairs.jsonl:2: .*{words}"):
        writer([path], tmp_path / "writer", **TINY)
    assert not (tmp_path / "writer").exists()  # and another configuration may begin there


def test_the_command_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["writer", "--help"])
    assert ended.value.code == 0
    assert "--prompt-loss" in capsys.readouterr().out
