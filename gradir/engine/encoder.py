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
from gradir.errors import GradirError
from gradir.models.config import EncoderConfig, Side
from gradir.models.encoders import DenseEncoder, SpladeEncoder
from gradir.models.folder import EncoderFolder, open_folder
from gradir.models.vocabulary import terms_by_id

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
        active_terms: Terms of the sparse vectors given so far.
    """

    def __init__(
        self, folder: EncoderFolder, device: str = "auto", dtype: str = "auto", batch_tokens: int | None = None
    ):
        self.config: EncoderConfig = folder.config
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        if batch_tokens is not None and batch_tokens < 1:
            raise GradirError(f"--batch-tokens {batch_tokens}: give a number above 0.")
        self.batch_tokens = batch_tokens or _BUDGET.get(self.device.type, 16384)
        self.tokenizer: Any = folder.tokenizer
        self.model = folder.model.to(self.device, self.dtype)
        self.tokens = self.active_terms = 0

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
        """The terms of sparse vectors; position = term id.

        Raises:
            GradirError: The encoder is dense.
        """
        if not isinstance(self.model, SpladeEncoder):
            raise GradirError("a dense encoder has no vocabulary of terms.")
        return terms_by_id(self.tokenizer, self.model.decoder.out_features)

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
            texts: N texts. One without a token of its own (blank, or control characters only) becomes an empty sparse
                vector, or the dense vector of the empty text.
            side: Which prefix, length and top-k apply.
            progress: Called with the number of texts done, after each batch.

        Returns:
            float32 [N, D], or N sparse vectors of impacts.

        Raises:
            UnsoundVector: A vector holds NaN or infinity.
            GradirError: Texts may be no longer than their prefix.
        """
        nothing = self._nothing(side)
        ids = self._token_ids(texts, side)
        self.tokens += sum(map(len, ids))
        parts, order = [], []
        for batch in token_batches([len(row) for row in ids], self.batch_tokens):
            try:
                parts.append(self._forward([ids[i] for i in batch], side))
            except UnsoundVector as error:
                raise UnsoundVector(int(batch[error.row])) from None
            order.append(batch)
            if progress:
                progress(len(batch))
        vectors = self._concatenated(parts, order)
        if isinstance(vectors, SparseVectors):
            blank = [not text.strip() or row == nothing for text, row in zip(texts, ids, strict=True)]
            vectors = _emptied(vectors, blank)
            self.active_terms += len(vectors.terms)
        return vectors

    def _token_ids(self, texts: Sequence[str], side: Side) -> list[list[int]]:
        """Token ids of each text, at least one: a tokenizer without special tokens gives an empty text none."""
        if not texts:
            return []
        prefix = self.config.prefix(side)
        ids: list[list[int]] = self.tokenizer(
            [prefix + text for text in texts],
            truncation=True,
            max_length=self.config.max_length(side),
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return [row or [self._padding] for row in ids]

    def _nothing(self, side: Side) -> list[int]:
        """Token ids of the empty text: its prefix and special tokens.

        Raises:
            GradirError: They leave no room for a text.
        """
        ids: list[int] = self.tokenizer(self.config.prefix(side))["input_ids"]
        if len(ids) >= self.config.max_length(side):
            raise GradirError(
                f"`max_{side}_length` is {self.config.max_length(side)}, and special tokens and prefix alone take {len(ids)}. "
                "Give a larger --max-length."
            )
        return ids or [self._padding]

    @property
    def _padding(self) -> int:
        return self.tokenizer.pad_token_id or 0

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]], side: Side) -> Vectors:
        """Vectors of one batch, in its order."""
        longest = max(map(len, ids))
        input_ids = torch.full((len(ids), longest), self._padding)  # [B, S]
        mask = torch.zeros_like(input_ids)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        output: Tensor = self.model(input_ids.to(self.device), mask.to(self.device))
        if self.config.kind == "splade":
            return quantise(output, self.config.impact_scale, self.config.top_k(side))
        vectors = output.cpu().numpy()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise UnsoundVector(int(np.argmin(finite)))
        return vectors

    def _concatenated(self, parts: list[Vectors], order: list[NDArray[np.int64]]) -> Vectors:
        """The vectors of all batches, back in the order of the texts."""
        back = np.argsort(np.concatenate(order), kind="stable") if order else np.zeros(0, np.int64)
        if self.config.kind == "splade":
            return concatenate_sparse([part for part in parts if isinstance(part, SparseVectors)]).take(back)
        dense = [part for part in parts if not isinstance(part, SparseVectors)]
        return np.concatenate(dense)[back] if dense else np.zeros((0, self._size()), np.float32)

    def _size(self) -> int:
        """Numbers of a dense vector."""
        return int(cast(DenseEncoder, self.model).backbone.config.hidden_size)


class UnsoundVector(GradirError):
    """A model gave numbers that are none.

    Args:
        row: The place of the text among those given.
        name: What to call the text.
    """

    def __init__(self, row: int, name: str = ""):
        self.row = row
        super().__init__(
            f"{name or f'text {row}'}: its vector holds NaN, infinity or an impact of 2**31 or more. "
            "Are the model's weights sound? Try --dtype float32."
        )


def quantise(weights: Tensor, scale: float, top_k: int | None = None) -> SparseVectors:
    """Impacts `round(weight * scale)` of term weights, rounded half to even as in Pyserini; those of 0 are left out.

    Args:
        weights: float32 [B, V], not negative, on any device.
        scale: 51.2 in Pyserini and Anserini.
        top_k: Keep only the largest weights of each text (the lower term id where they tie).

    Raises:
        UnsoundVector: A weight is NaN, infinite or negative, or its impact does not fit 32 bits.
    """
    if top_k is not None and top_k < weights.shape[1]:
        kept = torch.sort(weights, dim=1, descending=True, stable=True).indices[:, :top_k]
        weights = torch.zeros_like(weights).scatter_(1, kept, weights.gather(1, kept))
    rounded = torch.round(weights * scale)  # [B, V]
    rows, terms = torch.nonzero(rounded, as_tuple=True)  # NaN is not zero
    impacts = rounded[rows, terms]
    sound = (impacts > 0) & (impacts < 2.0**31)  # NaN is neither
    if not sound.all():
        raise UnsoundVector(int(rows[~sound][0]))
    counts = torch.bincount(rows, minlength=len(weights)).cpu().numpy()
    indptr: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SparseVectors(indptr, terms.to(torch.int32).cpu().numpy(), impacts.to(torch.int32).cpu().numpy())


def _emptied(vectors: SparseVectors, blank: Sequence[bool]) -> SparseVectors:
    """The vectors with those of blank texts emptied: their special tokens alone would expand to the same terms every time."""
    if not any(blank):
        return vectors
    lengths = np.diff(vectors.indptr)
    kept = ~np.repeat(blank, lengths)
    indptr = np.concatenate([[0], np.cumsum(np.where(blank, 0, lengths))]).astype(np.int64)
    return SparseVectors(indptr, vectors.terms[kept], vectors.impacts[kept])
