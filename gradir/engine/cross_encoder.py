"""Cross-encoders: models that read a query and a document together and say how relevant the one is to the other.

- `mono-bert`: a sequence classifier with one logit, which is the score, or with two, whose score is the log-softmax of the second
  ("relevant"; Nogueira & Cho, arXiv 1901.04085).
- `mono-t5`: log-softmax of "true" against "false" as the first token that is generated (Nogueira et al., arXiv 2003.06713).
- `duo-bert`, `duo-t5`: the probability that the first of two documents is the more relevant one (Pradeep et al., arXiv 2101.05667).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradir.engine.batching import padded, token_batches
from gradir.engine.cross_inputs import DUO_PROMPT, MONO_PROMPT, Inputs, pairs, prompts
from gradir.engine.cross_models import prepared
from gradir.engine.devices import choose_device, choose_dtype
from gradir.engine.memory import out_of_memory
from gradir.engine.workers import Workers
from gradir.errors import GradirError, InputError
from gradir.models.config import position_limit, read_model_settings
from gradir.models.cross_encoders import class_logits, first_token_logits, label_tokens, read_record
from gradir.models.loading import load_pretrained, locate, open_tokenizer

MethodName = Literal["auto", "mono-bert", "mono-t5", "duo-bert", "duo-t5"]

_LENGTH = 512  # tokens, where neither the tokenizer nor the model names a limit
_LABELS = ("true", "false")
_LABELS_FIX = "Give the words that the model was trained with: --labels RELEVANT OTHER."
_BUDGET = {"cpu": 4096, "mps": 16384, "cuda": 65536}  # padded tokens of a batch


class Reranker:
    """A cross-encoder, opened.

    Args:
        path: Its folder.
        method: Not `auto`.
        device: Where it runs.
        dtype: Number format of its products.
        batch_tokens: Padded tokens of a batch; None chooses by device.
        max_length: Tokens of query and documents together; None: as many as the model takes.
        prompt: Of T5 models, with fields as in `cross_inputs.MONO_PROMPT`; None is the one it was trained with, or that one.
        labels: Of T5 models, the words for relevant and not relevant; each must be one token. None: those it was trained with,
            or `true` and `false`.
        trust_remote_code: Allow the model's own Python code to run.

    Attributes:
        documents: How many documents it compares with a query at a time: 1, or 2 for duo.

    Raises:
        GradirError: The folder holds no such model, or flags do not fit it.
    """

    def __init__(
        self,
        path: Path,
        method: MethodName,
        device: torch.device,
        dtype: torch.dtype,
        batch_tokens: int | None = None,
        max_length: int | None = None,
        prompt: str | None = None,
        labels: Sequence[str] | None = None,
        trust_remote_code: bool = False,
    ):
        self.path, self.method, self.device, self.dtype = path, method, device, dtype
        self.batch_tokens = batch_tokens or _BUDGET.get(device.type, 16384)
        self.documents = 2 if method.startswith("duo") else 1
        settings, record = read_model_settings(path), read_record(path)
        t5 = method.endswith("t5")
        if prompt is not None and not t5:
            raise GradirError(f"--prompt-template is for T5 models, {path} is used as {method}. Leave it out.")
        loader = "AutoModelForSeq2SeqLM" if t5 else "AutoModelForSequenceClassification"
        model, missing = load_pretrained(loader, path, trust_remote_code)
        if missing:
            raise InputError(path, f"has no weights for {missing[0]}", "Is it a trained cross-encoder?")
        self._tokenizer = open_tokenizer(path, trust_remote_code)
        limit = position_limit(settings)
        self.max_length = (
            max_length or record.get("max_length") or min(self._tokenizer.model_max_length, limit or _LENGTH)
        )
        if limit is not None and self.max_length > limit:
            raise GradirError(f"--max-length {self.max_length}: {path} takes {limit} tokens at most.")
        self._positions = limit or sys.maxsize
        usual = DUO_PROMPT if self.documents == 2 else record.get("prompt", MONO_PROMPT)
        self.prompt = (prompt or usual) if t5 else None
        self.labels = tuple(labels or record.get("labels", _LABELS)) if t5 else ()
        model = prepared(model, device, dtype)
        if t5:
            self._inputs = prompts(self._tokenizer, self.max_length, str(self.prompt), self.documents + 1)
            words = label_tokens(self._tokenizer, self.labels, path, _LABELS_FIX)
            self._logits = _of_two_words(first_token_logits(model), words)
        else:
            self._inputs = pairs(self._tokenizer, self.max_length)
            if model.config.num_labels not in (1, 2):
                problem = f"gives {model.config.num_labels} scores for a pair"
                raise InputError(path, problem, "Only rerankers with 1 or 2 are known")
            self._logits = class_logits(model, self._tokenizer)
        self._workers = Workers(device)

    @classmethod
    def open(
        cls, model: str | Path, method: MethodName = "auto", device: str = "auto", dtype: str = "auto", **options: Any
    ) -> Reranker:
        """Open a model folder or hub name.

        Args:
            model: A folder of Hugging Face, sentence-transformers (`CrossEncoder`) or `gradir export`, or a hub name.
            method: `auto` is `mono-bert` for a sequence classifier and `mono-t5` for an encoder-decoder.
            device: `auto`, `cpu`, `cuda:0`, …
            dtype: `auto`, `float32`, `bfloat16`, `float16`. `auto` is bfloat16 where it is much faster.
            **options: Further arguments of the class.

        Raises:
            GradirError: There is no such model, or flags do not fit it.
        """
        chosen = choose_device(device)
        path = locate(model, bool(options.get("trust_remote_code")))
        return cls(path, _method(path, method), chosen, choose_dtype(dtype, chosen), **options)

    def description(self) -> dict[str, Any]:
        """What decides the scores, besides the model's files."""
        described = {name: getattr(self, name) for name in ("method", "batch_tokens", "max_length", "prompt")}
        return described | {"labels": list(self.labels), "dtype": str(self.dtype).removeprefix("torch.")}

    def score(
        self, texts: Sequence[tuple[str, ...]], progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        """Scores of (query, document) pairs, or of (query, document, document) where the method is duo, float32 [N].

        Args:
            texts: N of them.
            progress: Called with the number of texts done, after each batch.

        Raises:
            GradirError: A query leaves no room for a document, a score is not finite, or a batch does not fit in memory.
        """
        wrong = next((one for one in texts if len(one) != self.documents + 1), None)
        if wrong is not None:
            raise GradirError(f"{self.method} scores a query with {self.documents} documents, not {len(wrong) - 1}.")
        inputs = self._inputs(texts)
        batches = list(token_batches([len(one.ids) for one in inputs], self.batch_tokens))
        scores = np.empty(len(texts), np.float32)
        made = self._workers.map(lambda batch: self._forward([inputs[i] for i in batch]), batches)
        for batch, found in zip(batches, made, strict=True):
            scores[batch] = found
            if progress:
                progress(len(batch))
        if not np.isfinite(scores).all():
            query = texts[int(np.argmin(np.isfinite(scores)))][0]
            raise GradirError(
                f"{self.path}: a score for the query {query[:60]!r} is not finite. Check the weights, or give --dtype float32."
            )
        return scores

    @torch.inference_mode()
    def _forward(self, batch: list[Inputs]) -> NDArray[np.float32]:
        """Scores of one batch, float32 [B]."""
        try:
            ids, mask = padded([one.ids for one in batch], self._padding(), self._positions, self.device)  # [B, S] each
            types, _ = padded([one.types for one in batch], 0, self._positions, self.device)
            logits = self._logits(ids, mask, types).float()  # [B, 1 or 2]
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise GradirError(
                f"a batch of {len(batch)} texts does not fit in the memory of {self.device}. Give a smaller --batch-tokens."
            ) from None
        scores = logits[:, 0] if logits.shape[1] == 1 else logits.log_softmax(1)[:, 1]
        if self.documents == 2:
            scores = scores.sigmoid() if logits.shape[1] == 1 else scores.exp()
        found: NDArray[np.float32] = scores.cpu().numpy()
        return found

    def _padding(self) -> int:
        return self._tokenizer.pad_token_id or 0


def _method(path: Path, method: MethodName) -> MethodName:
    """What a folder can be used as.

    Raises:
        InputError: It holds another kind of model.
    """
    architecture = str((read_model_settings(path).get("architectures") or [""])[0])
    if architecture.endswith("ForSequenceClassification"):
        fitting: tuple[MethodName, ...] = ("mono-bert", "duo-bert")
    elif architecture.endswith("ForConditionalGeneration"):
        fitting = ("mono-t5", "duo-t5")
    else:
        problem = f"is no reranker ({architecture or 'config.json names no architecture'})"
        raise InputError(path, problem, "Name a folder of a sequence classifier (BERT) or of an encoder-decoder (T5)")
    if method != "auto" and method not in fitting:
        raise InputError(path, f"is {architecture}, which is not for --method {method}", f"Give {' or '.join(fitting)}")
    return fitting[0] if method == "auto" else method


def _of_two_words(
    logits: Callable[[Tensor, Tensor, Tensor], Tensor], words: tuple[int, int]
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The logits of (not relevant, relevant) as the first token of an encoder-decoder, [B, 2]."""
    relevant, other = words
    return lambda ids, mask, types: logits(ids, mask, types)[:, [other, relevant]]
