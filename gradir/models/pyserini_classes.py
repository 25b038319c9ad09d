"""Encoder folders opened as Pyserini's encoder classes would: nothing but weights and tokenizer counts, the class says the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradir.errors import GradirError, InputError, nearest
from gradir.models.config import PYSERINI_SCALE, EncoderConfig, check_config, position_limit, read_model_settings
from gradir.models.encoders import DenseEncoder
from gradir.models.folder import EncoderFolder, check_vocabulary, open_parts
from gradir.models.layout import Layout, hashes
from gradir.models.loading import load_pretrained, locate, open_tokenizer
from gradir.models.projections import fill
from gradir.models.query_side import without_special_tokens
from gradir.models.vocabulary import prefix_length
from gradir.models.weights import read_tensors

_POOLINGS = {"cls": "cls", "mean": "mean", "max": "max", "last": "last", "eos": "last"}
_ARCTIC_PREFIX = "Represent this sentence for searching relevant passages: "
_TCT_QUERY_LENGTH = 36

# What a class says of texts and vectors, beyond Pyserini's defaults: documents of 256 tokens, queries of 256.
_CLASSES: dict[str, dict[str, Any]] = {
    "auto": {"max_query_length": 512},
    "sentence-transformers": {"pooling": "mean", "normalize": True, "max_query_length": 512},
    "contriever": {"pooling": "mean", "max_query_length": 512},
    "arctic": {"pooling": "cls", "normalize": True, "query_prefix": _ARCTIC_PREFIX, "max_query_length": 512},
    "dpr": {"pooling": "cls", "max_query_length": 512},
    "ance": {"pooling": "cls", "max_query_length": 64},
    "tct_colbert": {
        "pooling": "mean",
        "pool_prefix": False,
        "passage_prefix": "[CLS] [D] ",
        "query_prefix": "[CLS] [Q] ",
        "max_query_length": _TCT_QUERY_LENGTH,
    },
    "splade": {"kind": "splade", "pooling": "max", "special_tokens": "keep", "impact_scale": PYSERINI_SCALE},
}
CLASSES = tuple(_CLASSES)


def open_as(
    encoder_class: str,
    encoder: str | Path,
    *,
    pooling: str = "cls",
    l2_norm: bool = False,
    prefix: str | None = None,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> EncoderFolder:
    """Open a folder or hub name so that its vectors are those of Pyserini's class of that name, of documents and of queries.

    `gradir.json` and sentence-transformers' files do not count, as they do not for Pyserini.

    Args:
        encoder_class: One of `CLASSES`, as in `--encoder-class`.
        encoder: The folder or hub name.
        pooling: For `auto`: cls, mean, max, last or eos (the last token, which the tokenizer adds). Other classes have their own.
        l2_norm: Scale dense vectors to unit length, which some classes do in any case.
        prefix: Put before every text, with a space between (not for `tct_colbert`).
        max_length: Tokens of a document; if not given 256, or as many as the model takes where that is less.
        trust_remote_code: Allow the model's own Python code to run.

    Raises:
        GradirError: No such class, or the folder is not of it, or cannot be opened.
    """
    if encoder_class not in _CLASSES:
        known = f"not one of {', '.join(CLASSES)}{nearest(encoder_class, CLASSES)}"
        raise GradirError(f"--encoder-class {encoder_class}: {known}.")
    if pooling not in _POOLINGS:
        raise GradirError(f"--pooling {pooling}: not one of {', '.join(_POOLINGS)}{nearest(pooling, _POOLINGS)}.")
    path = locate(encoder, trust_remote_code)
    limit = position_limit(read_model_settings(path))
    config = _config(encoder_class, pooling, l2_norm, prefix, max_length, limit)
    check_config(config, limit)
    layout = Layout(config, path)
    special: Callable[[Path, EncoderConfig, Any], EncoderFolder] | None = _OWN_MODELS.get(encoder_class)
    if special is None:
        return open_parts(path, layout, trust_remote_code)
    opened = special(path, config, open_tokenizer(path, trust_remote_code))
    return replace(opened, config=replace(config, **hashes(layout)))


def _config(
    encoder_class: str, pooling: str, l2_norm: bool, prefix: str | None, max_length: int | None, limit: int | None
) -> EncoderConfig:
    values: dict[str, Any] = {"kind": "dense", "pooling": _POOLINGS[pooling], "max_query_length": 256} | _CLASSES[
        encoder_class
    ]
    if values["kind"] == "dense":
        values["normalize"] = values.get("normalize", False) or l2_norm
    if prefix and encoder_class != "tct_colbert":
        values = {"query_prefix": f"{prefix} ", "passage_prefix": f"{prefix} "} | values
    values["max_query_length"] = min(values["max_query_length"], limit or values["max_query_length"])
    return EncoderConfig(**values, max_passage_length=max_length or min(256, limit or 256))


def _open_dpr(path: Path, config: EncoderConfig, tokenizer: Any) -> EncoderFolder:
    """DPR's encoder of contexts, or of questions where the folder holds one: BERT's first token, and a projection if it has one."""
    architecture = str((read_model_settings(path).get("architectures") or [""])[0])
    question = architecture == "DPRQuestionEncoder"
    model, missing = load_pretrained("DPRQuestionEncoder" if question else "DPRContextEncoder", path)
    if missing:
        raise InputError(
            path, f"has no weights for {missing[0]}", "Is it a DPR encoder? Otherwise --encoder-class auto"
        )
    inner = model.question_encoder if question else model.ctx_encoder
    projections = [inner.encode_proj] if inner.projection_dim > 0 else []
    return _dense(path, config, tokenizer, inner.bert_model, projections)


def _open_ance(path: Path, config: EncoderConfig, tokenizer: Any) -> EncoderFolder:
    """ANCE: RoBERTa's first token, a linear layer `embeddingHead` and a layer norm `norm`."""
    backbone, missing = load_pretrained("RobertaModel", path)
    shapes = {"embeddingHead": ("weight", "bias"), "norm": ("weight", "bias")}
    tensors = read_tensors(path, [f"{layer}.{name}" for layer, names in shapes.items() for name in names])
    lacking = [name for name in missing if "pooler" not in name]
    lacking += [f"{layer}.{name}" for layer in shapes for name in shapes[layer] if f"{layer}.{name}" not in tensors]
    if lacking:
        raise InputError(
            path, f"has no weights for {lacking[0]}", "Is it an ANCE encoder? Otherwise --encoder-class auto"
        )
    size, hidden = tensors["embeddingHead.weight"].shape
    layers = {"embeddingHead": nn.Linear(hidden, size), "norm": nn.LayerNorm(size)}
    projections = [
        fill(layer, {name: tensors[f"{key}.{name}"] for name in shapes[key]}, path) for key, layer in layers.items()
    ]
    return _dense(path, config, tokenizer, backbone, projections)


