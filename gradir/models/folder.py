"""Encoder folders, opened: written by gradir, sentence-transformers, Tevatron, naver/splade or Hugging Face."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from gradir.errors import InputError
from gradir.models.config import EncoderConfig, Kind, check_config, override, position_limit, read_model_settings
from gradir.models.layout import Layout, hashes, read_layout
from gradir.models.loading import load_pretrained, locate, open_tokenizer
from gradir.models.query_side import open_query_table, without_special_tokens
from gradir.models.vocabulary import ids_without_token, prefix_length, size, special_ids
from gradir.models.weights import weights_hash
from gradir.models.writing import write_dense_folder, write_splade_folder

__all__ = [
    "EncoderFolder",
    "load_pretrained",
    "locate",
    "open_folder",
    "open_tokenizer",
    "weights_hash",
    "write_dense_folder",
    "write_splade_folder",
]


@dataclass(frozen=True)
class EncoderFolder:
    """An encoder folder, read.

    Every model is called as `model(input_ids [B, S], attention_mask [B, S])`, int64, and gives vectors, float32 [B, D], or term
    weights, float32 [B, V].

    Attributes:
        path: The folder (for a hub name, its local copy).
        config: What `gradir.json` says, with both hashes filled in.
        model: What documents go through, in eval mode, float32, on the CPU.
        tokenizer: The Hugging Face tokenizer of documents.
        query_model: What queries go through; the same object where queries and documents share it.
        query_tokenizer: The tokenizer of queries; the same object where they share it.
    """

    path: Path
    config: EncoderConfig
    model: nn.Module
    tokenizer: Any
    query_model: nn.Module
    query_tokenizer: Any


def open_folder(
    encoder: str | Path, kind: Kind | None = None, trust_remote_code: bool = False, **changes: Any
) -> EncoderFolder:
    """Read an encoder folder or hub name.

    Args:
        encoder: A folder written by gradir, sentence-transformers or Hugging Face, or a hub name.
        kind: Overrides what the folder seems to be; pooling follows it unless given too.
        trust_remote_code: Allow the model's own Python code to run.
        changes: Overrides of the fields of `EncoderConfig`; None leaves a field as it is.

    Raises:
        GradirError: No such encoder, no tokenizer, a vocabulary that does not fit the model, weights that are missing or larger
            than the free memory, texts longer than the model takes.
    """
    path = locate(encoder, trust_remote_code)
    layout = read_layout(path)
    if kind and kind != layout.config.kind:
        layout = Layout(_as_other_kind(layout.config, kind), layout.transformer)
    layout = replace(layout, config=override(layout.config, **changes))
    check_config(layout.config, _limit(layout), _query_limit(layout))
    return open_parts(path, layout, trust_remote_code)


def open_parts(path: Path, layout: Layout, trust_remote_code: bool = False) -> EncoderFolder:
    """Load the parts of a folder.

    Args:
        path: The folder.
        layout: Where its parts lie, and how texts become vectors.
        trust_remote_code: Allow the model's own Python code to run.

    Raises:
        InputError: A part is damaged, lacks, or does not fit the others.
    """
    tokenizer = open_tokenizer(layout.transformer, trust_remote_code)
    model = _open_model(layout, tokenizer, trust_remote_code).eval()
    query_model, query_tokenizer = _open_query_side(layout, model, tokenizer, trust_remote_code)
    config = replace(layout.config, **hashes(layout))
    return EncoderFolder(path, config, model, tokenizer, query_model.eval(), query_tokenizer)


def _as_other_kind(config: EncoderConfig, kind: Kind) -> EncoderConfig:
    """What a folder of one kind is, taken for the other: its texts alone stay as they are."""
    names = ("query_prefix", "passage_prefix", "max_query_length", "max_passage_length")
    texts = {name: getattr(config, name) for name in names}
    return EncoderConfig(kind, "max" if kind == "splade" else "mean", normalize=kind == "dense", **texts)


def _limit(layout: Layout) -> int | None:
    """The most tokens that the model takes."""
    return position_limit(read_model_settings(layout.transformer))


def _query_limit(layout: Layout) -> float | None:
    """The most tokens of a query where they go through no model, or one of their own."""
    if layout.config.query_side in ("binary", "idf", "weights"):
        return math.inf
    return _limit(layout.query) if layout.query else None


def _open_model(layout: Layout, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    """The model of one row of parts."""
    if layout.config.kind == "dense":
        return _open_dense(layout, tokenizer, trust_remote_code)
    return _open_splade(layout, tokenizer, trust_remote_code)


def _open_dense(layout: Layout, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    from gradir.models.encoders import DenseEncoder
    from gradir.models.projections import read_projection

    path, config = layout.transformer, layout.config
    backbone, missing = load_pretrained("AutoModel", path, trust_remote_code)
    if backbone.config.is_encoder_decoder:
        raise InputError(path, "is an encoder-decoder model", "Only encoders are known")
    lacking = [name for name in missing if "pooler" not in name]  # BERT's pooler is not used
    if lacking:
        raise InputError(path, f"has no weights for {_some(lacking)}", "Copy it again")
    check_vocabulary(path, tokenizer, backbone.get_input_embeddings().num_embeddings)
    layers = [layer for folder in layout.projections for layer in read_projection(folder)]
    skipped = 0 if config.pool_prefix else prefix_length(tokenizer, config.passage_prefix)
    model = DenseEncoder(backbone, config.pooling, config.normalize, layers, config.dimensions, skipped)  # type: ignore[arg-type]
    if model.full_size < model.size:
        problem = f"its vectors have {model.full_size} numbers, and {model.size} are asked for"
        raise InputError(path, problem, "Give smaller `dimensions`")
    return model


def _open_splade(layout: Layout, tokenizer: Any, trust_remote_code: bool) -> nn.Module:
    from gradir.models.encoders import SpladeEncoder

    path, config = layout.transformer, layout.config
    mlm, lacking = load_pretrained("AutoModelForMaskedLM", path, trust_remote_code)
    if lacking:
        fix = "Make a SPLADE encoder of it first: gradir train init-splade"
        raise InputError(path, f"has no weights for {_some(lacking)}", fix)
    decoder = mlm.get_output_embeddings()
    if not isinstance(decoder, nn.Linear):
        raise InputError(path, f"{type(mlm).__name__} has no linear output layer", "It cannot be a SPLADE encoder")
    check_vocabulary(path, tokenizer, min(decoder.out_features, mlm.get_input_embeddings().num_embeddings))
    dropped = ids_without_token(tokenizer, decoder.out_features)
    if config.special_tokens == "drop":
        dropped += special_ids(tokenizer)
    return SpladeEncoder(mlm, dropped, config.pooling, config.activation, config.expansion)  # type: ignore[arg-type]


def _open_query_side(layout: Layout, model: Any, tokenizer: Any, trust_remote_code: bool) -> tuple[nn.Module, Any]:
    """(model, tokenizer) of queries.

    Raises:
        InputError: The two sides do not give vectors that can be compared, or there is no table.
    """
    config = layout.config
    if config.query_side == "separate" and layout.query:
        return _open_separate(layout.query, layout, model, tokenizer, trust_remote_code)
    if config.query_side in ("binary", "idf", "weights"):
        table = open_query_table(layout, tokenizer, model.decoder.out_features)
        return table, without_special_tokens(layout.table or layout.transformer, trust_remote_code)
    if config.kind == "dense" and not config.pool_prefix and config.query_prefix != config.passage_prefix:
        return model.skipping(prefix_length(tokenizer, config.query_prefix)), tokenizer
    return model, tokenizer


def _open_separate(
    query: Layout, layout: Layout, model: Any, tokenizer: Any, trust_remote_code: bool
) -> tuple[nn.Module, Any]:
    """(model, tokenizer) of queries that have an encoder of their own."""
    own_tokenizer = open_tokenizer(query.transformer, trust_remote_code)
    # The prefix is put before a query by the folder's configuration, not by that of the part.
    prefix = layout.config.query_prefix
    own = _open_model(
        replace(query, config=replace(query.config, passage_prefix=prefix)), own_tokenizer, trust_remote_code
    )
    if query.config.kind != layout.config.kind:
        raise InputError(
            query.transformer,
            f"is a {query.config.kind} encoder, that of the documents is not",
            "Give both of one kind",
        )
    if layout.config.kind == "dense" and own.size != model.size:
        problem = f"gives vectors of {own.size} numbers, the encoder of documents {model.size}"
        raise InputError(query.transformer, problem, "Give both a projection to one size")
    if layout.config.kind == "splade" and own_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise InputError(
            query.transformer, "has another vocabulary than the encoder of documents", "Sparse vectors need the same"
        )
    return own, own_tokenizer


def check_vocabulary(path: Path, tokenizer: Any, rows: int) -> None:
    """Refuse a tokenizer that gives ids which the model has no row for."""
    if size(tokenizer) > rows:
        raise InputError(
            path, f"the tokenizer has {size(tokenizer)} tokens, the model {rows}", "They do not belong together"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
