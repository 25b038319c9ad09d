"""One pre-training run: texts, held-out loss, Hugging Face's trainer, and the folder in the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import TrainerCallback

from gradir.data.manifest import PARTS, Job
from gradir.data.texts import Texts
from gradir.engine.tokens import Tokens
from gradir.models.config import EncoderConfig
from gradir.models.encoders import SpladeEncoder
from gradir.models.writing import write_splade_folder
from gradir.train.arguments import arguments, plan_steps
from gradir.train.card import Trained, write_card
from gradir.train.config import TrainConfig
from gradir.train.mlm import Settings
from gradir.train.mlm_masking import Collator, Masking
from gradir.train.mlm_model import MaskedObjective, measure
from gradir.train.mlm_texts import Draws, Places, drawn, split
from gradir.train.perform import last_checkpoint, write_finished
from gradir.train.progress import LiveLine
from gradir.train.sparsity import Schedule
from gradir.train.trainer import Trainer


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        encoder: The model to be trained.
        tokenizer: Its tokenizer.
        config: The `gradir.json` of the result.
        masking: What is hidden of a text.
        settings: Numbers that decide the result.
        steps: Steps to train; by `epochs` if None.
        epochs: Passes over the texts; 1 if None.
        seed: Of every draw.
        workers: Processes that read ahead.
        device: Where to train.
        dtype: Number format of the products.
        made_from: The model that it starts from, and
        corpus: the texts, as the user named them.
    """

    encoder: SpladeEncoder
    tokenizer: Any
    config: EncoderConfig
    masking: Masking
    settings: Settings
    steps: int | None
    epochs: float | None
    seed: int
    workers: int
    device: torch.device
    dtype: torch.dtype
    made_from: str
    corpus: str

    @property
    def precision(self) -> str:
        """The number format in words."""
        return str(self.dtype).removeprefix("torch.")


def train(work: Work, texts: Texts, job: Job) -> str:
    """Train, from the last checkpoint if there is one, and write the folder; returns a line on what was done.

    Raises:
        GradirError: A document cannot be read, the loss is not finite.
    """
    settings, parts = work.settings, job.output / PARTS
    tokens = Tokens(work.tokenizer, work.config, "passage")
    whole = Collator(tokens, work.masking, settings.max_length, work.seed)
    rows, held_out = split(texts, work.seed)
    steps = work.steps or max(1, math.ceil((work.epochs or 1.0) * len(rows) / settings.batch_size))
    schedule = Schedule.of("quadratic", settings.flops_steps, steps)
    objective = MaskedObjective(work.encoder, settings.flops, schedule, work.dtype).to(work.device)
    before = measure(objective, _batches(texts, held_out, whole, settings.batch_size))
    tqdm.write(f"held-out loss before: {before[0]:.3f}{_terms(before[1])}", file=sys.stderr)
    trainer = _trainer(work, objective, Draws(texts, rows, work.seed), whole, steps, parts)
    trainer.train(resume_from_checkpoint=last_checkpoint(parts))
    after = measure(objective, _batches(texts, held_out, whole, settings.batch_size))
    counts = {"documents": len(texts), "held_out": len(held_out), "steps": steps}
    counts |= {"parameters": sum(parameter.numel() for parameter in work.encoder.parameters())}
    measured: dict[str, Any] = {"tokens_per_second": round(trainer.tokens / max(1e-9, job.seconds()), 1)}
    for when, (loss, terms) in (("before", before), ("after", after)):
        measured[f"held_out_loss_{when}"] = round(loss, 4)
        measured |= {} if terms is None else {f"held_out_terms_{when}": round(terms, 1)}
    change = f"{before[0]:.3f}{_terms(before[1])} -> {after[0]:.3f}{_terms(after[1])}"
    card = partial(write_card, made=_card(work, job.output, steps, change))
    write_finished(job, _writer(work), trainer, card, counts, measured)
    empty = "; the texts have no terms left, give a smaller --flops" if after[1] is not None and after[1] < 1 else ""
    return f"{steps} steps, held-out loss {change} ({len(held_out)} documents){empty}"


def _batches(texts: Texts, rows: NDArray[Any], collate: Collator, size: int) -> Iterator[dict[str, Any]]:
    """The held-out texts, each always behind the same masks."""
    for some in (rows[first : first + size].tolist() for first in range(0, len(rows), size)):
        yield collate([drawn(texts, row, row) for row in some])


def _trainer(
    work: Work, objective: MaskedObjective, draws: Draws, whole: Collator, steps: int, folder: Path
) -> Trainer:
    """Hugging Face's trainer, ready to begin or to go on."""
    settings = work.settings
    config = TrainConfig(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        save_every=settings.save_every,
        log_every=settings.log_every,
        seed=work.seed,
        device=str(work.device),
        trainer={"dataloader_num_workers": work.workers},
    )
    told = arguments(config, folder)
    plan_steps(told, config, steps)
    collate = Collator(whole.tokens, whole.masking, whole.length, whole.seed, settings.pack)
    places, line = Places(steps, settings.batch_size), LiveLine(f"train mlm ({work.precision})")
    return Trainer(objective, told, draws, places, collate, callbacks=[line, _Clock(objective)])


class _Clock(TrainerCallback):
    """Tells the objective which step it is."""

    def __init__(self, objective: MaskedObjective):
        self.objective = objective

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.objective.step = state.global_step


def _writer(work: Work) -> Any:
    """Writes the finished model into an empty folder."""

    def write(folder: Path) -> None:
        with work.encoder.whole() as mlm:
            write_splade_folder(folder, mlm.cpu(), work.tokenizer, work.config)

    return write


def _card(work: Work, output: Path, steps: int, change: str) -> Trained:
    """What the card tells."""
    told = {"corpus": work.corpus, **work.settings._asdict(), "steps": steps, "seed": work.seed}
    for name in ("save_every", "log_every"):
        del told[name]
    size = int(work.encoder.decoder.out_features)
    told["held-out loss"] = change
    return Trained(str(output), work.made_from, "gradir train mlm", size, told, start=True)


def _terms(terms: float | None) -> str:
    return f" at {terms:.0f} active terms" if terms is not None else ""
