"""Whole runs of tiny encoders: GradCache, interruption, several processes, what ends up in the folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from gradir.command import Outcome
from gradir.data.lists import write_lists
from gradir.data.records import GradedDoc, GradedList
from gradir.engine import Encoder
from gradir.errors import GradirError
from gradir.train.stage import dense, splade

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def lists_file(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each text is the answer to its first words; texts with the same end are graded 1."""
    made = []
    for i, text in enumerate(sentences):
        others = [(i + 8) % 64, (i + 1) % 64, (i + 11) % 64]
        docs = [GradedDoc(f"d{i}", 3, "rule", 9.0, text)]
        docs += [GradedDoc(f"d{j}", int(j % 8 == i % 8), "rule", 1.0 * (j % 8 == i % 8), sentences[j]) for j in others]
        made.append(GradedList(f"q{i}", " ".join(text.split()[:4]), tuple(docs)))
    path = tmp_path_factory.mktemp("lists") / "lists.jsonl"
    write_lists(path, made)
    return path


@pytest.fixture
def config(lists_file: Path, tiny: Tiny, tmp_path: Path) -> Callable[..., Path]:
    """`config(name, kind="dense", **changes)`: the YAML file of a run of 6 steps."""

    def make(name: str, kind: str = "dense", **changes: Any) -> Path:
        values = {
            "encoder": str(tiny("bert", head=kind == "splade")),
            "output": str(tmp_path / name),
            "model": {"max_query_length": 12, "max_passage_length": 24},
            "lists": [{"lists": str(lists_file)}],
            "losses": [{"name": "infonce", "temperature": 0.2}],
            "steps": 6,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "dtype": "float32",
            "log_every": 1,
            "save_every": 2,
            "device": "cpu",
        }
        if kind == "splade":
            values["regularise"] = {"query": {"weight": 1e-3}, "doc": {"weight": 1e-3}, "steps": 0.5}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**values, **changes}))
        return path

    return make


def log_of(outcome: Outcome | Path) -> list[dict[str, float]]:
    folder = outcome if isinstance(outcome, Path) else outcome.output
    assert folder is not None
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def assert_same(left: list[dict[str, float]], right: list[dict[str, float]], close: float) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        assert np.allclose(list(one.values()), list(other.values()), rtol=close, atol=close)


@pytest.mark.parametrize("kind", ["dense", "splade"])
def test_chunks_change_nothing(kind: str, config: Callable[..., Path]) -> None:
    """GradCache with dropout: the second pass drops what the first dropped, and the regularisers see the whole batch."""
    run = {"dense": dense, "splade": splade}[kind]
    # without dropout, which is drawn in another order for other chunks
    whole = log_of(run(config("whole", kind, dropout=0.0)))
    chunked = log_of(run(config("chunked", kind, dropout=0.0, chunk_size=1)))
    assert_same(whole, chunked, 2e-4)
    assert whole[-1]["loss"] < whole[0]["loss"]


def test_dropout_is_the_same_in_the_second_pass(config: Callable[..., Path]) -> None:
    """In one chunk, cached or not, the same numbers are dropped, so the gradients are the same."""
    plain = log_of(dense(config("plain", dropout=0.3)))
    from gradir.train import perform

    original = perform.Trainer
    try:
        perform.Trainer = lambda *args: original(*args[:7], True, *args[8:])  # type: ignore[misc, assignment]
        cached = log_of(dense(config("cached", dropout=0.3)))
    finally:
        perform.Trainer = original  # type: ignore[misc]
    assert_same(plain, cached, 1e-4)


def test_accumulated_batches_share_the_regulariser_but_not_the_negatives(config: Callable[..., Path]) -> None:
    run = log_of(splade(config("accumulated", "splade", accumulate=2, dropout=0.0, steps=2)))
    whole = log_of(splade(config("at-once", "splade", batch_size=8, dropout=0.0, steps=2)))
    for name in (
        "flops_doc",
        "flops_query",
    ):  # of the second step, where the weight is above 0 and the model nearly the same
        assert run[1][name] == pytest.approx(whole[1][name], rel=0.05)
    assert run[0]["infonce"] < whole[0]["infonce"]  # half as many negatives


