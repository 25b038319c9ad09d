"""`gradir train writer`: a small language model that answers one's own prompts, for `gradir generate` without an LLM hub."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from gradir.command import Outcome, command_line
from gradir.errors import GradirError

Optimizer = Literal["adamw", "muon"]

_HEADS = (32, 64)  # of these sizes vLLM computes heads on CPUs too
_POSITIVE = ("steps", "epochs", "batch_size", "learning_rate", "eval_every", "save_every", "log_every")


def writer(
    pairs: list[Path],
    output: Path,
    weights: list[float] | None = None,
    start: str | None = None,
    vocabulary: int = 8192,
    layers: int = 6,
    hidden: int = 256,
    heads: int = 4,
    context: int = 1024,
    max_length: int = 512,
    prompt_loss: float = 0.0,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    optimizer: Optimizer = "adamw",
    warmup: float = 0.05,
    weight_decay: float = 0.1,
    eval_every: int | None = None,
    save_every: int = 500,
    log_every: int = 10,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 13,
    overwrite: bool = False,
) -> Outcome:
    """Train a causal language model on prompts and their answers (gradir generate pairs).

    From scratch it is a small Qwen2 with a byte-level BPE tokenizer learned on the pairs; --start goes on from an existing model.
    Learnt is the next token of the answers, and with --prompt-loss that of the prompts too. A hundredth of the queries
    (of the documents, where there is no query), at most 500, is held out with all their pairs; the weights that give their answers
    the highest log-probability are kept. The result opens with --llm hf:FOLDER and vllm:FOLDER. An interrupted run goes on from
    its last checkpoint with the losses that it would have had.

    Args:
        pairs: Files that gradir generate pairs wrote: both directions, sentences to copy, as you like.
        output: The model folder to write.
        weights: Of the files: pairs of one with weight 2 come twice as often as those of one with weight 1 (default: all 1).
        start: Model to go on from, with its tokenizer: folder or hub name; its size is what it is.
        vocabulary: Most tokens of the tokenizer.
        layers: Of the new model.
        hidden: Width of the new model.
        heads: Attention heads; --hidden over --heads must be 32 or 64, the sizes that vLLM knows on CPUs too.
        context: Most tokens of a prompt and its answer that the new model takes.
        max_length: Tokens of a pair in training; longer answers are cut, pairs whose prompt leaves no room are left out.
        prompt_loss: Weight of a token of a prompt in the loss; one of an answer has 1.
        steps: Steps to train; by epochs if not given.
        epochs: How often all pairs of the file with the highest weight come; 3 if steps are not given either.
        batch_size: Pairs of a step.
        learning_rate: Highest learning rate; it falls to 0 with a cosine.
        optimizer: muon: for the matrices, AdamW for the rest; learns more from each token, of which it reads fewer a second.
        warmup: Steps until it is reached; below 1 a share of all steps.
        weight_decay: Of the matrices.
        eval_every: Steps between measurements of the held-out pairs (default: a tenth of all).
        save_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        device: auto, cpu, cuda and so on.
        dtype: Number format of the products; auto is bfloat16 where that is much faster. Weights stay float32.
        seed: Of the new weights, the order and what is held out.
        overwrite: Start afresh where the output exists.
    """
    shape = Shape(vocabulary, layers, hidden, heads, context)
    settings = Settings(
        tuple(weights or [1.0] * len(pairs)), start, shape, max_length, prompt_loss, steps, epochs, batch_size,
        learning_rate, optimizer, warmup, weight_decay, eval_every, save_every, log_every, seed,
    )  # fmt: skip
    problems = _problems(pairs, settings)
    if problems:
        raise GradirError("; ".join(problems) + ".")
    output = Path(output)
    words = {"llm": f"hf:{output}", "corpus": "CORPUS", "prompt": "PROMPT", "output": "DIR"}
    then = command_line("gradir generate queries", words)
    from gradir.data.manifest import PARTS, Job
    from gradir.engine.devices import choose_device, choose_dtype

    place = choose_device(device)
    chosen = choose_dtype(dtype, place)
    inputs: list[str | Path] = [*pairs]
    if start is not None:
        from gradir.models.loading import locate

        inputs.append(locate(start))
    decides = {**settings.deciding(), "dtype": str(chosen).removeprefix("torch.")}
    job = Job(output, "gradir train writer", decides, inputs, overwrite, resumable=True)
    if job.finished:
        return Outcome(output, f"{output} is there already; nothing to do", then)
    from gradir.train.writer_run import Work, train

    try:
        said = train(Work([Path(one) for one in pairs], settings, place, chosen), job)
    except GradirError:
        if not list((output / PARTS).glob("checkpoint-*")):
            shutil.rmtree(output / PARTS, ignore_errors=True)
            job.withdraw()  # nothing to go on from: another configuration may begin here
        raise
    return Outcome(output, f"{output}: {said}, {job.seconds():.0f} s", then)


class Shape(NamedTuple):
    """The size of a new model."""

    vocabulary: int
    layers: int
    hidden: int
    heads: int
    context: int


class Settings(NamedTuple):
    """What decides the result, and how often something is logged; `writer` describes it."""

    weights: tuple[float, ...]
    start: str | None
    shape: Shape
    max_length: int
    prompt_loss: float
    steps: int | None
    epochs: float | None
    batch_size: int
    learning_rate: float
    optimizer: Optimizer
    warmup: float
    weight_decay: float
    eval_every: int | None
    save_every: int
    log_every: int
    seed: int

    def deciding(self) -> dict[str, object]:
        """For the manifest: without what decides nothing."""
        told = self._asdict()
        del told["save_every"], told["log_every"]
        return told | {"shape": None if self.start else self.shape._asdict()}


def _problems(pairs: list[Path], settings: Settings) -> list[str]:
    """Everything that cannot be."""
    shape, found = settings.shape, [f"{path}: no such file" for path in pairs if not Path(path).is_file()]
    if len(settings.weights) != len(pairs):
        found.append(f"--weights has {len(settings.weights)} numbers for {len(pairs)} files of --pairs")
    if any(not 0 < weight < math.inf for weight in settings.weights):
        found.append("--weights must be above 0")
    if settings.steps is not None and settings.epochs is not None:
        found.append("give either --steps or --epochs")
    positive = {name: getattr(settings, name) for name in _POSITIVE} | shape._asdict()
    found += [
        f"--{name.replace('_', '-')} {number} is not above 0"
        for name, number in positive.items()
        if number is not None and not 0 < number < math.inf
    ]
    found += [
        f"--{name.replace('_', '-')} {getattr(settings, name)} is below 0"
        for name in ("prompt_loss", "warmup", "weight_decay", "seed")
        if not 0 <= getattr(settings, name) < math.inf
    ]
    if settings.max_length < 4:
        found.append(f"--max-length {settings.max_length} leaves no room for a prompt and an answer")
    if settings.start is None and not found:
        found += _shape_problems(shape, settings.max_length)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        found.append(f"a writer is trained in one process, and {processes} were started; leave out torchrun")
    return found


def _shape_problems(shape: Shape, max_length: int) -> list[str]:
    found = []
    if shape.hidden not in (size * shape.heads for size in _HEADS):
        wanted = " or ".join(str(size * shape.heads) for size in _HEADS)
        found.append(f"--hidden {shape.hidden} with --heads {shape.heads}: heads of 32 or 64 numbers want {wanted}")
    if shape.vocabulary < 300:
        found.append(f"--vocabulary {shape.vocabulary} is below 300: 256 bytes, special tokens and some to learn")
    if max_length > shape.context:
        found.append(f"--max-length {max_length} is above --context {shape.context}")
    return found
