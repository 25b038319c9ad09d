"""One contender of `benchmarks.train` in a process of its own: it trains, and waits after every few steps to be told to go on.

    python -m benchmarks.train_worker CONTENDER TASK.json

It prints one line of JSON for each line that it reads: the seconds of the steps since then, and the peak memory (MiB) above what it
held before the first step.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import TrainerCallback

DTYPE = "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cuda.is_available() else "float32"
QUERY_FLOPS, DOCUMENT_FLOPS, RATE = 5e-3, 3e-3, 2e-5


class Task(NamedTuple):
    """What all contenders do.

    Attributes:
        encoder: The folder to start from.
        rows: Texts of each list: the query, its positive, its negatives.
        batch_size: Lists of a step.
        length: Tokens of a text.
        pause: Steps between two lines.
    """

    encoder: str
    rows: list[list[str]]
    batch_size: int
    length: int
    pause: int

    @property
    def steps(self) -> int:
        """As many as there are lists for."""
        return len(self.rows) // self.batch_size


class Paced(TrainerCallback):
    """Waits for a line before every `pause` steps, and answers it after them.

    Memory is counted from before the first step: weights are there; gradients, the optimiser's state and activations are not.
    """

    def __init__(self, pause: int):
        self.pause, self.done, self.started, self.before = pause, 0, 0.0, 0.0

    def __call__(self, *_: Any) -> Paced:
        """In place of the class of a progress line, which is called with the command's name."""
        return self

    def close(self) -> None:
        """As that line is closed."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.done % self.pause == 0:
            if not self.done:
                for parameter in given["model"].parameters():
                    parameter.sum()  # weights of a mapped file become memory when they are read
                self.before = _forget_peak()
            if not sys.stdin.readline():
                os._exit(0)  # enough rounds
            self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.done += 1
        if self.done % self.pause == 0:
            tell(seconds=time.perf_counter() - self.started, peak=_memory("VmHWM") - self.before)


def tell(**found: float) -> None:
    """Answer a line."""
    print(json.dumps(found), file=sys.__stdout__, flush=True)


def _memory(name: str) -> float:
    """MiB, from the system."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def _forget_peak() -> float:
    """Let the peak begin anew from what is held now, which is returned."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def ours(kind: str, task: Task, paced: Paced) -> None:
    """`gradir train`, as a user calls it."""
    from gradir.train import perform, stage

    perform.LiveLine = paced  # type: ignore[assignment, misc]
    with tempfile.TemporaryDirectory() as folder:
        lists = Path(folder, "lists.jsonl")
        lists.write_text("\n".join(json.dumps(_list(*row)) for row in enumerate(task.rows)))
        train = stage.splade if kind == "splade" else stage.dense
        train(
            encoder=task.encoder,
            output=Path(folder, "model"),
            set_=[
                f"lists=[{{lists: {lists}}}]",
                f"losses=[{{name: infonce, temperature: {1 if kind == 'splade' else 0.05}}}]",
                f"model={{max_query_length: {task.length}, max_passage_length: {task.length}}}",
                f"batch_size={task.batch_size}",
                f"steps={task.steps}",
                f"learning_rate={RATE}",
                f"dtype={DTYPE}",
                "save_every=100000",
                "log_every=100000",
                *(
                    [f"regularise={{query: {{weight: {QUERY_FLOPS}}}, doc: {{weight: {DOCUMENT_FLOPS}}}, steps: 1}}"]
                    if kind == "splade"
                    else []
                ),
            ],
        )


def _list(number: int, texts: list[str]) -> dict[str, Any]:
    docs = [
        {"docid": f"{number}-{place}", "grade": int(place == 0), "source": "pydocs", "text": text}
        for place, text in enumerate(texts[1:])
    ]
    return {"format": 1, "qid": str(number), "query": texts[0], "docs": docs}


def naive(task: Task, paced: Paced) -> None:
    """The same with the head as its formula is written."""
    from gradir.models import together

    together.max_weights = naive_weights
    ours("splade", task, paced)


def naive_weights(
    states: Tensor, shapes: Any, weight: Tensor, bias: Tensor, tile: int = 0, twice: bool = False
) -> Tensor:
    """`max_i log(1 + relu(h_i . e_j + b_j))`, [B, S, V] in memory; arguments as those of `gradir.models.head_max.max_weights`."""
    from gradir.models.head_max import blocks_of

    parts = []
    for hidden in blocks_of(states, shapes):
        logits = torch.nn.functional.linear(hidden, weight, bias)  # [b, S, V]
        parts.append(torch.log1p(torch.relu(logits)).amax(1))
    return torch.cat(parts).float()


def sentence_transformers(kind: str, task: Task, paced: Paced) -> None:
    """Its trainer and its losses, with the same settings."""
    from datasets import Dataset

    columns = ["anchor", "positive", *(f"negative_{number}" for number in range(1, len(task.rows[0]) - 1))]
    rows = Dataset.from_list([dict(zip(columns, row, strict=True)) for row in task.rows])
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {
            "output_dir": folder,
            "use_cpu": True,
            "bf16": DTYPE == "bfloat16",
            "per_device_train_batch_size": task.batch_size,
            "max_steps": task.steps,
            "learning_rate": RATE,
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        }
        trainer = (_sparse if kind == "splade" else _dense)(task, rows, given, paced)
        trainer.train()


def _dense(task: Task, rows: Any, given: dict[str, Any], paced: Paced) -> Any:
    import sentence_transformers as peer
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    model = peer.SentenceTransformer(task.encoder, device="cpu")
    model.max_seq_length = task.length
    args = peer.SentenceTransformerTrainingArguments(**given)
    return peer.SentenceTransformerTrainer(
        model=model, args=args, train_dataset=rows, loss=MultipleNegativesRankingLoss(model), callbacks=[paced]
    )


def _sparse(task: Task, rows: Any, given: dict[str, Any], paced: Paced) -> Any:
    import sentence_transformers as peer
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    model = peer.SparseEncoder(task.encoder, device="cpu")
    model.max_seq_length = task.length
    loss = SpladeLoss(
        model,
        SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=DOCUMENT_FLOPS,
        query_regularizer_weight=QUERY_FLOPS,
    )
    args = peer.SparseEncoderTrainingArguments(**given)
    return peer.SparseEncoderTrainer(model=model, args=args, train_dataset=rows, loss=loss, callbacks=[paced])


def head(task: Task, max_weights: Callable[..., Tensor]) -> None:
    """The head alone, forward and backward, on states that are there already."""
    from gradir.models.folder import open_folder
    from gradir.train.batches import token_blocks

    opened = open_folder(task.encoder)
    model: Any = opened.model.eval()
    texts = [text for row in task.rows[: task.batch_size] for text in row]
    ids = opened.tokenizer(texts, truncation=True, max_length=task.length)["input_ids"]
    blocks = token_blocks(ids, 0, task.length)["blocks"]
    with torch.no_grad():
        states = torch.cat([model.mlm(input_ids=ids, attention_mask=mask).logits.flatten(0, 1) for ids, mask in blocks])
    states, weight, bias = (
        one.detach().clone().requires_grad_() for one in (states, model.decoder.weight, model.decoder.bias)
    )
    shapes = [tuple(ids.shape) for ids, _ in blocks]
    before = _forget_peak()
    while sys.stdin.readline():
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE == "bfloat16"):
            weights = max_weights(states, shapes, weight, bias, 1024)  # [B, V]
        torch.autograd.grad(weights.square().sum(), (states, weight, bias))
        tell(seconds=time.perf_counter() - started, peak=_memory("VmHWM") - before)


def main() -> None:
    """Train until nobody asks for more."""
    from gradir.models.head_max import max_weights

    contender, path = sys.argv[1:]
    task = Task(**json.loads(Path(path).read_text(encoding="utf-8")))
    paced = Paced(task.pause)
    sys.stdout = sys.stderr  # what libraries print is no answer
    contenders: dict[str, Callable[[], None]] = {
        "ours-splade": lambda: ours("splade", task, paced),
        "ours-dense": lambda: ours("dense", task, paced),
        "naive-splade": lambda: naive(task, paced),
        "peer-splade": lambda: sentence_transformers("splade", task, paced),
        "peer-dense": lambda: sentence_transformers("dense", task, paced),
        "ours-head": lambda: head(task, max_weights),
        "naive-head": lambda: head(task, naive_weights),
    }
    contenders[contender]()


if __name__ == "__main__":
    main()