def _open_tct_colbert(path: Path, config: EncoderConfig, tokenizer: Any) -> EncoderFolder:
    """TCT-ColBERT: the mean of all tokens but the four of `[CLS] [D]`, no [SEP]; queries are filled up with [MASK]."""
    backbone, missing = load_pretrained("AutoModel", path)
    lacking = [name for name in missing if "pooler" not in name]
    if lacking or tokenizer.mask_token_id is None:
        problem = f"has no weights for {lacking[0]}" if lacking else "has a tokenizer without [MASK]"
        raise InputError(path, problem, "Is it a TCT-ColBERT encoder? Otherwise --encoder-class auto")
    plain = without_special_tokens(path)
    opened = _dense(path, config, plain, backbone, [], prefix_length(plain, config.passage_prefix))
    query = opened.model.skipping(prefix_length(plain, config.query_prefix))  # type: ignore[operator]
    filled = _FilledUp(query, tokenizer.mask_token_id, _TCT_QUERY_LENGTH)
    return replace(opened, query_model=filled.eval())


def _dense(
    path: Path, config: EncoderConfig, tokenizer: Any, backbone: Any, projections: list[Any], skipped: int = 0
) -> EncoderFolder:
    check_vocabulary(path, tokenizer, backbone.get_input_embeddings().num_embeddings)
    model = DenseEncoder(backbone, config.pooling, config.normalize, projections, skipped=skipped)  # type: ignore[arg-type]
    model.eval()
    return EncoderFolder(path, config, model, tokenizer, model, tokenizer)


class _FilledUp(nn.Module):
    """An encoder whose texts are filled up with a token, which counts as one of theirs.

    Args:
        encoder: What the filled texts go through.
        token: Id of the token.
        length: Tokens of each text afterwards.
    """

    def __init__(self, encoder: nn.Module, token: int, length: int):
        super().__init__()
        self.encoder, self.token, self.length = encoder, token, length

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors, float32 [B, D], of token ids int64 [B, S] and mask int64 [B, S], padded on the right, S at most `length`."""
        real = attention_mask.bool()
        filled = input_ids.new_full((len(input_ids), self.length), self.token)
        filled[:, : input_ids.shape[1]] = torch.where(real, input_ids, self.token)
        vectors: Tensor = self.encoder(filled, torch.ones_like(filled))
        return vectors


_OWN_MODELS = {"dpr": _open_dpr, "ance": _open_ance, "tct_colbert": _open_tct_colbert}
