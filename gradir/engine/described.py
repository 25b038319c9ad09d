"""What decides an encoder's vectors, apart from its weights: kept with every vector shard and index, compared at search time."""

from __future__ import annotations

from typing import Any

from gradir.models.config import EncoderConfig

# Padded tokens of a batch by kind of device: small enough for a processor's cache, large enough to fill a GPU.
BUDGET = {"cpu": 2048, "mps": 16384, "cuda": 65536}

_NAMES: tuple[str, ...] = (
    "kind",
    "pooling",
    "normalize",
    "dimensions",
    "query_prefix",
    "passage_prefix",
    "pool_prefix",
)
_NAMES += ("max_query_length", "max_passage_length", "query_side", "tokenizer_sha256", "weights_sha256")
_SPLADE = ("impact_scale", "activation", "expansion", "special_tokens", "top_k_query", "top_k_passage")


def described(config: EncoderConfig) -> dict[str, Any]:
    """The fields of a configuration that decide the vectors."""
    return {name: getattr(config, name) for name in _NAMES + (_SPLADE if config.kind == "splade" else ())}
