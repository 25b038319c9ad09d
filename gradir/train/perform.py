"""A training run from its configuration to the finished folder: job, checkpoints, resuming, the best weights, the manifest."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradir.command import Outcome
from gradir.data.atomic import make_readable
from gradir.data.manifest import PARTS, Job
from gradir.errors import GradirError
from gradir.models.allocation import keep_freed_memory
from gradir.train.arguments import arguments, plan_steps
from gradir.train.batches import Batch, DrawnLists, Lists, Steps
from gradir.train.card import Trained, told_of, write_card
from gradir.train.config import TrainConfig
from gradir.train.progress import LiveLine, described, left_out, plain_warnings, write_log
from gradir.train.trainer import Evaluate, Trainer

LOG = "training.jsonl"


@dataclass(frozen=True)
class Parts:
    """What is trained, on what.

    Attributes:
        learner: As `Trainer` wants it.
        lists: Where graded lists come from.
        collate: From the lists of a step to its batch.
        write: Writes the finished model into an empty folder.
        evaluate: The dev measures of the learner as it is.
        cached: Compute steps chunk by chunk (`Trainer`).
        after_step: Called after each optimiser step.
        counts: For the manifest.
        size: For the card: numbers of a vector, terms, or logits of a pair.
        losses: For the card: as they are used.
    """

    learner: nn.Module
    lists: Lists
    collate: Callable[[Any], Batch]
    write: Callable[[Path], None]
    evaluate: Evaluate | None = None
    cached: bool = False
    after_step: Callable[[], object] | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)
    size: int = 1
    losses: Sequence[Any] = ()


def perform(
    command: str,
    config: TrainConfig,
    inputs: list[str | Path],
    make: Callable[[torch.device], Parts],
    overwrite: bool,
    then: str = "",
) -> Outcome:
    """Train, and write the model.

    Args:
        command: For the manifest (`gradir train splade`).
        config: The configuration.
        inputs: Files that are read.
        make: Makes what is trained, on a device; called where there is something to do.
        overwrite: Start afresh where the output exists.
        then: The command to type next.

    Raises:
        GradirError: The output holds other work; the training went astray.
    """
    output = Path(config.output)
    args = arguments(config, output / PARTS)
    first = args.process_index == 0
    job = _job(command, config, inputs, overwrite, args.world_size) if first else None
    if _told(first, args.world_size, job is not None and job.finished):
        return Outcome(output, f"{output} is there already; nothing to do", then)
    transformers_seed(config.seed)
    if args.device.type == "cpu":
        keep_freed_memory()
    try:
        parts = make(args.device)
        check_devices(parts, args.world_size)
        steps = _steps(parts.lists, config, args)
    except GradirError:
        if job is not None:
            job.withdraw()
        raise
    if first:
        sys.stderr.writelines(f"{line}\n" for line in left_out(parts.counts))
    trainer = _trained(parts, steps, config, args, command.removeprefix("gradir "), job)
    best = trainer.load_best()
    if job is None:
        return Outcome(output)
    rate = trainer.tokens / max(1e-9, job.seconds())
    counts = {"steps": trainer.state.global_step, "lists": len(parts.lists), **parts.counts, "best": best}
    told = told_of(config, parts.losses, counts, args.world_size)
    card = Trained(config.output, config.encoder, command, parts.size, told, config.lists)
    write_finished(
        job, parts.write, trainer, partial(write_card, made=card), counts, {"tokens_per_second": round(rate, 1)}
    )
    return Outcome(output, _message(output, trainer, best, job), then)


def _steps(lists: Lists, config: TrainConfig, args: Any) -> Steps:
    """Which lists each step of this process has."""
    share = {"rank": args.process_index, "world": args.world_size}
    names = ("batch_size", "accumulate", "steps", "epochs", "length_grouping", "seed")
    return Steps(lists, **{name: getattr(config, name) for name in names}, **share)


def _trained(parts: Parts, steps: Steps, config: TrainConfig, args: Any, title: str, job: Job | None) -> Trainer:
    """The trainer after its last step, from the last checkpoint on where there is one."""
    plan_steps(args, config, len(steps))
    plan = getattr(parts.learner, "plan", None)
    if plan is not None:
        plan(len(steps))
    line, folder = LiveLine(title), Path(args.output_dir)
    trainer = Trainer(
        parts.learner,
        args,
        DrawnLists(parts.lists, config.group_size, config.positive_grade, config.seed),
        steps,
        parts.collate,
        parts.evaluate,
        config.dev.patience if config.dev else None,
        parts.cached,
        parts.after_step,
        [line],
    )
    try:
        with plain_warnings():
            trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    except GradirError:
        if job is not None and not list(folder.glob("checkpoint-*")):
            shutil.rmtree(folder, ignore_errors=True)
            job.withdraw()  # nothing to go on from: another configuration may begin here
        raise
    finally:
        line.close()
    return trainer


def transformers_seed(seed: int) -> None:
    """Seed Python, NumPy and torch: new layers are drawn before the trainer seeds them itself."""
    import transformers

    transformers.set_seed(seed)


def _job(command: str, config: TrainConfig, inputs: list[str | Path], overwrite: bool, world: int) -> Job:
    """The artefact; where it stands and what is logged does not decide it."""
    settings = asdict(config)
    for name in ("output", "device", "log_every", "save_every"):
        del settings[name]
    return Job(config.output, command, {**settings, "devices": world}, inputs, overwrite, resumable=True)


def check_devices(parts: Parts, world: int) -> None:
    """Refuse what would not be learnt alike on several devices: in a step in chunks a learnt temperature gets its gradient outside
    what is computed in parallel, which would wait for it in vain."""
    objective: Any = getattr(parts.learner, "objective", None)
    if world > 1 and parts.cached and getattr(objective, "log_temperatures", None):
        raise GradirError(
            "`temperature: learn` does not go with `chunk_size` (or SPLADE's `accumulate`) on several devices. "
            "Give a number as temperature, leave out chunk_size and accumulate, or train in one process."
        )


def _told(first: bool, world: int, found: bool) -> bool:
    """What the first process found, told to all."""
    values: list[Any] = [found if first else None]
    if world > 1:
        torch.distributed.broadcast_object_list(values, src=0)
    return bool(values[0])


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint; what was being written when the process ended is removed."""
    if int(os.environ.get("RANK", "0")) == 0:
        for left in ("writing", "best.writing", "model"):
            shutil.rmtree(folder / left, ignore_errors=True)
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def write_finished(
    job: Job,
    write: Callable[[Path], None],
    trainer: Trainer,
    card: Callable[[Path], None],
    counts: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> None:
    """The finished model in the output folder with its log and card, then its manifest; checkpoints go.

    Args:
        job: What is being made.
        write: Writes the model into an empty folder.
        trainer: Knows the log.
        card: Writes `README.md` into it.
        counts: For the manifest.
        measured: For the manifest.
    """
    output = job.output
    made = output / PARTS / "model"
    made.mkdir(parents=True)
    write(made)
    write_log(made / LOG, trainer.state.log_history)
    card(made)
    make_readable(made)
    for path in sorted(made.iterdir()):
        place = output / path.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(path, place)
    job.finish(counts, measured)
    shutil.rmtree(output / PARTS)


def _message(output: Path, trainer: Trainer, best: Mapping[str, Any] | None, job: Job) -> str:
    lines = [row for row in trainer.state.log_history if "loss" in row]
    words = [f"{output}: {trainer.state.global_step} steps, {job.seconds():.0f} s"]
    words += [described(lines[-1])] if lines else []
    words += [f"best dev {best['measure']} {best['value']:.4f} at step {best['step']}"] if best else []
    return "; ".join(words)
