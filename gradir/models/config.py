"""`gradir.json`: what an encoder folder is, beyond its weights; and how folders that lack it are understood."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT, check_format
from gradir.errors import GradirError, InputError, nearest
from gradir.models.hugging_face import is_count, position_limit, read_model_settings, read_object

Kind = Literal["dense", "splade"]
Side = Literal["query", "passage"]
Pooling = Literal["mean", "cls", "max", "last", "sum"]
QuerySide = Literal["encoder", "binary", "idf", "weights", "separate"]

PYSERINI_SCALE = 51.2  # round(w / 5 * 256), on both sides, in Pyserini and Anserini


@dataclass(frozen=True)
class EncoderConfig:
    """How an encoder turns texts into vectors.

    Attributes:
        kind: `dense` or `splade`.
        pooling: Over the real tokens of a text: `mean`, `cls` (the first), `last` or `max` (dense); `max` or `sum` (SPLADE).
        normalize: Scale dense vectors to unit length.
        dimensions: Keep only the first so many numbers of a dense vector (Matryoshka), before it is scaled to unit length.
        pool_prefix: The tokens of the prefix, and the special tokens before it, count in a dense encoder's pooling.
        activation: Of a SPLADE encoder's logits, before the logarithm: a weight is `log(1 + activation(logit))`, with `relu`,
            or `log1p_relu`, which is `log(1 + relu(logit))` (OpenSearch, arXiv 2504.14839).
        expansion: SPLADE: False gives weight only to terms of the text itself (the lexical variant).
        query_prefix: Put before every query, as it is.
        passage_prefix: Put before every document, as it is.
        max_query_length: Tokens, special ones included.
        max_passage_length: Tokens, special ones included.
        impact_scale: An impact is `round(weight * impact_scale)`.
        special_tokens: `drop`: the tokenizer's special tokens never become terms. `keep`: they do, as in Pyserini's encoders.
        top_k_query: Keep only so many of a query's terms.
        top_k_passage: Keep only so many of a document's terms.
        query_side: `encoder`: queries go through the model as well. `separate`: they have a model of their own, in `query/`.
            Without a model (inference-free, SPLADE only): `binary`: each term of the query weighs 1; `idf`, `weights`: what a
            table saved with the folder says, an IDF or a learnt weight.
        tokenizer_sha256: Hash of the tokenizer's files, if known.
        weights_sha256: Hash of the weights' files, if known.
    """

    kind: Kind
    pooling: Pooling
    normalize: bool = False
    dimensions: int | None = None
    pool_prefix: bool = True
    activation: Literal["relu", "log1p_relu"] = "relu"
    expansion: bool = True
    query_prefix: str = ""
    passage_prefix: str = ""
    max_query_length: int = 256
    max_passage_length: int = 256
    impact_scale: float = PYSERINI_SCALE
    special_tokens: Literal["drop", "keep"] = "drop"
    top_k_query: int | None = None
    top_k_passage: int | None = None
    query_side: QuerySide = "encoder"
    tokenizer_sha256: str = ""
    weights_sha256: str = ""

    def prefix(self, side: Side) -> str:
        """What is put before a text of this side."""
        return self.query_prefix if side == "query" else self.passage_prefix

    def max_length(self, side: Side) -> int:
        """Tokens of a text of this side, special ones included."""
        return self.max_query_length if side == "query" else self.max_passage_length

    def top_k(self, side: Side) -> int | None:
        """Terms kept of a text of this side."""
        return self.top_k_query if side == "query" else self.top_k_passage


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in allowed, f"one of {', '.join(allowed)}"


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_TEXT = (lambda value: isinstance(value, str), "text")
_FLAG = (lambda value: isinstance(value, bool), "true or false")
_COUNT = (is_count, "a whole number above 0")
_COUNT_OR_NULL = (lambda value: value is None or is_count(value), "null or a whole number above 0")

# field: (whether a value will do, what will do in words)
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": _one_of("dense", "splade"),
    "pooling": _one_of("mean", "cls", "max", "last", "sum"),
    "normalize": _FLAG,
    "dimensions": _COUNT_OR_NULL,
    "pool_prefix": _FLAG,
    "activation": _one_of("relu", "log1p_relu"),
    "expansion": _FLAG,
    "query_prefix": _TEXT,
    "passage_prefix": _TEXT,
    "max_query_length": _COUNT,
    "max_passage_length": _COUNT,
    "impact_scale": (lambda value: value is None or _is_scale(value), "a number above 0"),
    "special_tokens": _one_of("drop", "keep"),
    "top_k_query": _COUNT_OR_NULL,
    "top_k_passage": _COUNT_OR_NULL,
    "query_side": _one_of("encoder", "binary", "idf", "weights", "separate"),
    "tokenizer_sha256": _TEXT,
    "weights_sha256": _TEXT,
}

POOLINGS: dict[Kind, tuple[Pooling, ...]] = {"dense": ("mean", "cls", "max", "last"), "splade": ("max", "sum")}

# (field, the kind that it is for, its value where it changes nothing)
_OF_ONE_KIND: tuple[tuple[str, Kind, Any], ...] = (
    ("dimensions", "dense", None),
    ("pool_prefix", "dense", True),
    ("activation", "splade", "relu"),
    ("expansion", "splade", True),
)


def read_config(folder: str | Path) -> EncoderConfig:
    """The configuration of an encoder folder.

    From `gradir.json`; without it from sentence-transformers' `modules.json`; without that too, a masked-language model is taken
    for SPLADE with max pooling, anything else for a dense encoder with mean pooling and unit length.

    Raises:
        InputError: The folder holds no model, or a file of it is malformed; all problems of `gradir.json` are listed.
    """
    from gradir.models.layout import read_layout

    return read_layout(folder).config


def read_plain_config(folder: Path) -> EncoderConfig:
    """What a folder of Hugging Face, Tevatron or naver/splade is taken for, which says nothing but its architecture.

    SPLADE's special tokens are dropped, as in Anserini; Pyserini's own encoders keep them (`gradir.models.pyserini_classes`).

    Raises:
        InputError: The folder holds no model.
    """
    settings = read_model_settings(folder)
    length = min(256, position_limit(settings) or 256)
    lengths: dict[str, Any] = {"max_query_length": length, "max_passage_length": length}
    architecture = str((settings.get("architectures") or [""])[0])
    if architecture.endswith("ForMaskedLM"):
        return EncoderConfig(kind="splade", pooling="max", **lengths)
    return EncoderConfig(kind="dense", pooling="mean", normalize=True, **lengths)


def write_config(folder: str | Path, config: EncoderConfig) -> None:
    """Write `gradir.json` into an encoder folder."""
    with new_text(Path(folder) / "gradir.json") as stream:
        json.dump({"format": FORMAT, **asdict(config)}, stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def override(config: EncoderConfig, **changes: Any) -> EncoderConfig:
    """The configuration with those changes that are not None."""
    return replace(config, **{name: value for name, value in changes.items() if value is not None})


def check_config(config: EncoderConfig, limit: float | None = None, query_limit: float | None = None) -> None:
    """Refuse a configuration that cannot be, listing all that is wrong with it.

    Args:
        config: The configuration, overrides included.
        limit: The most tokens that the model takes.
        query_limit: The most tokens of a query, where they do not go through the same model.

    Raises:
        GradirError: Values out of range, a pooling that does not go with the kind, texts longer than the model takes.
    """
    problems = _problems(asdict(config))
    for name, most in (("max_query_length", query_limit or limit), ("max_passage_length", limit)):
        length = getattr(config, name)
        if most is not None and is_count(length) and length > most:
            problems.append(f"`{name}` is {length}, but the model takes at most {most} tokens")
    if problems:
        raise GradirError(f"the encoder cannot be opened so: {'; '.join(problems)}. Change the flag, or gradir.json.")


def _problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of these fields."""
    problems = [
        f"`{name}` is {json.dumps(values[name], ensure_ascii=False)}, not {words}"
        for name, (will_do, words) in _RULES.items()
        if name in values and not will_do(values[name])
    ]
    if values.get("kind") == "splade" and values.get("impact_scale", PYSERINI_SCALE) is None:
        problems.append("`impact_scale` is null, which only a dense encoder may have")
    if not problems and values.get("kind") and values.get("pooling"):
        problems = _contradictions(values)
    return problems


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Values that are well by themselves, and do not go with the kind of encoder."""
    kind, pooling = values["kind"], values["pooling"]
    problems = []
    if pooling not in POOLINGS[kind]:
        words = ", ".join(f"{' or '.join(names)} ({kind})" for kind, names in POOLINGS.items())
        problems.append(f"pooling '{pooling}' does not go with a {kind} encoder: it is {words}")
    for name, other, plain in _OF_ONE_KIND:
        if kind != other and values.get(name, plain) != plain:
            problems.append(f"`{name}` is {json.dumps(values[name])}, which only a {other} encoder may have")
    if kind == "dense" and values.get("query_side", "encoder") not in ("encoder", "separate"):
        problems.append(f'`query_side` is "{values["query_side"]}", which only a splade encoder may have')
    return problems


def read_gradir_json(path: Path) -> EncoderConfig:
    """What `gradir.json` says.

    Raises:
        InputError: It is malformed, or of a newer format; all problems are listed.
    """
    values = read_object(path)
    check_format(path, values)
    problems = [f"unknown key `{key}`{nearest(key, _RULES)}" for key in values if key not in (*_RULES, "format")]
    problems += [f"no `{key}`" for key in ("kind", "pooling") if key not in values]
    problems += _problems(values)
    if problems:
        raise InputError(path, "; ".join(problems), "Mend these, or use a gradir that knows them")
    return EncoderConfig(**{key: values[key] for key in _RULES if values.get(key) is not None})
