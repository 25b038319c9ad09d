"""An encoder, opened: texts in, vectors out, in the order of the texts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradir.data.vectors import SparseVectors, Vectors, concatenate_sparse
from gradir.engine.batching import padded, token_batches
from gradir.engine.described import BUDGET, described
from gradir.engine.devices import choose_device, choose_dtype
from gradir.engine.memory import out_of_memory
from gradir.engine.prepare import activation_of, prepare
from gradir.engine.quantise import UnsoundVector, emptied, quantise
from gradir.engine.tokens import Tokens
from gradir.engine.workers import Workers
from gradir.errors import GradirError
from gradir.models.config import EncoderConfig, Side, position_limit
from gradir.models.encoders import DenseEncoder, SpladeEncoder
from gradir.models.folder import EncoderFolder, open_folder
from gradir.models.vocabulary import terms_by_id

Backend = Literal["torch", "onnx", "onnx-int8"]


class Encoder:
    """Turns texts into vectors.

    Args:
        folder: The encoder folder, read by `gradir.models.folder.open_folder`; its models are used up.
        device: `auto`, `cpu`, `cuda:0`, …
        dtype: `auto`, `float32`, `bfloat16`, `float16`. `auto` is bfloat16 where it is much faster.
        batch_tokens: Padded tokens of a batch; None chooses by device. A batch that does not fit in memory is halved.
        backend: `torch`, or ONNX Runtime with the folder's `model.onnx` or `model_int8.onnx`.

    Attributes:
        config: The encoder's configuration.
        dtype: The number format in use.
        tokenizer: The Hugging Face tokenizer of documents.
        empties: Texts without a token of their own become empty sparse vectors. Where it is set to False they become what their
            special tokens expand to, as in Pyserini.
        tokens: Tokens encoded so far, special ones included, padding not.
        active_terms: Terms of the sparse vectors given so far.
    """

    def __init__(
        self,
        folder: EncoderFolder,
        device: str = "auto",
        dtype: str = "auto",
        batch_tokens: int | None = None,
        backend: Backend = "torch",
    ):
        if batch_tokens is not None and batch_tokens < 1:
            raise GradirError(f"--batch-tokens {batch_tokens}: give a number above 0.")
        self.config: EncoderConfig = folder.config
        self.device, self.backend = choose_device(device), backend
        self.dtype = choose_dtype(dtype, self.device, backend)
        self.batch_tokens = batch_tokens or BUDGET.get(self.device.type, 16384)
        self.tokenizer = folder.tokenizer
        self._folder, self._tokens, self._models = folder, dict[Side, Tokens](), dict[Side, Any]()
        self._size = _size(folder.model)  # D or V
        self._positions = {"passage": _positions(folder.model), "query": _positions(folder.query_model)}
        self.empties = True
        self._workers = Workers(self.device, alone=backend != "torch")
        self._largest: float = np.inf  # padded tokens that have been too many for the memory
        self.tokens = self.active_terms = 0

    @classmethod
    def open(
        cls,
        encoder: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        batch_tokens: int | None = None,
        backend: Backend = "torch",
        **changes: Any,
    ) -> Encoder:
        """Open an encoder folder or hub name; `changes` override fields of its `EncoderConfig`."""
        return cls(open_folder(encoder, **changes), device, dtype, batch_tokens, backend)

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id.

        Raises:
            GradirError: The encoder is dense.
        """
        if self.config.kind != "splade":
            raise GradirError("a dense encoder has no vocabulary of terms.")
        return terms_by_id(self._folder.tokenizer, self._size)

    def description(self) -> dict[str, Any]:
        """What decides the vectors: kept with every vector shard and index, and compared at search time."""
        found = described(self.config)
        found |= {"dtype": str(self.dtype).removeprefix("torch."), "batch_tokens": self.batch_tokens}
        return found if self.backend == "torch" else found | {"backend": self.backend}

    def token_ids(self, texts: Sequence[str], side: Side = "passage") -> list[list[int]]:
        """What the model sees of each text: its prefix and special tokens included, cut to the side's length."""
        return self._side(side).ids(texts)

    def encode(
        self, texts: Sequence[str], side: Side = "passage", progress: Callable[[int], object] | None = None
    ) -> Vectors:
        """Vectors of the texts, in their order.

        Args:
            texts: N texts. One without a token of its own (blank, or control characters only) becomes an empty sparse
                vector, or the dense vector of the empty text.
            side: Which prefix, length, top-k and model apply.
            progress: Called with the number of texts done, after each batch.

        Returns:
            float32 [N, D], or N sparse vectors of impacts.

        Raises:
            UnsoundVector: A vector holds NaN or infinity.
            GradirError: Texts may be no longer than their prefix, or a single text does not fit in memory.
        """
        return self._encode(texts, self.token_ids(texts, side), side, progress)

    def encode_windows(
        self,
        windows: Iterable[Sequence[str]],
        side: Side = "passage",
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Vectors]:
        """As `encode`, for one window of texts after another; the next one is tokenised meanwhile."""
        tokens = self._side(side)
        with ThreadPoolExecutor(1, "tokenise") as ahead:
            waiting = None
            for texts in windows:
                coming = texts, ahead.submit(tokens.ids, texts)
                if waiting:
                    yield self._encode(waiting[0], waiting[1].result(), side, progress)
                waiting = coming
            if waiting:
                yield self._encode(waiting[0], waiting[1].result(), side, progress)

    def _encode(
        self, texts: Sequence[str], ids: list[list[int]], side: Side, progress: Callable[[int], object] | None
    ) -> Vectors:
        """Vectors of texts whose token ids are known."""
        self.tokens += sum(map(len, ids))
        batches = list(token_batches([len(row) for row in ids], self.batch_tokens))

        def forward(batch: NDArray[np.int64]) -> list[Vectors]:
            try:
                return self._forward([ids[i] for i in batch], side)
            except UnsoundVector as error:
                raise UnsoundVector(int(batch[error.row])) from None

        parts: list[Vectors] = []
        for batch, made in zip(batches, self._workers.map(forward, batches), strict=True):
            parts += made
            if progress:
                progress(len(batch))
        vectors = self._concatenated(parts, batches)
        if isinstance(vectors, SparseVectors):
            if self.empties:
                tokens = self._side(side)
                vectors = emptied(vectors, [tokens.blank(text, row) for text, row in zip(texts, ids, strict=True)])
            self.active_terms += len(vectors.terms)
        return vectors

    def _side(self, side: Side) -> Tokens:
        """Tokenizer of one side; the first time, its model is made ready too."""
        if side not in self._tokens:
            folder, query = self._folder, side == "query"
            self._tokens[side] = Tokens(folder.query_tokenizer if query else folder.tokenizer, self.config, side)
            self._models[side] = self._model(side)
        return self._tokens[side]

    def _model(self, side: Side) -> Any:
        """The model of one side, ready. Both sides may share one."""
        folder = self._folder
        shared = folder.query_model is folder.model
        if shared and self._models:
            return next(iter(self._models.values()))
        if self.backend != "torch":
            from gradir.engine.onnx_model import open_onnx

            return open_onnx(folder, self.backend == "onnx-int8", str(self.device), side)
        return prepare(folder.query_model if side == "query" else folder.model, self.device, self.dtype)

    def _forward(self, ids: list[list[int]], side: Side) -> list[Vectors]:
        """Vectors of one batch, in its order; in halves where the memory does not hold it whole.

        Raises:
            GradirError: It does not hold a single text.
        """
        longest = max(map(len, ids))
        if len(ids) == 1 or len(ids) * longest < self._largest:
            try:
                return [self._vectors(ids, side)]
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if len(ids) == 1:
                    raise GradirError(
                        f"a text of {longest} tokens does not fit in the memory of {self.device}. "
                        "Give a smaller --max-length or another --device."
                    ) from None
                self._largest = len(ids) * longest
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        half = len(ids) // 2
        first = self._forward(ids[:half], side)
        try:
            return first + self._forward(ids[half:], side)
        except UnsoundVector as error:
            raise UnsoundVector(half + error.row) from None

    @torch.inference_mode()
    def _vectors(self, ids: list[list[int]], side: Side) -> Vectors:
        input_ids, mask = padded(ids, self._tokens[side].padding, self._positions[side], self.device)
        model = self._models[side]
        output: Tensor = model(input_ids, mask)
        if self.config.kind == "splade":
            return quantise(output, self.config.impact_scale, self.config.top_k(side), activation_of(model))
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
        return np.concatenate(dense)[back] if dense else np.zeros((0, self._size), np.float32)


def _size(model: Any) -> int:
    """Numbers of a dense vector, or terms of a sparse one."""
    return int(model.decoder.out_features if isinstance(model, SpladeEncoder) else model.size)


def _positions(model: Any) -> int:
    """How many tokens a batch may be filled up to: the model's positions, or 0 where these are unknown."""
    if not isinstance(model, DenseEncoder | SpladeEncoder):
        return 0
    backbone = model.backbone if isinstance(model, DenseEncoder) else model.mlm
    return position_limit(backbone.config.to_dict()) or sys.maxsize
