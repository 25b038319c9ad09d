"""Dev evaluation of a retriever in training: with the encoder that will be saved, as the engine runs it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gradir.engine.encoder import Encoder
from gradir.models.config import Side
from gradir.models.folder import EncoderFolder
from gradir.train.dev import DevSet
from gradir.train.retriever import Retriever, merge_lora


def evaluation(
    retriever: Retriever, dev: DevSet, device: torch.device, dtype: torch.dtype
) -> Callable[[], dict[str, float]]:
    """A function that gives the dev measures of the retriever as it then is.

    It encodes with a copy, made ready for inference: twice the model's memory for that time.
    """
    name = str(dtype).removeprefix("torch.")

    def measures() -> dict[str, float]:
        encoder = Encoder(_copied(retriever), str(device), name)
        return dev.retrieval(lambda texts: _vectors(encoder, texts, "query"), lambda t: _vectors(encoder, t, "passage"))

    return measures


def _copied(retriever: Retriever) -> EncoderFolder:
    """The retriever as a folder that was read."""
    document, query = copy.deepcopy((retriever.document, retriever.query))
    for model in (document, query):
        if model is not None:
            merge_lora(model)
            model.eval().requires_grad_(False)
    from pathlib import Path

    return EncoderFolder(
        Path(), retriever.config, document, retriever.tokenizer, query or document, retriever.query_tokenizer
    )


def _vectors(encoder: Encoder, texts: list[str], side: Side) -> Any:
    """float32 [N, D], or impacts as a csr of scipy, [N, V]."""
    from scipy.sparse import csr_array

    vectors = encoder.encode(texts, side)
    if isinstance(vectors, np.ndarray):
        return vectors
    size = len(encoder.vocab())
    return csr_array((vectors.impacts.astype(np.float32), vectors.terms, vectors.indptr), shape=(len(texts), size))
