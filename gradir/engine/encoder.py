"""An encoder, opened: texts in, vectors out, in the order of the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradir.data.vectors import SparseVectors, Vectors, concatenate_sparse
from gradir.engine.batching import token_batches
from gradir.engine.devices import choose_device, choose_dtype
from gradir.models.config import EncoderConfig, Side
from gradir.models.encoders import SpladeEncoder
from gradir.models.folder import EncoderFolder, open_folder

# Padded tokens of a batch: small enough for a processor's cache, large enough to fill a GPU.
_BUDGET = {"cpu": 4096, "mps": 16384, "cuda": 65536}

_DESCRIBED: tuple[str, ...] = ("kind", "pooling", "normalize", "query_prefix", "passage_prefix")
_DESCRIBED += ("max_query_length", "max_passage_length", "tokenizer_sha256", "weights_sha256")
_DESCRIBED_SPLADE = ("impact_scale", "special_tokens", "top_k_query", "top_k_passage")


class Encoder:
    """Turns texts into vectors.

    Args:
        folder: The encoder folder, read by `gradir.models.folder.open_folder`.
        device: `auto`, `cpu`, `cuda:0`, …
        dtype: `auto`, `float32`, `bfloat16`, `float16`. `auto` is bfloat16 where it is much faster.
        batch_tokens: Padded tokens of a batch; None chooses by device.

    Attributes:
        config: The encoder's configuration.
        dtype: The number format in use.
        tokens: Tokens encoded so far, special ones included, padding not.
    """

    def __init__(
        self, folder: EncoderFolder, device: str = "auto", dtype: str = "auto", batch_tokens: int | None = None
    ):
        self.config: EncoderConfig = folder.config
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.batch_tokens = batch_tokens or _BUDGET.get(self.device.type, 16384)
        self.tokenizer: Any = folder.tokenizer
        self.model = folder.model.to(self.device, self.dtype)
        self.tokens = 0

    @classmethod
    def open(
        cls,
        encoder: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        batch_tokens: int | None = None,
        **changes: Any,
    ) -> Encoder:
        """Open an encoder folder or hub name; `changes` override fields of its `EncoderConfig`."""
        return cls(open_folder(encoder, **changes), device, dtype, batch_tokens)

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id."""
        rows = cast(
            SpladeEncoder, self.model
        ).decoder.out_features  # more than the tokenizer has, where rows were padded
        terms = [f"[no-token-{i}]" for i in range(rows)]
        for term, i in self.tokenizer.get_vocab().items():
            terms[i] = term
        return terms

    def description(self) -> dict[str, Any]:
        """What decides the vectors: kept with every vector shard and index, and compared at search time."""
        names = _DESCRIBED + (_DESCRIBED_SPLADE if self.config.kind == "splade" else ())
        described = {name: getattr(self.config, name) for name in names}
        return described | {"dtype": str(self.dtype).removeprefix("torch."), "batch_tokens": self.batch_tokens}

    def encode(
        self, texts: Sequence[str], side: Side = "passage", progress: Callable[[int], object] | None = None
    ) -> Vectors:
        """Vectors of the texts, in their order.

        Args:
            texts: N texts; an empty one becomes an empty sparse vector, or the dense vector of the empty text.
            side: Which prefix, length and top-k apply.
            progress: Called with the number of texts done, after each batch.

        Returns:
            float32 [N, D], or N sparse vectors of impacts.
        """
        prefix = self.config.prefix(side)
        ids: list[list[int]] = self.tokenizer(
            [prefix + text for text in texts],
            truncation=True,
            max_length=self.config.max_length(side),
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        self.tokens += sum(map(len, ids))
        batches = list(token_batches([len(row) for row in ids], self.batch_tokens))
        parts = []
        for batch in batches:
            parts.append(self._forward([ids[i] for i in batch], side))
            if progress:
                progress(len(batch))
        order = np.argsort(np.concatenate(batches), kind="stable")  # back to the order of the texts
        if isinstance(parts[0], SparseVectors):
            vectors = concatenate_sparse([part for part in parts if isinstance(part, SparseVectors)]).take(order)
            return _emptied(vectors, texts)
        return np.concatenate([part for part in parts if not isinstance(part, SparseVectors)])[order]

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]], side: Side) -> Vectors:
        """Vectors of one batch, in its order."""
        longest = max(map(len, ids))
        input_ids = torch.full((len(ids), longest), self.tokenizer.pad_token_id or 0)  # [B, S]
        mask = torch.zeros_like(input_ids)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        output: Tensor = self.model(input_ids.to(self.device), mask.to(self.device))
        if self.config.kind == "dense":
            return output.cpu().numpy()
        return quantise(output, self.config.impact_scale, self.config.top_k(side))


def quantise(weights: Tensor, scale: float, top_k: int | None = None) -> SparseVectors:
    """Impacts `round(weight * scale)` of term weights, rounded half to even as in Pyserini; those of 0 are left out.

    Args:
        weights: float32 [B, V], not negative, on any device.
        scale: 51.2 in Pyserini and Anserini.
        top_k: Keep only the largest weights of each text (the lower term id where they tie).
    """
    if top_k is not None and top_k < weights.shape[1]:
        kept = torch.sort(weights, dim=1, descending=True, stable=True).indices[:, :top_k]
        weights = torch.zeros_like(weights).scatter_(1, kept, weights.gather(1, kept))
    impacts = torch.round(weights * scale).to(torch.int32)  # [B, V]
    rows, terms = torch.nonzero(impacts, as_tuple=True)
    counts = torch.bincount(rows, minlength=len(weights)).cpu().numpy()
    indptr: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SparseVectors(indptr, terms.to(torch.int32).cpu().numpy(), impacts[rows, terms].cpu().numpy())


def _emptied(vectors: SparseVectors, texts: Sequence[str]) -> SparseVectors:
    """The vectors with those of blank texts emptied: their special tokens alone would expand to the same terms every time."""
    blank = np.array([not text.strip() for text in texts])
    if not blank.any():
        return vectors
    lengths = np.diff(vectors.indptr)
    kept = ~np.repeat(blank, lengths)
    indptr = np.concatenate([[0], np.cumsum(np.where(blank, 0, lengths))]).astype(np.int64)
    return SparseVectors(indptr, vectors.terms[kept], vectors.impacts[kept])
