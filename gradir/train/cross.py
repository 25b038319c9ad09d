"""The cross-encoder in training: it reads a query and a document together, exactly as `gradir.engine.cross_encoder` will.

Its score for the losses is the log-odds of relevance: a classifier's one logit, the difference of its two, or the logit of the
word for relevant less that of the word for not relevant as the first token that a T5 gives (monoT5; Nogueira et al., arXiv
2003.06713). Reranking orders by the same, or by its log-sigmoid, which is the same order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradir.data.records import GradedList
from gradir.engine.batching import padded, token_batches
from gradir.engine.cross_inputs import MONO_PROMPT, pairs, prompts
from gradir.errors import GradirError
from gradir.models.config import position_limit, read_model_settings
from gradir.models.cross_encoders import (
    class_logits,
    first_token_logits,
    label_tokens,
    load_cross_encoder,
    read_record,
    write_cross_encoder,
)
from gradir.models.loading import locate, open_tokenizer
from gradir.train.batches import Batch
from gradir.train.cross_batches import CrossCollate
from gradir.train.objective import Labels
from gradir.train.retriever import merge_lora

LABELS = ("true", "false")

_LENGTH = 512  # tokens, where neither the tokenizer nor the model names a limit
_BUDGET = 4096  # padded tokens of a batch of dev evaluation


class Scored(NamedTuple):
    """What a cross-encoder says of the lists of a batch; B lists, the longest of G documents.

    Attributes:
        scores: Log-odds of relevance, float32 [B, G]; 0 where a list is shorter.
        labels: Of the same documents; those that fill up are excluded.
        words: T5 models: logarithms of the probabilities of the words for (not relevant, relevant) among all words, float32
            [B, G, 2]; else None.
    """

    scores: Tensor
    labels: Labels
    words: Tensor | None


class CrossModel(nn.Module):
    """A cross-encoder that is trained; made by `open`.

    Attributes:
        model: The Hugging Face model.
        tokenizer: Its tokenizer.
        method: `mono-bert` or `mono-t5`.
        max_length: Tokens of query and document together. It, prompt and labels are those the folder was trained with, where it
            says so and nothing else is given.
        prompt: Of T5 models.
        labels: Of T5 models, the words for relevant and not relevant.
        new: Names of weights that the folder did not hold: they start at random.
        dtype: Number format of the products; weights stay float32.
    """

    def __init__(
        self,
        path: Path,
        method: str = "auto",
        labels: Sequence[str] | None = None,
        prompt: str | None = None,
        max_length: int | None = None,
        dtype: torch.dtype = torch.float32,
        trust_remote_code: bool = False,
    ):
        super().__init__()
        self.model, self.method, self.new = load_cross_encoder(path, method, trust_remote_code)
        self.tokenizer, self.dtype = open_tokenizer(path, trust_remote_code), dtype
        t5 = self.method == "mono-t5"
        if not t5 and (prompt or labels):
            raise GradirError(f"`prompt` and `labels` are for T5 models, {path} is {self.method}. Leave them out.")
        limit, record = position_limit(read_model_settings(path)), read_record(path)
        self.max_length = (
            max_length or record.get("max_length") or min(self.tokenizer.model_max_length, limit or _LENGTH)
        )
        if limit is not None and self.max_length > limit:
            raise GradirError(f"`max_length` {self.max_length}: {path} takes {limit} tokens at most.")
        self.positions = limit or sys.maxsize
        self.prompt = (prompt or record.get("prompt") or MONO_PROMPT) if t5 else None
        self.labels = tuple(labels or record.get("labels") or LABELS) if t5 else ()
        self._words: list[int] = []
        if t5:
            relevant, other = label_tokens(self.tokenizer, self.labels, path)
            self._words = [other, relevant]
            self.inputs = prompts(self.tokenizer, self.max_length, str(self.prompt), 2)
            self._logits = first_token_logits(self.model)
        else:
            self.inputs = pairs(self.tokenizer, self.max_length)
            self._logits = class_logits(self.model, self.tokenizer)

    @classmethod
    def open(cls, model: str | Path, method: str = "auto", seed: int = 13, **options: Any) -> CrossModel:
        """Open the model to start from.

        Args:
            model: Folder or hub name: a cross-encoder, an encoder-decoder, or any encoder, which gets a new head of one logit.
            method: `mono-bert`, `mono-t5` or `auto`.
            seed: Of a new head.
            **options: `labels`, `prompt`, `max_length`, `dtype`, `trust_remote_code`.

        Raises:
            GradirError: There is no such model, or the options do not go with it.
        """
        path = locate(model, bool(options.get("trust_remote_code")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(path, method, **options)

    def collate(self, lists: Sequence[GradedList], batch_size: int | None = None) -> Batch:
        """The tensors of a step (`gradir.train.cross_batches`); `batch_size` lists make a batch of it, or all."""
        return CrossCollate(self.inputs, batch_size or max(1, len(lists)), self._padding(), self.positions)(lists)

    def collator(self, batch_size: int) -> CrossCollate:
        """What makes the tensors of a step."""
        return CrossCollate(self.inputs, batch_size, self._padding(), self.positions)

    def forward(self, batch: Batch) -> Scored:
        """Scores of all documents of the lists, and what is known of them."""
        rows = [self._pair_logits(*blocks) for chunk in batch["chunks"] for blocks in _blocks(chunk)]
        back = _places(batch["chunks"])
        logits = torch.cat(rows).float()[back]  # [M, 1 or 2], or [M, V] of T5
        place = _Places(batch["owner"], len(batch["micro"]))
        words = None
        if self._words:
            among_all = logits.log_softmax(1)[:, self._words]  # [M, 2]
            logits, words = among_all, place.spread(among_all, 0.0)
        labels = Labels(
            grades=place.spread(batch["grades"], 0.0),
            own=place.mask,
            teacher=place.spread(batch["teacher"], torch.nan),
            excluded=~place.mask,
        )
        return Scored(place.spread(_log_odds(logits), 0.0), labels, words)

    def score(self, texts: Sequence[tuple[str, str]], batch_tokens: int = _BUDGET) -> NDArray[np.float32]:
        """Scores of (query, document) pairs as `gradir.engine.cross_encoder.Reranker` gives them, float32 [N]; without dropout.

        Args:
            texts: N of them.
            batch_tokens: Padded tokens of a batch.
        """
        inputs = self.inputs(texts)
        device = next(self.parameters()).device
        scores = np.empty(len(texts), np.float32)
        trains = self.training
        self.eval()
        try:
            with torch.no_grad():
                for batch in token_batches([len(one.ids) for one in inputs], batch_tokens):
                    chosen = [inputs[i] for i in batch]
                    ids, mask = padded([one.ids for one in chosen], self._padding(), self.positions, device)
                    types, _ = padded([one.types for one in chosen], 0, self.positions, device)
                    logits = self._pair_logits(ids, mask, types).float()
                    logits = logits[:, self._words] if self._words else logits
                    found = logits[:, 0] if logits.shape[1] == 1 else logits.log_softmax(1)[:, 1]
                    scores[batch] = found.cpu().numpy()
        finally:
            self.train(trains)
        return scores

    @property
    def mlm(self) -> Any:
        """The Hugging Face model, by the name that `gradir.train.retriever.backbone_of` looks for."""
        return self.model

    def head(self) -> list[nn.Parameter]:
        """The weights outside the backbone; T5's are those of its table of words, also where it is the table that it reads by."""
        if self.method == "mono-t5":
            return list(self.model.get_output_embeddings().parameters())
        backbone = {id(parameter) for parameter in self.model.base_model.parameters()}
        return [parameter for parameter in self.model.parameters() if id(parameter) not in backbone]

    def save(self, folder: Path) -> None:
        """Write the folder of a reranker (`gradir.models.cross_encoders.write_cross_encoder`). Adapters are merged first."""
        merge_lora(self.model)
        record: dict[str, Any] = {"method": self.method, "max_length": self.max_length}
        if self.method == "mono-t5":
            record |= {"prompt": self.prompt, "labels": list(self.labels)}
        write_cross_encoder(folder, self.model, self.tokenizer, record)

    def _pair_logits(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        with torch.autocast(ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self._logits(ids, mask, types)

    def _padding(self) -> int:
        return self.tokenizer.pad_token_id or 0


def _blocks(chunk: dict[str, Any]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(ids, mask, types) of each block of a chunk, int64 [b, S] each."""
    pairs = zip(chunk["pairs"]["blocks"], chunk["types"]["blocks"], strict=True)
    return [(ids, mask, types) for (ids, mask), (types, _) in pairs]


def _places(chunks: Sequence[dict[str, Any]]) -> Tensor:
    """The place of each pair in the rows of all blocks of all chunks, int64 [M]."""
    found, before = [], 0
    for chunk in chunks:
        found.append(chunk["pairs"]["back"] + before)
        before += len(chunk["pairs"]["back"])
    return torch.cat(found)


def _log_odds(logits: Tensor) -> Tensor:
    """[M] of [M, 1], or of [M, 2] (not relevant, relevant)."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


class _Places:
    """Where the documents of B lists, M in all, stand in a table [B, G]; `mask`, bool [B, G], tells where there is one."""

    def __init__(self, owner: Tensor, lists: int):
        counts = torch.bincount(owner, minlength=lists)  # [B]
        starts = counts.cumsum(0) - counts
        self.owner, self.column = owner, torch.arange(len(owner), device=owner.device) - starts[owner]
        self.mask = torch.arange(int(counts.max()), device=owner.device) < counts.unsqueeze(1)

    def spread(self, values: Tensor, other: float) -> Tensor:
        """[B, G, …] of values [M, …]; `other` where a list is shorter."""
        table = values.new_full((*self.mask.shape, *values.shape[1:]), other)
        return table.index_put((self.owner, self.column), values)
