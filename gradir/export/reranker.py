"""Cross-encoders: folders of `AutoModelForSequenceClassification` that score a query and a document together."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradir.errors import InputError
from gradir.export.files import write_vocabulary
from gradir.models.config import position_limit, read_model_settings
from gradir.models.loading import load_pretrained, open_tokenizer

_LENGTH = 512  # tokens, where neither the tokenizer nor the model names a limit
_ACTIVATIONS: dict[str, type[nn.Module]] = {"Sigmoid": nn.Sigmoid, "Identity": nn.Identity}


@dataclass(frozen=True)
class Reranker:
    """A cross-encoder folder, read.

    Attributes:
        path: The folder.
        model: Called as `model(input_ids, attention_mask[, token_type_ids])`, int64 [B, S] each; gives scores, float32 [B].
        tokenizer: Its tokenizer.
        inputs: The names of what the model takes, in order.
        max_length: Tokens of a query and a document together.
        activation: `Sigmoid` or `Identity`.
    """

    path: Path
    model: nn.Module
    tokenizer: Any
    inputs: tuple[str, ...]
    max_length: int
    activation: str


def is_reranker(path: Path) -> bool:
    """Whether a folder holds a cross-encoder."""
    if (path / "gradir.json").exists() or not (path / "config.json").exists():
        return False
    architecture = str((read_model_settings(path).get("architectures") or [""])[0])
    return architecture.endswith("ForSequenceClassification")


def open_reranker(path: Path, trust_remote_code: bool = False) -> Reranker:
    """Read a cross-encoder folder.

    Raises:
        InputError: It gives more than one score, lacks weights, or has an activation that is not known.
    """
    settings = read_model_settings(path)
    model, missing = load_pretrained("AutoModelForSequenceClassification", path, trust_remote_code)
    if missing:
        raise InputError(path, f"has no weights for {missing[0]}", "Is it a trained cross-encoder?")
    if model.config.num_labels != 1:
        raise InputError(
            path, f"gives {model.config.num_labels} scores for a pair", "Only rerankers with one are known"
        )
    tokenizer = open_tokenizer(path, trust_remote_code)
    taken = inspect.signature(model.forward).parameters
    given = [name for name in tokenizer.model_input_names if name in taken]
    inputs = tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in given)
    activation = _activation(path, settings)
    scored = _Scores(model, inputs, _ACTIVATIONS[activation]()).eval()
    length = min(tokenizer.model_max_length, position_limit(settings) or _LENGTH)
    return Reranker(path, scored, tokenizer, inputs, length, activation)


def _activation(path: Path, settings: dict[str, Any]) -> str:
    """What sentence-transformers' `CrossEncoder` applies to a single score: the folder says, otherwise a sigmoid."""
    ours = settings.get("sentence_transformers") or {}
    name = ours.get("activation_fn") or settings.get("sbert_ce_default_activation_function") or "Sigmoid"
    short = str(name).rsplit(".", 1)[-1]
    if short not in _ACTIVATIONS:
        raise InputError(
            path / "config.json", f"has the activation {name}", f"Only {', '.join(_ACTIVATIONS)} are known"
        )
    return short


class _Scores(nn.Module):
    """One score a pair, float32 [B]."""

    def __init__(self, model: Any, inputs: Sequence[str], activation: nn.Module):
        super().__init__()
        self.model, self.inputs, self.activation = model, tuple(inputs), activation

    def forward(self, *tensors: Tensor) -> Tensor:
        """Scores, float32 [B], of tensors int64 [B, S] in the order of `inputs`."""
        logits = self.model(**dict(zip(self.inputs, tensors, strict=True))).logits  # [B, 1]
        scores: Tensor = self.activation(logits.float()[:, 0])
        return scores


def write_reranker(reranker: Reranker, target: Path) -> None:
    """Write a cross-encoder so that Hugging Face and sentence-transformers' `CrossEncoder` open it."""
    reranker.tokenizer.backend_tokenizer.no_truncation()
    reranker.tokenizer.backend_tokenizer.no_padding()
    reranker.tokenizer.model_max_length = reranker.max_length
    reranker.model.model.save_pretrained(target)  # type: ignore[union-attr,operator]
    reranker.tokenizer.save_pretrained(target)
    write_vocabulary(target, reranker.tokenizer)


def tokenized(reranker: Reranker, pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Pairs of query and document as the model takes them, int64 [B, S] each."""
    batch = reranker.tokenizer(
        [query for query, _ in pairs],
        [document for _, document in pairs],
        padding=True,
        truncation=True,
        max_length=reranker.max_length,
        return_tensors="pt",
    )
    return {name: torch.as_tensor(batch[name]) for name in reranker.inputs}
