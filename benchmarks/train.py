"""Training: steps and memory of SPLADE and dense encoders, the Wasserstein loss, hard negatives.

    python -m benchmarks.train [--quick] [--json FILE]

Each contender of a step trains in a process of its own (`benchmarks.train_worker`), and they take turns: while one does its steps
the others wait. So each has its own peak of memory. Texts are those of the built-in collection, joined until each has 128 tokens.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import loss_rows, mine_rows
from benchmarks.models import dense_folder, pydocs_folder, splade_folder
from benchmarks.table import Row, arguments, ratio_of, show
from benchmarks.train_worker import DTYPE

DOCUMENTS = 4


class Worker:
    """A contender.

    Args:
        contender: As `benchmarks.train_worker` knows it.
        task: The file that tells what is done.
    """

    def __init__(self, contender: str, task: Path):
        command = [sys.executable, "-m", "benchmarks.train_worker", contender, str(task)]
        self.log = task.with_name(f"{contender}.log").open("w")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )

    def turn(self) -> dict[str, float]:
        """Let it do its steps: `seconds`, and `peak` in MiB."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a worker without pipes")
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended:\n{Path(self.log.name).read_text()[-2000:]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """Close its input, at which it ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(60)
        self.log.close()


def turns(contenders: Sequence[str], task: dict[str, Any], rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each contender answers in each round, after one round that does not count."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "task.json")
        path.write_text(json.dumps(task), encoding="utf-8")
        workers = {name: Worker(name, path) for name in contenders}
        try:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
            for _ in range(rounds + 1):
                for name, worker in workers.items():
                    found[name].append(worker.turn())
        finally:
            for worker in workers.values():
                worker.end()
    return {name: answers[1:] for name, answers in found.items()}


def texts(queries: int, lists: int, length: int) -> list[list[str]]:
    """Lists of a query and four documents that fill `length` tokens."""
    from gradir.data.corpus import read_corpus
    from gradir.data.topics import read_topics

    draw = random.Random(13)
    contents = [document.contents for document in read_corpus(str(pydocs_folder()))]
    asked = [query.text for query in read_topics(pydocs_folder() / "queries.jsonl")]

    def filled() -> str:
        words: list[str] = []
        while len(words) < length:  # a word is a token or more
            words += draw.choice(contents).split()
        return " ".join(words)

    return [[draw.choice(asked), *(filled() for _ in range(DOCUMENTS))] for _ in range(queries * lists)]


def step_rows(kind: str, quick: bool) -> list[Row]:
    """Whole steps of the trainers."""
    batch, length, pause, rounds = (4, 64, 1, 2) if quick else (8, 128, 2, 7)
    contenders = [f"ours-{kind}", f"peer-{kind}", *(["naive-splade"] if kind == "splade" else [])]
    encoder = splade_folder() if kind == "splade" else dense_folder()
    rows = texts(batch, pause * (rounds + 2), length)
    task = {"encoder": str(encoder), "rows": rows, "batch_size": batch, "length": length, "pause": pause}
    found = turns(contenders, task, rounds)
    work = f"{kind} step, {batch} x {DOCUMENTS} x {length}, {DTYPE}"
    losses = "InfoNCE + FLOPS" if kind == "splade" else "InfoNCE"
    peer = f"sentence-transformers trainer, {losses}"
    ours, theirs = found[f"ours-{kind}"], found[f"peer-{kind}"]
    table = [_speed(work, peer, ours, theirs, pause, 2 if kind == "splade" else 1.3)]
    table += [_memory(f"{work}: memory", peer, ours, theirs, 4 if kind == "splade" else None, _STEP_MEMORY)]
    if kind == "splade":
        other = found["naive-splade"]
        table += [_speed(work, "itself with the naive head", ours, other, pause, 2)]
        table += [_memory(f"{work}: memory", "itself with the naive head", ours, other, None, _STEP_MEMORY)]
    return table


def head_rows(quick: bool) -> list[Row]:
    """SPLADE's head alone."""
    batch, length, rounds = (4, 64, 3) if quick else (8, 128, 9)
    task = {
        "encoder": str(splade_folder()),
        "rows": texts(batch, 1, length),
        "batch_size": batch,
        "length": length,
        "pause": 1,
    }
    found = turns(["ours-head", "naive-head"], task, rounds)
    work, against = f"SPLADE head, {batch} x {DOCUMENTS} x {length}, {DTYPE}", "the naive head"
    ours, theirs = found["ours-head"], found["naive-head"]
    return [
        _speed(work, against, ours, theirs, 1, None),
        _memory(f"{work}: memory", against, ours, theirs, 8, "above weights and states, which are there before"),
    ]


_STEP_MEMORY = "peak above the weights: gradients, AdamW's state, activations"

Answers = list[dict[str, float]]


def _speed(work: str, against: str, ours: Answers, theirs: Answers, steps: int, target: float | None) -> Row:
    seconds = {"ours": [one["seconds"] for one in ours], "theirs": [one["seconds"] for one in theirs]}
    rates = [steps / median(taken) for taken in seconds.values()]
    return Row(work, against, ratio_of(seconds, "ours", "theirs"), target, True, *rates, "steps/s", len(ours))


def _memory(work: str, against: str, ours: Answers, theirs: Answers, target: float | None, note: str) -> Row:
    """How many times as much theirs takes; peaks only grow, so the last one is that of all rounds."""
    mine, other = ours[-1]["peak"], theirs[-1]["peak"]
    return Row(work, against, other / mine, target, True, mine, other, "MiB", len(ours), note)


def main() -> None:
    """Run the benchmark."""
    given = arguments(__doc__)
    rows = [
        *step_rows("splade", given.quick),
        *head_rows(given.quick),
        *step_rows("dense", given.quick),
        *loss_rows.rows(given.quick),
        *mine_rows.rows(given.quick),
    ]
    show(rows, given.json)


if __name__ == "__main__":
    main()
