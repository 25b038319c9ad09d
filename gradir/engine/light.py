"""Queries through ONNX Runtime alone: without torch and transformers, whose import takes longer than all the rest of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.vectors import Vectors, concatenate_sparse
from gradir.engine.batching import filled, token_batches
from gradir.engine.described import BUDGET, described
from gradir.engine.onnx_model import OnnxModel, check_note, graph_path
from gradir.engine.quantise import emptied, quantise_array
from gradir.errors import GradirError
from gradir.models.config import EncoderConfig, override
from gradir.models.hugging_face import position_limit, read_model_settings
from gradir.models.layout import hashes, read_layout
from gradir.models.vocabulary import terms_by_id


class LightQueryEncoder:
    """Encodes queries on the CPU with the graph of an exported folder; as `Encoder` with `backend="onnx"`.

    Args:
        path: An encoder folder for which `fits` is true.
        int8: Take the graph with 8-bit products.
        changes: Overrides of the fields of `EncoderConfig`; None leaves a field as it is.

    Attributes:
        config: The encoder's configuration.
        active_terms: Terms of the sparse vectors given so far.

    Raises:
        GradirError: The folder has no such graph, or one of other weights or another configuration; no room for a text.
    """

    def __init__(self, path: str | Path, int8: bool = False, **changes: Any):
        from tokenizers import Tokenizer

        self.path, self.backend = Path(path), "onnx-int8" if int8 else "onnx"
        layout = read_layout(self.path)
        self.config: EncoderConfig = replace(override(layout.config, **changes), **hashes(layout))
        graph = graph_path(self.path, "passage", int8)
        self._model = OnnxModel(graph)
        check_note(graph, self._model.note, self.config, int8)
        settings = read_model_settings(layout.transformer)
        self._positions, self._padding = position_limit(settings) or 0, int(settings.get("pad_token_id") or 0)
        self._tokenizer = Tokenizer.from_file(str(layout.transformer / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._nothing = self._tokenizer.encode(self.config.query_prefix).ids
        if len(self._nothing) >= self.config.max_query_length:
            raise GradirError(
                f"a query of {self.config.max_query_length} tokens has no room beside prefix and special tokens."
            )
        self._tokenizer.enable_truncation(self.config.max_query_length)
        self.active_terms = 0

    @staticmethod
    def fits(encoder: str | Path, kind: str) -> bool:
        """Whether a folder is one that this class can open: local, of this kind, exported by gradir, one encoder for both sides."""
        path = Path(encoder)
        if not all((path / name).exists() for name in ("gradir.json", "tokenizer.json", "model.onnx")):
            return False
        layout = read_layout(path)
        plain = layout.transformer == path and layout.config.query_side == "encoder"
        # A prefix that is left out of the pooling makes a graph of queries, which is for the whole Encoder.
        return plain and layout.config.pool_prefix and layout.config.kind == kind

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id."""
        return terms_by_id(self._tokenizer, int(self._model.size or 0))

    def description(self) -> dict[str, Any]:
        """What decides the vectors, as `Encoder.description`."""
        return described(self.config) | {"dtype": "float32", "batch_tokens": BUDGET["cpu"], "backend": self.backend}

    def encode(self, texts: Sequence[str], side: str = "query") -> Vectors:
        """Vectors of the queries, in their order: float32 [N, D], or N sparse vectors of impacts.

        Raises:
            GradirError: A vector holds NaN or infinity.
        """
        ids = [encoded.ids or [self._padding] for encoded in self._encoded(texts)]
        order = list(token_batches([len(row) for row in ids], BUDGET["cpu"]))
        parts = [self._vectors([ids[i] for i in batch]) for batch in order]
        back = np.argsort(np.concatenate(order), kind="stable") if order else np.zeros(0, np.int64)
        if self.config.kind == "dense":
            return np.concatenate(parts)[back] if parts else np.zeros((0, self._model.size or 0), np.float32)
        blank = np.array([row == self._nothing or not text.strip() for text, row in zip(texts, ids, strict=True)], bool)
        impacts = [quantise_array(part, self.config.impact_scale, self.config.top_k_query) for part in parts]
        vectors = emptied(concatenate_sparse(impacts).take(back), blank.tolist())
        self.active_terms += len(vectors.terms)
        return vectors

    def _encoded(self, texts: Sequence[str]) -> Any:
        return self._tokenizer.encode_batch_fast([self.config.query_prefix + text for text in texts])

    def _vectors(self, ids: list[list[int]]) -> NDArray[np.float32]:
        """What the model gives of one batch, [B, D] or [B, V]."""
        vectors = self._model.run(*filled(ids, self._padding, self._positions))
        if not np.isfinite(vectors).all():
            raise GradirError(f"{self.path}: a query's vector holds NaN or infinity. Export the encoder again.")
        return vectors