def test_a_killed_run_goes_on_with_the_same_losses(config: Callable[..., Path], tmp_path: Path) -> None:
    """kill -9 in the middle, and the same command again."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started(name: str) -> subprocess.Popen[bytes]:
        path = config(name, "splade", steps=200, save_every=10)
        command = [sys.executable, "-m", "gradir.train", "splade", str(path)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)

    process = started("killed")
    parts, deadline = tmp_path / "killed" / ".parts", time.monotonic() + 120
    while not list(parts.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert list(parts.glob("checkpoint-*"))
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    for name in ("killed", "whole"):
        process = started(name)
        assert process.communicate()[1] is not None
        assert process.returncode == 0
    assert_same(log_of(tmp_path / "killed"), log_of(tmp_path / "whole"), 0.0)
    folders = [tmp_path / name / "model.safetensors" for name in ("whole", "killed")]
    assert folders[0].read_bytes() == folders[1].read_bytes()


def test_a_stopped_run_goes_on_with_the_same_losses(config: Callable[..., Path], tmp_path: Path) -> None:
    """Stopped by an error at its fourth step, past a checkpoint."""
    whole = log_of(splade(config("whole", "splade")))
    again = stopped_and_resumed(config("resumed", "splade"))
    assert_same(whole, again, 0.0)
    folders = [tmp_path / name / "model.safetensors" for name in ("whole", "resumed")]
    assert folders[0].read_bytes() == folders[1].read_bytes()


def stopped_and_resumed(path: Path) -> list[dict[str, float]]:
    """The log of a run that ended at its fourth step and was started again."""
    from gradir.train.trainer import Trainer

    original = Trainer.training_step

    def failing(self: Any, *args: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return original(self, *args)

    try:
        Trainer.training_step = failing  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            splade(path)
    finally:
        Trainer.training_step = original  # type: ignore[method-assign]
    return log_of(splade(path))


def test_a_finished_run_is_not_done_again_and_another_is_refused(config: Callable[..., Path]) -> None:
    path = config("once")
    dense(path)
    assert "nothing to do" in dense(path).message
    with pytest.raises(GradirError, match="learning_rate"):
        dense(path, learning_rate=1e-4)


def test_what_cannot_begin_leaves_nothing_behind(config: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(GradirError, match="vectors have 32 numbers"):
        dense(config("made", matryoshka=[64]))
    assert not (tmp_path / "made").exists()
    assert dense(config("made", matryoshka=[16])).output == tmp_path / "made"


def test_a_loss_that_is_no_number_names_its_queries_and_keeps_the_checkpoint(
    config: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(GradirError, match=r"(loss|gradient) of step \d+ is .*In its batch: q\d+"):
        dense(config("nan", learning_rate=1e30, steps=60, max_grad_norm=0.0))
    assert not (tmp_path / "nan" / "manifest.json").exists()


def test_weights_that_are_no_numbers_do_not_replace_a_checkpoint(
    config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without max_grad_norm nobody looks at a gradient: a loss may be fine, and the step after it ruin the weights."""
    from gradir.train.trainer import Trainer

    original = Trainer.training_step

    def ruining(self: Any, model: Any, *args: Any) -> Any:
        loss = original(self, model, *args)
        if self.state.global_step == 3:
            next(model.parameters()).grad[0, 0] = float("nan")
        return loss

    monkeypatch.setattr(Trainer, "training_step", ruining)
    with pytest.raises(GradirError, match=r"after step 4 the weights .* q\d+.*checkpoint-2 is kept"):
        dense(config("ruined", max_grad_norm=0.0, save_every=2))
    assert [path.name for path in (tmp_path / "ruined" / ".parts").glob("checkpoint-*")] == ["checkpoint-2"]


