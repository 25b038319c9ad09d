"""Hugging Face's `Trainer`, with steps that look at many documents at once, dev evaluation, and checkpoints that are whole."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from gradir.errors import GradirError
from gradir.train.batches import Batch, to_device

WEIGHTS, BEST = "model.safetensors", "best"

Evaluate = Callable[[], dict[str, float]]


class Trainer(transformers.Trainer):
    """Trains a learner.

    Checkpoints stand in the folder `output_dir` of the arguments, `checkpoint-STEP`, and get their name when they are whole; the
    best weights by the dev measure in `best`.

    Args:
        learner: A module whose `forward(batch)` gives `{"loss": …, part: …}`, scalars. Where batches have several chunks and
            `cached` is set, also `forward(chunk=…)`, `losses(queries, documents, batch)` (see `gradir.train.learner`).
        args: What Hugging Face's trainer is told.
        dataset: Gives what `collate` takes, by the keys of `sampler`.
        sampler: The keys of each step.
        collate: From the items of a step to its batch.
        evaluate: The dev measures of the model as it is, the one to be improved first; None: no evaluation.
        patience: Evaluations without a better one after which training stops.
        cached: Compute vectors chunk by chunk, without keeping what their gradients need, and again for these (GradCache, Gao et
            al. 2021, arXiv 2101.06983). Otherwise the batches of a step are computed one after another.
        after_step: Called after each optimiser step.
        callbacks: More of Hugging Face's callbacks.
        optimizer: Of the learner's parameters; None: the one that `args` names.

    Raises:
        GradirError: The loss or a gradient is not finite: names the step and its queries. The last checkpoint stays.
    """

    def __init__(
        self,
        learner: nn.Module,
        args: transformers.TrainingArguments,
        dataset: Dataset[Any],
        sampler: Sampler[Any],
        collate: Callable[[Any], Batch],
        evaluate: Evaluate | None = None,
        patience: int | None = None,
        cached: bool = False,
        after_step: Callable[[], object] | None = None,
        callbacks: list[Any] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ):
        held_out = dataset if evaluate else None  # which it asks for; `evaluate` below does not look at it
        super().__init__(
            learner, args, data_collator=collate, train_dataset=dataset, eval_dataset=held_out, callbacks=callbacks,
            optimizers=(optimizer, None),
        )  # fmt: skip
        for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
            self.remove_callback(callback)
        self.learner: Any = learner
        self.lists = dataset
        self.sampler, self.collate, self.dev, self.patience = sampler, collate, evaluate, patience
        self.cached = cached
        if after_step is not None:
            self.add_callback(_AfterStep(after_step))
        self.folder = Path(str(args.output_dir))
        self.tokens = 0  # of this process, in this run
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._steps_summed, self._since = 0, time.perf_counter()
        self._qids: list[str] = []

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches by the sampler, which already knows of the processes."""
        return DataLoader(
            self.lists,
            batch_sampler=self.sampler,
            collate_fn=self.collate,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            persistent_workers=self.args.dataloader_num_workers > 0,
        )

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one step; returns its loss."""
        model.train()
        self._qids = inputs["qids"]
        self.tokens += inputs["tokens"]
        batch = to_device(inputs, self.args.device)
        parts = self._cached_step(model, batch) if self.cached else self._plain_step(model, batch)
        self._check(parts["loss"])
        for name, part in parts.items():
            if name != "loss":
                self._sums[name] += float(part)
        self._steps_summed += 1
        return parts["loss"].detach()

    def _plain_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The batches of the step one after another; the mean of their losses."""
        batches = _batches(batch)
        totals: dict[str, Tensor] = {}
        for number, one in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else self.accelerator.no_sync(model=model):
                parts = model(one)
                self.accelerator.backward(parts["loss"] / len(batches))
            for name, part in parts.items():
                totals[name] = totals.get(name, 0) + part.detach() / len(batches)
        return totals

    def _cached_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The exact gradient of a step whose activations do not fit in memory."""
        states, vectors = [], []
        with torch.no_grad():
            for chunk in batch["chunks"]:
                states.append(_RandomState(self.args.device))
                vectors.append(model(chunk=chunk))
        sides = [torch.cat(side).requires_grad_() for side in zip(*vectors, strict=True)]
        parts: dict[str, Tensor] = self.learner.losses(*sides, batch)
        self._check(parts["loss"])
        self.accelerator.backward(parts["loss"])
        sizes = [[len(vector) for vector in side] for side in zip(*vectors, strict=True)]
        gradients = [side.grad.split(size) for side, size in zip(sides, sizes, strict=True)]  # type: ignore[union-attr]
        del vectors, sides
        for number, (chunk, state) in enumerate(zip(batch["chunks"], states, strict=True)):
            last = number == len(states) - 1
            with nullcontext() if last else self.accelerator.no_sync(model=model), state:
                again = model(chunk=chunk)
                torch.autograd.backward(again, [gradient[number] for gradient in gradients])
        return parts

    def _check(self, loss: Tensor) -> None:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise GradirError(
                f"the loss of step {self.state.global_step + 1} is {value}. In its batch: {_some(self._qids)}. "
                f"{self._kept()} Look at these, or give a lower learning_rate, or dtype float32."
            )

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None and not self.args.fp16 and not math.isfinite(float(norm)):
            raise GradirError(
                f"a gradient of step {self.state.global_step + 1} is not finite. In its batch: {_some(self._qids)}. "
                f"{self._kept()} Give a lower learning_rate, or dtype float32."
            )
        return norm

    def _check_weights(self) -> None:
        """Refuse to put weights that are no numbers in the place of good ones: without max_grad_norm nobody looks at gradients."""
        bad = next(
            (name for name, weight in self.learner.named_parameters() if not bool(weight.isfinite().all())), None
        )
        if bad is not None:
            raise GradirError(
                f"after step {self.state.global_step} the weights {bad} are not finite. In its batch: {_some(self._qids)}. "
                f"{self._kept()} Give a lower learning_rate, dtype float32, or a max_grad_norm above 0."
            )

    def _kept(self) -> str:
        """Which checkpoint stands."""
        found = sorted(self.folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        return f"{found[-1]} is kept." if found else "There is no checkpoint yet."

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, means since the last line, and tokens a second."""
        if "loss" in logs and self._steps_summed:
            logs |= {name: value / self._steps_summed for name, value in self._sums.items()}
            logs["tokens_per_second"] = self._rate()
            self._sums.clear()
            self._steps_summed = 0
        super().log(logs, start_time)

    def _rate(self) -> float:
        """Tokens a second since the last call."""
        now, before = time.perf_counter(), getattr(self, "_tokens_before", 0)
        rate = (self.tokens - before) / max(1e-9, now - self._since)
        self._tokens_before, self._since = self.tokens, now
        return rate

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The dev measures; the best weights so far are kept, and training stops where they get no better."""
        done = self.state.log_history[-1] if self.state.log_history else {}
        # Hugging Face's loop asks once more when the last step ends the epoch.
        if self.dev is None or (done.get("step") == self.state.global_step and _measures(done)):
            return {}
        started = time.perf_counter()
        measures = self._on_first(self.dev)
        self._since += time.perf_counter() - started  # is no training time
        name, value = next(iter(measures.items()))
        earlier = [row[f"dev_{name}"] for row in self.state.log_history if f"dev_{name}" in row]
        self.log({f"dev_{key}": one for key, one in measures.items()})
        if not earlier or value > max(earlier):
            self._keep_best(name, value)
        elif self.patience is not None:
            since_best = len(earlier) - earlier.index(max(earlier))
            self.control.should_training_stop |= since_best >= self.patience
        return {f"eval_{key}": one for key, one in measures.items()}

    def _on_first(self, action: Evaluate) -> dict[str, float]:
        """What the first process finds, told to all."""
        found: list[Any] = [action() if self.is_world_process_zero() else None]
        if self.args.world_size > 1:
            torch.distributed.broadcast_object_list(found, src=0)
        measures: dict[str, float] = found[0]
        return measures

    def _keep_best(self, name: str, value: float) -> None:
        folder = self.folder
        writing = folder / f"{BEST}.writing"
        self.save_model(str(writing))
        if self.is_world_process_zero():
            note = {"step": self.state.global_step, "measure": name, "value": value}
            (writing / "best.json").write_text(json.dumps(note), encoding="utf-8")
            _put(writing, folder / BEST)

    def load_best(self) -> dict[str, Any] | None:
        """Put the best weights back; returns their step and measure, None where there was no evaluation."""
        folder = self.folder / BEST
        if self.dev is None or not folder.exists():
            return None
        self._load_from_checkpoint(str(folder))
        note: dict[str, Any] = json.loads((folder / "best.json").read_text(encoding="utf-8"))
        return note

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.folder / "writing")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As Hugging Face's, but a checkpoint gets its name once it is whole, and only then the one before goes."""
        if (self.folder / f"checkpoint-{self.state.global_step}").exists():
            return  # asked for twice, as the last evaluation is
        self._check_weights()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder, name = self.folder, f"checkpoint-{self.state.global_step}"
            _put(folder / "writing" / name, folder / name)
            for old in folder.glob("checkpoint-*"):
                if old.name != name:
                    shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Weights as safetensors, those that are shared once; what learns without gradients beside them."""
        from safetensors.torch import save_file

        folder = Path(output_dir or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = dict(state_dict or self.learner.state_dict())
        seen: dict[int, str] = {}
        for name, tensor in list(weights.items()):
            if seen.setdefault(tensor.data_ptr(), name) != name and tensor.numel():
                del weights[name]  # tied to one that is there already
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, folder / WEIGHTS)
        memory = getattr(self.learner, "memory", None)
        if memory is not None:
            (folder / "memory.json").write_text(json.dumps(memory()), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from safetensors.torch import load_file

        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        folder = Path(resume_from_checkpoint)
        weights = load_file(folder / WEIGHTS)
        missing, unexpected = self.learner.load_state_dict(weights, strict=False)
        tied = _tied(self.learner, weights)
        if unexpected or set(missing) - tied:
            raise GradirError(f"{folder}: is the checkpoint of another model. Give --overwrite to start afresh.")
        remember = getattr(self.learner, "remember", None)
        if remember is not None and (folder / "memory.json").exists():
            remember(json.loads((folder / "memory.json").read_text(encoding="utf-8")))


class _AfterStep(transformers.TrainerCallback):
    """Calls something after each optimiser step."""

    def __init__(self, action: Callable[[], object]):
        self.action = action

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The weights have just changed."""
        self.action()


class _RandomState:
    """The state of the random numbers now; as a context, that state again, so that a second pass drops out the same."""

    def __init__(self, device: torch.device):
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self.device = device

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng([self.device] if self.cuda is not None else [])
        self._fork.__enter__()
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


def _batches(batch: Batch) -> list[Batch]:
    """The batches of a step, each as if it were alone."""
    count = int(batch["micro"][-1]) + 1
    if count == 1:
        return [batch]
    per_batch = len(batch["chunks"]) // count
    found = []
    for number in range(count):
        mine = batch["micro"] == number  # [B]
        chosen = mine[batch["owner"]]  # [M]
        one = {name: batch[name][chosen] for name in ("grades", "teacher", "keys")}
        one["owner"] = batch["owner"][chosen] - int(mine.nonzero()[0])
        one["micro"] = torch.zeros_like(batch["micro"][mine])
        one["chunks"] = batch["chunks"][number * per_batch : (number + 1) * per_batch]
        found.append(one)
    return found


def _tied(module: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    """Names of weights that share their memory with one of those given."""
    state = module.state_dict()
    places = {state[name].data_ptr() for name in given if name in state}
    return {name for name, tensor in state.items() if tensor.data_ptr() in places}


def _put(made: Path, place: Path) -> None:
    """Give a whole folder its name; what stood there goes."""
    if place.exists():
        shutil.rmtree(place)
    os.replace(made, place)


def _measures(row: Mapping[str, Any]) -> bool:
    """Whether a line of the log is that of an evaluation."""
    return any(name.startswith("dev_") for name in row)


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
