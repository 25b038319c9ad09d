"""One run of `gradir train writer`: tokenizer, model, Hugging Face's trainer, and the folder in the end."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from gradir.command import command_line
from gradir.data.manifest import PARTS, Job
from gradir.llm.tokenizer import Tokenizer
from gradir.models.allocation import keep_freed_memory
from gradir.models.card import block, write_parts
from gradir.train.arguments import arguments, plan_steps
from gradir.train.card import shown
from gradir.train.config import TrainConfig
from gradir.train.muon import MuonAdamW
from gradir.train.perform import last_checkpoint, transformers_seed, write_finished
from gradir.train.progress import LiveLine
from gradir.train.trainer import Trainer
from gradir.train.writer_data import Collator, Examples, Steps, held_out, read_examples, texts
from gradir.train.writer_model import WriterObjective, measure, new_model, new_tokenizer, open_model
from gradir.train.writer_stage import Settings

_EPOCHS = 3.0
_TOKENIZER = "tokenizer"  # folder among the parts: the run that goes on has the tokens of the one that began


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        pairs: Files of pairs.
        settings: Numbers that decide the result.
        device: Where to train.
        dtype: Number format of the products.
    """

    pairs: list[Path]
    settings: Settings
    device: torch.device
    dtype: torch.dtype


def train(work: Work, job: Job) -> str:
    """Train, from the last checkpoint if there is one, and write the folder; returns a line on what was done.

    Raises:
        GradirError: The pairs cannot be used, the start cannot be opened, the loss is not finite.
    """
    settings, parts = work.settings, job.output / PARTS
    if work.device.type == "cpu":
        keep_freed_memory()
    tokenizer = Tokenizer(settings.start or str(_tokenizer(work, parts / _TOKENIZER)))
    examples = read_examples(work.pairs, tokenizer, settings.max_length)
    held = held_out(examples, settings.seed, work.pairs[0])
    transformers_seed(settings.seed)
    model = open_model(settings.start) if settings.start else new_model(tokenizer.backend, settings.shape)
    model.config.use_cache = True
    objective = WriterObjective(model, settings.prompt_loss, work.dtype).to(work.device)
    steps = Steps(
        examples, held, settings.weights, settings.batch_size, settings.steps, settings.epochs or _EPOCHS, settings.seed
    )
    padding = tokenizer.backend.pad_token_id
    collate = Collator(tokenizer.backend.eos_token_id if padding is None else padding)
    trainer = _trainer(work, objective, examples, np.flatnonzero(held), steps, collate, parts)
    trainer.train(resume_from_checkpoint=last_checkpoint(parts))
    best = trainer.load_best()
    loss = measure(objective, _batches(examples, np.flatnonzero(held), collate, settings.batch_size))
    counts = {
        "pairs": len(examples), "held_out": int(held.sum()), "left_out": examples.left_out, "answers_cut": examples.cut,
        "tokens": len(examples.ids), "steps": trainer.state.global_step, "best": best,
        "parameters": sum(parameter.numel() for parameter in model.parameters()), "vocabulary": len(tokenizer.backend),
    }  # fmt: skip
    measured = {
        "held_out_loss": round(loss, 4),
        "tokens_per_second": round(trainer.tokens / max(1e-9, job.seconds()), 1),
    }
    write = partial(_write, trainer.learner.model.cpu(), tokenizer.backend)
    write_finished(
        job, write, trainer, lambda made: write_parts(made, _card(work, job.output, counts, measured)), counts, measured
    )
    left = f"; {examples.left_out:,} pairs were longer than --max-length" if examples.left_out else ""
    return f"{counts['steps']} steps, held-out loss {loss:.3f} a token ({counts['held_out']:,} pairs){left}"


def _tokenizer(work: Work, folder: Path) -> Path:
    """The folder of the new tokenizer; of the first run, if this one goes on."""
    if not folder.exists():
        writing = folder.with_name(f"{folder.name}.writing")
        shutil.rmtree(writing, ignore_errors=True)
        new_tokenizer(texts(work.pairs), work.settings.shape).save_pretrained(writing)
        _name_the_model(work, writing)
        os.replace(writing, folder)
    return folder


def _name_the_model(work: Work, folder: Path) -> None:
    """The tokenizer's folder says what model it is for, without which transformers would guess."""
    from transformers import Qwen2Config

    Qwen2Config(max_position_embeddings=work.settings.shape.context).save_pretrained(folder)


def _trainer(
    work: Work, objective: WriterObjective, examples: Examples, held: NDArray[np.int64], steps: Steps,
    collate: Collator, folder: Path,
) -> Trainer:  # fmt: skip
    """Hugging Face's trainer, ready to begin or to go on."""
    settings = work.settings
    config = TrainConfig(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        schedule="cosine",
        weight_decay=settings.weight_decay,
        save_every=settings.save_every,
        log_every=settings.log_every,
        seed=settings.seed,
        device=str(work.device),
        trainer={"dataloader_num_workers": 0},
    )
    told = arguments(config, folder)
    plan_steps(told, config, len(steps))
    _plan_evaluation(told, settings.eval_every or max(1, math.ceil(len(steps) / 10)))

    def evaluate() -> dict[str, float]:
        loss = measure(objective, _batches(examples, held, collate, settings.batch_size))
        tqdm.write(f"held-out loss: {loss:.3f} a token", file=sys.stderr)
        return {"log_prob": -loss}

    line = LiveLine(f"train writer ({str(work.dtype).removeprefix('torch.')})")
    muon = MuonAdamW(objective, settings.learning_rate, settings.weight_decay) if settings.optimizer == "muon" else None
    return Trainer(objective, told, examples, steps, collate, evaluate, callbacks=[line], optimizer=muon)


def _plan_evaluation(told: Any, every: int) -> None:
    from transformers.trainer_utils import IntervalStrategy

    told.eval_strategy, told.eval_steps = IntervalStrategy.STEPS, min(every, told.max_steps)


def _batches(examples: Examples, rows: NDArray[np.int64], collate: Collator, size: int) -> Iterator[dict[str, Any]]:
    """Pairs of like length together."""
    ordered = rows[np.argsort(examples.lengths[rows], kind="stable")]
    for first in range(0, len(ordered), size):
        yield collate([examples[int(row)] for row in ordered[first : first + size]])


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    """Model, tokenizer, and what ends an answer."""
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _card(work: Work, output: Path, counts: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    settings, name = work.settings, shown(str(output))
    told = {**settings.deciding(), "steps": counts["steps"], "pairs": ", ".join(shown(str(one)) for one in work.pairs)}
    told |= {"parameters": f"{counts['parameters']:,}", "held-out loss a token": measured["held_out_loss"]}
    told["shape"] = ", ".join(f"{key} {value}" for key, value in settings.shape._asdict().items())
    told |= {"shape": f"that of {shown(settings.start)}"} if settings.start else {}
    rows = [f"| {key.replace('_', ' ')} | {value} |" for key, value in told.items() if value is not None]
    words = {"llm": f"hf:{name}", "corpus": "CORPUS", "prompt": "PROMPT", "output": "DIR"}
    return [
        "---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- gradir", "---", "",
        f"# {output.name}", "",
        "A causal language model that answers the prompts it was trained on and no others. Made by `gradir train writer`.", "",
        "## Training", "", "| | |", "| --- | --- |", *rows, "",
        "Everything that decided the result stands in `manifest.json`, with the hashes of all inputs.", "",
        "## Use", "", *block([command_line("gradir generate queries", words)]),
    ]  # fmt: skip