def test_what_ends_before_a_checkpoint_leaves_room_for_another_configuration(
    config: Callable[..., Path], tmp_path: Path
) -> None:
    for changes in ({"batch_size": 999}, {"learning_rate": 1e30, "max_grad_norm": 0.0, "save_every": 50, "steps": 60}):
        with pytest.raises(GradirError):
            dense(config("room", **changes))
        assert not (tmp_path / "room").exists()
    assert dense(config("room", steps=1)).output == tmp_path / "room"


def test_lists_with_and_without_teacher_scores_in_one_run(
    config: Callable[..., Path], lists_file: Path, tmp_path: Path
) -> None:
    """Batches of one: whichever comes first, those without scores are passed over; with none at all it does not begin."""
    lists = [json.loads(line) for line in lists_file.read_text().splitlines()]
    for one in lists[1:]:
        for doc in one["docs"]:
            del doc["score"]
    some, none = tmp_path / "some.jsonl", tmp_path / "none.jsonl"
    some.write_text("".join(json.dumps(one) + "\n" for one in lists))
    none.write_text("".join(json.dumps(one) + "\n" for one in lists[1:]))
    log = log_of(dense(config("some", lists=[{"lists": str(some)}], losses=["kl"], batch_size=1, steps=64)))
    assert sum(row["loss"] > 0 for row in log if "loss" in row) == 1
    with pytest.raises(GradirError, match="no list has one"):
        dense(config("none", lists=[{"lists": str(none)}], losses=["kl"]))


def test_what_is_left_out_and_warned_of_stands_on_lines_of_its_own(
    config: Callable[..., Path], lists_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lists = [json.loads(line) for line in lists_file.read_text().splitlines()]
    for doc in lists[0]["docs"]:
        doc["grade"] = 0
    path = tmp_path / "lacking.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lists))
    dense(config("told", lists=[{"lists": str(path)}], losses=["wasserstein"], batch_size=1, steps=1))
    lines = [line.strip() for line in capfd.readouterr().err.replace("\r", "\n").splitlines()]
    assert "entry 1 of lists: 63 of 64 lists; left out: 1 with no positive" in lines
    assert any(line.startswith("warning: wasserstein: one query has no covariance") for line in lines)
    dense(config("distilled", lists=[{"lists": str(path)}], losses=["kl"], batch_size=1, steps=1))
    assert "with no positive" not in capfd.readouterr().err  # distillation learns from every list


def test_the_folder_is_an_encoder_like_any_other(config: Callable[..., Path], sentences: list[str]) -> None:
    outcome = splade(config("encoder", "splade"))
    assert outcome.output is not None
    encoder = Encoder.open(outcome.output, "cpu", "float32")
    assert encoder.config.max_query_length == 12
    assert len(encoder.encode(sentences[:5])) == 5
    manifest = json.loads((outcome.output / "manifest.json").read_text())
    assert manifest["counts"]["steps"] == 6
    assert not (outcome.output / ".parts").exists()


def test_the_best_model_is_kept_and_patience_ends_the_run(
    config: Callable[..., Path], corpus_file: Path, tmp_path: Path, sentences: list[str]
) -> None:
    queries, qrels = tmp_path / "queries.tsv", tmp_path / "qrels.tsv"
    queries.write_text("".join(f"q{i}\t{' '.join(text.split()[:4])}\n" for i, text in enumerate(sentences[:9])))
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(9)))
    dev = {"corpus": str(corpus_file), "queries": str(queries), "qrels": str(qrels), "every": 1, "patience": 2}
    outcome = dense(config("best", dev=dev, steps=40, learning_rate=1.0))  # so high that it only gets worse
    log = [row["dev_nDCG@10"] for row in log_of(outcome) if "dev_nDCG@10" in row]
    assert len(log) < 40
    assert len(log) - 1 - int(np.argmax(log)) == 2
    assert outcome.output is not None
    best = json.loads((outcome.output / "manifest.json").read_text())["counts"]["best"]
    assert best["value"] == max(log)
    assert best["step"] == int(np.argmax(log)) + 1


