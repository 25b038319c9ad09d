"""The files of an exported encoder but its graphs: weights, tokenizer, `vocab.txt`, the files of each library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradir.data.atomic import new_path
from gradir.data.vectors import write_vocab
from gradir.models.config import write_config
from gradir.models.encoders import StaticEncoder, replace_module
from gradir.models.folder import EncoderFolder, write_dense_folder, write_splade_folder
from gradir.models.layout import hashes, read_layout
from gradir.models.vocabulary import size, terms_by_id

NEVER = -100.0  # bias of a term that no text may have: below any logit, also in half precision
_LOW_ENOUGH = -50.0


def write_encoder(folder: EncoderFolder, target: Path) -> None:
    """Write a dense or SPLADE encoder so that gradir, Hugging Face, sentence-transformers and Pyserini open it.

    Args:
        folder: The encoder as it was opened. Its heads are taken apart: do not use it afterwards.
        target: An empty folder.
    """
    own = folder.config.query_side == "separate"
    query: Any = (folder.query_model, folder.query_tokenizer) if own else None
    if folder.config.kind == "dense":
        write_dense_folder(target, folder.model, folder.tokenizer, folder.config, query)  # type: ignore[arg-type]
    else:
        table = folder.query_model.table if isinstance(folder.query_model, StaticEncoder) else None
        query = (_whole(folder.query_model), folder.query_tokenizer) if own else None
        write_splade_folder(target, _whole(folder.model), folder.tokenizer, folder.config, table, query)
    for part, tokenizer in _parts(folder, target):
        write_vocabulary(part, tokenizer)
    write_config(target, replace(folder.config, **hashes(read_layout(target))))


def _parts(folder: EncoderFolder, target: Path) -> list[tuple[Path, Any]]:
    """(folder, tokenizer) of each model."""
    query = target / "query"
    return [(target, folder.tokenizer), *([(query, folder.query_tokenizer)] if query.is_dir() else [])]


def _whole(encoder: Any) -> Any:
    """The masked-language model of a SPLADE encoder with its decoder, its dropped terms out of reach for everybody.

    Pyserini and sentence-transformers know no special tokens: what the encoder drops, its bias must make inactive.
    """
    bias = encoder.decoder.bias
    if bias is not None:
        with torch.no_grad():
            kept = bias[encoder.dropped]
            bias[encoder.dropped] = torch.where(kept < _LOW_ENOUGH, kept, torch.full_like(kept, NEVER))
    replace_module(encoder.mlm, encoder.mlm.get_output_embeddings(), encoder.decoder)
    return encoder.mlm


def write_vocabulary(folder: Path, tokenizer: Any) -> None:
    """`vocab.txt`, the tokens by id, for a WordPiece tokenizer that has none: Java and older tokenizers read it."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    if parts["model"]["type"] == "WordPiece" and not (folder / "vocab.txt").exists():
        write_vocab(folder, terms_by_id(tokenizer, size(tokenizer)))


def write_pickle(folder: Path) -> None:
    """`pytorch_model.bin` beside the safetensors of a folder, with the same tensors: later Pyserini loads SPLADE from nothing else.

    gradir itself never reads it.
    """
    from safetensors.torch import load_file

    tensors = {
        name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }
    with new_path(folder / "pytorch_model.bin") as path:
        torch.save(tensors, path)
