"""What Hugging Face's trainer is told of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradir.errors import GradirError, nearest
from gradir.train.config import TrainConfig

# arguments of Hugging Face's that ours replace: the key to give instead
_REPLACED = {
    "gradient_accumulation_steps": "accumulate",
    "per_device_train_batch_size": "batch_size",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "output_dir": "output",
    "save_strategy": "save_every",
    "save_steps": "save_every",
    "eval_strategy": "dev.every",
    "eval_steps": "dev.every",
    "load_best_model_at_end": "dev",
}


def arguments(config: TrainConfig, folder: Path) -> Any:
    """Hugging Face's `TrainingArguments`; those under `trainer` overrule ours.

    Raises:
        GradirError: Arguments that it does not know or that have keys of ours, or a device that is not there.
    """
    from transformers import TrainingArguments

    from gradir.engine.devices import choose_device

    known = TrainingArguments.__dataclass_fields__.keys() - _REPLACED
    problems = [
        f"`trainer.{key}`: give `{_REPLACED[key]}`"
        if key in _REPLACED
        else f"unknown key `trainer.{key}`{nearest(str(key), known)}"
        for key in config.trainer
        if key not in known
    ]
    if problems:
        raise GradirError("; ".join(problems) + ".")
    cpu = choose_device(config.device).type == "cpu"
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": config.batch_size * config.accumulate,
        "max_steps": config.steps or 1,  # set by `plan_steps` once the lists are known
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule if config.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": "adamw_torch_fused",
        "seed": config.seed,
        "fp16": config.dtype == "float16",
        "logging_steps": config.log_every,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "use_cpu": cpu,
        "dataloader_num_workers": 0 if cpu else 2,
        "dataloader_pin_memory": not cpu,
        "ddp_find_unused_parameters": False,
        "average_tokens_across_devices": False,
    }
    try:
        made = TrainingArguments(**{**given, **config.trainer})
    except (TypeError, ValueError) as error:
        raise GradirError(f"`trainer`: {error}") from None
    made._n_gpu = min(1, made.n_gpu)  # one process a GPU: torchrun starts several
    return made


def plan_steps(args: Any, config: TrainConfig, steps: int) -> None:
    """Tell the arguments how many steps there are, and when something is saved and evaluated.

    Checkpoints fall on lines of the log, so that these are the same after an interruption.
    """
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy

    args.max_steps = steps
    args.logging_steps = min(config.log_every, steps)  # a short run has a line too
    every = config.save_every or min(500, max(1, steps // 10))
    args.save_strategy, args.save_steps = SaveStrategy.STEPS, -(-every // config.log_every) * config.log_every
    if config.dev:
        args.eval_strategy, args.eval_steps = IntervalStrategy.STEPS, config.dev.every