def test_adapters_are_merged(config: Callable[..., Path], tiny: Tiny, sentences: list[str]) -> None:
    outcome = dense(config("lora", lora={"rank": 4}, steps=3, learning_rate=1e-2))
    assert outcome.output is not None
    before, after = (Encoder.open(path, "cpu", "float32") for path in (tiny("bert"), outcome.output))
    assert {p.name for p in outcome.output.iterdir()} >= {"model.safetensors", "gradir.json", "modules.json"}
    assert np.abs(before.encode(sentences[:3]) - after.encode(sentences[:3])).max() > 1e-3


@pytest.mark.parametrize("side", ["binary", "weights", "separate"])
def test_other_query_sides(side: str, config: Callable[..., Path], corpus_file: Path, lists_file: Path) -> None:
    model = {"max_query_length": 12, "max_passage_length": 24, "query_side": side}
    source = [{"lists": str(lists_file), "corpus": str(corpus_file)}]
    outcome = splade(config(side, "splade", model=model, lists=source, learning_rate=1e-2))
    assert outcome.output is not None
    encoder = Encoder.open(outcome.output, "cpu", "float32")
    assert encoder.config.query_side == side
    vectors = encoder.encode(["wing spar of aluminium"], "query")
    assert len(vectors) == 1


def test_a_table_of_query_terms_never_falls_below_zero(
    config: Callable[..., Path], corpus_file: Path, lists_file: Path
) -> None:
    from safetensors.torch import load_file

    model = {"max_query_length": 12, "max_passage_length": 24, "query_side": "weights"}
    source = [{"lists": str(lists_file), "corpus": str(corpus_file)}]
    outcome = splade(
        config("table", "splade", model=model, lists=source, learning_rate=3.0)
    )  # steps larger than any weight
    assert outcome.output is not None
    table = load_file(outcome.output / "query" / "model.safetensors")["weight"]
    assert (table >= 0).all()
    assert (table > 0).any()


def test_matryoshka_adds_up_the_losses_of_prefixes(config: Callable[..., Path]) -> None:
    first = log_of(dense(config("sizes", matryoshka=[32, 8], dropout=0.0)))[0]
    assert first["loss"] == pytest.approx(first["infonce"] + first["infonce@8"], rel=1e-5)


@pytest.mark.parametrize(
    ("temperature", "cached", "world", "refused"),
    [("learn", True, 2, True), ("learn", True, 1, False), ("learn", False, 2, False), (0.1, True, 2, False)],
)
def test_a_learnt_temperature_and_chunks_need_one_process(
    temperature: Any, cached: bool, world: int, refused: bool
) -> None:
    """What the chunks' gradients come from is no part of what is computed in parallel: it would wait for ever."""
    from gradir.train.objective import Objective
    from gradir.train.perform import Parts, check_devices

    learner = torch.nn.Module()
    learner.objective = Objective([{"name": "infonce", "temperature": temperature}])
    parts: Any = Parts(learner, None, None, None, cached=cached)  # type: ignore[arg-type]
    if refused:
        with pytest.raises(GradirError, match=r"temperature: learn.*chunk_size.*one process"):
            check_devices(parts, world)
    else:
        check_devices(parts, world)


def test_two_processes_learn_as_one_with_twice_the_batch(config: Callable[..., Path], tmp_path: Path) -> None:
    alone = log_of(splade(config("alone", "splade", dropout=0.0, steps=4)))
    path = config("together", "splade", dropout=0.0, steps=4, batch_size=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, "-m", "gradir.train", "splade", str(path)],
        env=environment,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    together = log_of(tmp_path / "together")
    assert [row["loss"] for row in together] == pytest.approx([row["loss"] for row in alone], rel=1e-3)
    assert [row["flops_doc"] for row in together[1:]] == pytest.approx(
        [row["flops_doc"] for row in alone[1:]], rel=1e-3
    )
    assert torch.isfinite(torch.tensor([row["grad_norm"] for row in together])).all()
