"""`gradir.json`: what an encoder folder is, beyond its weights; and how folders that lack it are understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT, check_format
from gradir.errors import GradirError, InputError, nearest

Kind = Literal["dense", "splade"]
Side = Literal["query", "passage"]

PYSERINI_SCALE = 51.2  # round(w / 5 * 256), on both sides, in Pyserini and Anserini


@dataclass(frozen=True)
class EncoderConfig:
    """How an encoder turns texts into vectors.

    Attributes:
        kind: `dense` or `splade`.
        pooling: `mean` or `cls` (dense), `max` (SPLADE).
        normalize: Scale dense vectors to unit length.
        query_prefix: Put before every query, as it is.
        passage_prefix: Put before every document, as it is.
        max_query_length: Tokens, special ones included.
        max_passage_length: Tokens, special ones included.
        impact_scale: An impact is `round(weight * impact_scale)`.
        special_tokens: `drop`: the tokenizer's special tokens never become terms. `keep`: they do, as in Pyserini's encoders.
        top_k_query: Keep only so many of a query's terms.
        top_k_passage: Keep only so many of a document's terms.
        query_side: `encoder`: queries go through the model as well.
        tokenizer_sha256: Hash of the tokenizer's files, if known.
        weights_sha256: Hash of the weights' files, if known.
    """

    kind: Kind
    pooling: Literal["mean", "cls", "max"]
    normalize: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    max_query_length: int = 256
    max_passage_length: int = 256
    impact_scale: float = PYSERINI_SCALE
    special_tokens: Literal["drop", "keep"] = "drop"
    top_k_query: int | None = None
    top_k_passage: int | None = None
    query_side: Literal["encoder"] = "encoder"
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


_ALLOWED = {
    "kind": ("dense", "splade"),
    "pooling": ("mean", "cls", "max"),
    "special_tokens": ("drop", "keep"),
    "query_side": ("encoder",),
}


def read_config(folder: str | Path) -> EncoderConfig:
    """The configuration of an encoder folder.

    From `gradir.json`; without it from sentence-transformers' `modules.json`; without that too, a masked-language model is taken
    for SPLADE with max pooling, anything else for a dense encoder with mean pooling and unit length.

    Raises:
        InputError: The folder holds no model, or a file of it is malformed; all problems of `gradir.json` are listed.
    """
    folder = Path(folder)
    if (folder / "gradir.json").exists():
        return _from_gradir(folder / "gradir.json")
    if not (folder / "config.json").exists():
        raise InputError(folder, "holds no encoder (no config.json)", "Name a Hugging Face model folder")
    if (folder / "modules.json").exists():
        return _from_sentence_transformers(folder)
    architecture = str(_read_json(folder / "config.json").get("architectures", [""])[0])
    if architecture.endswith("ForMaskedLM"):
        return EncoderConfig(kind="splade", pooling="max")
    return EncoderConfig(kind="dense", pooling="mean", normalize=True)


def write_config(folder: str | Path, config: EncoderConfig) -> None:
    """Write `gradir.json` into an encoder folder."""
    with new_text(Path(folder) / "gradir.json") as stream:
        json.dump({"format": FORMAT, **asdict(config)}, stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def override(config: EncoderConfig, **changes: Any) -> EncoderConfig:
    """The configuration with those changes that are not None."""
    return replace(config, **{name: value for name, value in changes.items() if value is not None})


def _from_gradir(path: Path) -> EncoderConfig:
    value = _read_json(path)
    check_format(path, value)
    names = [field.name for field in fields(EncoderConfig)]
    problems = [f"unknown key `{key}`{nearest(key, names)}" for key in value if key not in (*names, "format")]
    problems += [f"no `{key}`" for key in ("kind", "pooling") if key not in value]
    for key, allowed in _ALLOWED.items():
        if key in value and value[key] not in allowed:
            problems.append(f"`{key}` is {value[key]!r}, not one of {', '.join(allowed)}")
    if problems:
        raise InputError(path, "; ".join(problems), "Mend these, or use a gradir that knows them")
    return EncoderConfig(**{key: value[key] for key in names if key in value})


def _from_sentence_transformers(folder: Path) -> EncoderConfig:
    """Pooling, normalisation and prompts as sentence-transformers would apply them.

    Raises:
        InputError: A module that changes the vectors and is not known here (Dense, LSTM, …).
    """
    modules = {str(module["type"]).rsplit(".", 1)[-1]: module["path"] for module in _read_json(folder / "modules.json")}
    settings = _read_json(folder / "config_sentence_transformers.json", missing={})
    prompts = settings.get("prompts") or {}
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), "")
    length = _read_json(folder / "sentence_bert_config.json", missing={}).get("max_seq_length") or 256
    known: Mapping[str, Any] = {
        "query_prefix": prompts.get("query") or "",
        "passage_prefix": passage,
        "max_query_length": length,
        "max_passage_length": length,
    }
    if set(modules) <= {"MLMTransformer", "SpladePooling"}:
        pooling = _read_json(folder / modules["SpladePooling"] / "config.json", missing={})
        if pooling.get("pooling_strategy", "max") != "max":
            raise InputError(folder, f"SPLADE pooling {pooling['pooling_strategy']!r}", "Only max pooling is known")
        return EncoderConfig(kind="splade", pooling="max", special_tokens="keep", **known)
    unknown = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise InputError(
            folder, f"has the modules {', '.join(sorted(unknown))}", "Only Transformer, Pooling, Normalize are known"
        )
    return EncoderConfig(
        kind="dense", pooling=_dense_pooling(folder / modules["Pooling"]), normalize="Normalize" in modules, **known
    )


def _dense_pooling(folder: Path) -> Literal["mean", "cls"]:
    settings = _read_json(folder / "config.json")
    mode = settings.get("pooling_mode")
    active = (
        [mode]
        if mode
        else [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    )
    if active in (["pooling_mode_mean_tokens"], ["mean"]):
        return "mean"
    if active in (["pooling_mode_cls_token"], ["cls"]):
        return "cls"
    raise InputError(folder, f"pools by {' and '.join(active) or 'nothing'}", "Only mean or cls is known")


def _read_json(path: Path, missing: Any = None) -> Any:
    if not path.exists() and missing is not None:
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "is missing", "Copy the whole model folder") from None
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", "Copy the model folder again", error.lineno) from None


def check_pooling(config: EncoderConfig) -> None:
    """Refuse a pooling that does not go with the kind of encoder.

    Raises:
        GradirError: For `max` with dense vectors, or `mean`/`cls` with SPLADE.
    """
    if (config.pooling == "max") != (config.kind == "splade"):
        raise GradirError(
            f"pooling '{config.pooling}' does not go with a {config.kind} encoder. Use mean or cls (dense), max (splade)."
        )
