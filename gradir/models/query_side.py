"""Queries without a model (inference-free): the tables of term weights, and the tokenizer that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradir.errors import GradirError, InputError
from gradir.models.loading import open_tokenizer
from gradir.models.vocabulary import ids_without_token, special_ids
from gradir.models.weights import read_tensors

if TYPE_CHECKING:
    from gradir.models.encoders import StaticEncoder
    from gradir.models.layout import Layout


def idf_table(frequencies: Sequence[int] | NDArray[np.integer[Any]], documents: int) -> NDArray[np.float32]:
    """The weight of each term by its inverse document frequency, `log(1 + (N - n_j + 0.5) / (n_j + 0.5))`.

    This is Lucene's IDF (Robertson and Sparck Jones's weight, never negative), which inference-free sparse retrievers give to
    the terms of queries (Geng et al. 2024, arXiv 2411.04403).

    Args:
        frequencies: n_j, in how many documents each term stands, [V].
        documents: N.

    Returns:
        float32 [V], above 0.

    Raises:
        GradirError: A term stands in more documents than there are, or in fewer than none.
    """
    counts = np.asarray(frequencies, dtype=np.float64)
    if counts.size and (counts.min() < 0 or counts.max() > documents):
        place = int(np.argmax((counts < 0) | (counts > documents)))
        raise GradirError(f"term {place} stands in {counts[place]:g} of {documents} documents. Count them again.")
    return np.log1p((documents - counts + 0.5) / (counts + 0.5)).astype(np.float32)


def open_query_table(layout: Layout, tokenizer: Any, rows: int) -> StaticEncoder:
    """The table of a folder's query side; without a file, `binary` gives every term the weight 1.

    Special tokens and rows that stand for no token weigh nothing.

    Args:
        layout: The folder.
        tokenizer: The tokenizer.
        rows: Terms of the documents' vectors.

    Raises:
        InputError: The folder holds no table, or one of another size, or with weights that are none.
    """
    import torch

    from gradir.models.encoders import StaticEncoder

    table = torch.ones(rows)
    if layout.table:
        table = _read_table(layout.table, rows)
    elif layout.config.query_side != "binary":
        problem = f"weighs query terms by `{layout.config.query_side}`, but holds no table of weights"
        raise InputError(layout.transformer, problem, "Copy the whole folder, or use `query_side` binary")
    table[ids_without_token(tokenizer, rows)] = 0.0
    if layout.config.special_tokens == "drop":
        table[special_ids(tokenizer)] = 0.0
    return StaticEncoder(table)


def _read_table(folder: Path, rows: int) -> Any:
    """The weights that sentence-transformers' SparseStaticEmbedding keeps, float32 [rows]."""
    import torch

    table = read_tensors(folder, ["weight"]).get("weight")
    if table is None or table.ndim != 1:
        raise InputError(folder, "holds no table of weights (`weight` in a safetensors file)", "Copy it again")
    if len(table) > rows:
        raise InputError(folder, f"weighs {len(table)} terms, the model has {rows}", "They do not belong together")
    if not torch.isfinite(table).all() or (table < 0).any():
        raise InputError(folder, "holds weights that are negative or no numbers", "Weights of terms are 0 or more")
    return torch.nn.functional.pad(table, (0, rows - len(table)))


def without_special_tokens(path: Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder, which adds no special tokens to a text."""
    tokenizer = open_tokenizer(path, trust_remote_code)
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer
