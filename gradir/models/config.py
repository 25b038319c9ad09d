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


def _one_of(*allowed: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in allowed, f"one of {', '.join(allowed)}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


_TEXT = (lambda value: isinstance(value, str), "text")
_COUNT = (_is_count, "a whole number above 0")
_COUNT_OR_NULL = (lambda value: value is None or _is_count(value), "null or a whole number above 0")

# field: (whether a value will do, what will do in words)
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": _one_of("dense", "splade"),
    "pooling": _one_of("mean", "cls", "max"),
    "normalize": (lambda value: isinstance(value, bool), "true or false"),
    "query_prefix": _TEXT,
    "passage_prefix": _TEXT,
    "max_query_length": _COUNT,
    "max_passage_length": _COUNT,
    "impact_scale": (lambda value: value is None or _is_scale(value), "a number above 0"),
    "special_tokens": _one_of("drop", "keep"),
    "top_k_query": _COUNT_OR_NULL,
    "top_k_passage": _COUNT_OR_NULL,
    "query_side": _one_of("encoder"),
    "tokenizer_sha256": _TEXT,
    "weights_sha256": _TEXT,
}

# Families whose positions are counted from the padding id + 1, so that 514 rows hold 512 tokens.
_OFFSET_POSITIONS = (
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "roberta-prelayernorm",
    "camembert",
    "mpnet",
    "longformer",
)


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
    if (folder / "modules.json").exists():
        return _from_sentence_transformers(folder)
    settings = read_model_settings(folder)
    length = min(256, position_limit(settings) or 256)
    lengths: dict[str, Any] = {"max_query_length": length, "max_passage_length": length}
    architecture = str((settings.get("architectures") or [""])[0])
    if architecture.endswith("ForMaskedLM"):
        return EncoderConfig(kind="splade", pooling="max", **lengths)
    return EncoderConfig(kind="dense", pooling="mean", normalize=True, **lengths)


def read_model_settings(folder: Path) -> dict[str, Any]:
    """Hugging Face's `config.json`.

    Raises:
        InputError: There is none, or it is malformed.
    """
    if not (folder / "config.json").exists():
        raise InputError(folder, "holds no encoder (no config.json)", "Name a Hugging Face model folder")
    return _read_object(folder / "config.json")


def position_limit(settings: Mapping[str, Any]) -> int | None:
    """The most tokens that a model takes, by its `config.json`; None where it names no limit."""
    positions: Any = settings.get("max_position_embeddings")
    if not _is_count(positions):
        return None
    padding = settings.get("pad_token_id")
    taken = (1 if padding is None else padding) + 1 if settings.get("model_type") in _OFFSET_POSITIONS else 0
    return int(positions) - taken


def write_config(folder: str | Path, config: EncoderConfig) -> None:
    """Write `gradir.json` into an encoder folder."""
    with new_text(Path(folder) / "gradir.json") as stream:
        json.dump({"format": FORMAT, **asdict(config)}, stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def override(config: EncoderConfig, **changes: Any) -> EncoderConfig:
    """The configuration with those changes that are not None."""
    return replace(config, **{name: value for name, value in changes.items() if value is not None})


def check_config(config: EncoderConfig, limit: int | None = None) -> None:
    """Refuse a configuration that cannot be, listing all that is wrong with it.

    Args:
        config: The configuration, overrides included.
        limit: The most tokens that the model takes.

    Raises:
        GradirError: Values out of range, a pooling that does not go with the kind, texts longer than the model takes.
    """
    problems = _problems(asdict(config))
    for name in ("max_query_length", "max_passage_length"):
        length = getattr(config, name)
        if limit is not None and _is_count(length) and length > limit:
            problems.append(f"`{name}` is {length}, but the model takes at most {limit} tokens")
    if problems:
        raise GradirError(f"the encoder cannot be opened so: {'; '.join(problems)}. Change the flag, or gradir.json.")


def _problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of these fields."""
    problems = [
        f"`{name}` is {json.dumps(values[name], ensure_ascii=False)}, not {words}"
        for name, (will_do, words) in _RULES.items()
        if name in values and not will_do(values[name])
    ]
    kind, pooling = values.get("kind"), values.get("pooling")
    if kind == "splade" and values.get("impact_scale", PYSERINI_SCALE) is None:
        problems.append("`impact_scale` is null, which only a dense encoder may have")
    if not problems and kind and pooling and (pooling == "max") != (kind == "splade"):
        problems.append(
            f"pooling '{pooling}' does not go with a {kind} encoder: it is mean or cls (dense), max (splade)"
        )
    return problems


def _from_gradir(path: Path) -> EncoderConfig:
    values = _read_object(path)
    check_format(path, values)
    problems = [f"unknown key `{key}`{nearest(key, _RULES)}" for key in values if key not in (*_RULES, "format")]
    problems += [f"no `{key}`" for key in ("kind", "pooling") if key not in values]
    problems += _problems(values)
    if problems:
        raise InputError(path, "; ".join(problems), "Mend these, or use a gradir that knows them")
    return EncoderConfig(**{key: values[key] for key in _RULES if values.get(key) is not None})


def _from_sentence_transformers(folder: Path) -> EncoderConfig:
    """Pooling, normalisation and prompts as sentence-transformers would apply them.

    One difference is meant: where the `document` prompt is empty, the `passage` or `corpus` prompt counts.

    Raises:
        InputError: Something that changes the vectors and is not known here (Dense, LSTM, sum pooling, …).
    """
    modules = _module_paths(folder / "modules.json")
    names = set(modules)
    splade = "SpladePooling" in names
    needed, optional = {"SpladePooling"} if splade else {"Transformer", "Pooling"}, {"Transformer", "MLMTransformer"}
    known = needed | (optional if splade else {"Normalize"})
    if names - known:
        raise InputError(
            folder, f"has the modules {', '.join(sorted(names - known))}", f"Only {', '.join(sorted(known))} are known"
        )
    if needed - names or not names & optional:
        raise InputError(folder / "modules.json", f"names only {', '.join(sorted(names)) or 'no modules'}", _WHOLE)
    subfolder = next(modules[name] for name in modules if name in optional)
    if subfolder:
        raise InputError(
            folder, f"keeps its Transformer in {subfolder}", "Save it with sentence-transformers 5 or later"
        )
    texts = _text_settings(folder)
    if splade:
        _check_splade_pooling(folder / modules["SpladePooling"])
        return EncoderConfig(kind="splade", pooling="max", special_tokens="keep", **texts)
    pooling = _dense_pooling(
        folder / modules["Pooling"], prompted=bool(texts["query_prefix"] + texts["passage_prefix"])
    )
    return EncoderConfig(kind="dense", pooling=pooling, normalize="Normalize" in names, **texts)


_WHOLE = "Copy the whole model folder again"


def _module_paths(path: Path) -> dict[str, str]:
    """`{class name: subfolder}` of sentence-transformers' modules, in order."""
    modules = _read_json(path)
    if not isinstance(modules, list) or not all(
        isinstance(one, dict) and {"type", "path"} <= set(one) for one in modules
    ):
        raise InputError(path, "is not a list of modules with `type` and `path`", _WHOLE)
    return {str(module["type"]).rsplit(".", 1)[-1]: str(module["path"]) for module in modules}


def _text_settings(folder: Path) -> dict[str, Any]:
    """Prefixes and lengths of a sentence-transformers folder."""
    prompts = _read_object(folder / "config_sentence_transformers.json", missing={}).get("prompts") or {}
    settings = _read_object(folder / "sentence_bert_config.json", missing={})
    tokenizer = _read_object(folder / "tokenizer_config.json", missing={})
    if settings.get("do_lower_case") and not tokenizer.get("do_lower_case"):
        raise InputError(
            folder / "sentence_bert_config.json",
            "asks for lower case that the tokenizer does not make",
            "Save the folder again with sentence-transformers 6 or later",
        )
    limit = position_limit(read_model_settings(folder))
    # since sentence-transformers 6 the tokenizer holds the length; one without a limit names 10**30
    declared: Any = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    length = declared if _is_count(declared) and declared < 2**31 else limit or 256
    length = min(length, limit or length)
    return {
        "query_prefix": prompts.get("query") or "",
        "passage_prefix": next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), ""),
        "max_query_length": length,
        "max_passage_length": length,
    }


def _check_splade_pooling(folder: Path) -> None:
    settings = _read_object(folder / "config.json", missing={})
    for key, only in (("pooling_strategy", "max"), ("activation_function", "relu")):
        if settings.get(key, only) != only:
            raise InputError(folder, f"`{key}` is {settings[key]!r}", f"Only {only} is known")


def _dense_pooling(folder: Path, prompted: bool) -> Literal["mean", "cls"]:
    settings = _read_object(folder / "config.json")
    if prompted and settings.get("include_prompt") is False:
        raise InputError(
            folder, "leaves the prompt's tokens out of the pooling", "Only pooling over all tokens is known"
        )
    modes = settings.get("pooling_mode") or [
        key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True
    ]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if modes in (["pooling_mode_mean_tokens"], ["mean"]):
        return "mean"
    if modes in (["pooling_mode_cls_token"], ["cls"]):
        return "cls"
    raise InputError(folder, f"pools by {' and '.join(modes) or 'nothing'}", "Only mean or cls is known")


def _read_object(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object; `missing` where there is no such file and that will do."""
    if missing is not None and not path.exists():
        return missing
    value = _read_json(path)
    if not isinstance(value, dict):
        raise InputError(path, "not a JSON object", _WHOLE)
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "is missing", "Copy the whole model folder") from None
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", _WHOLE) from None
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", _WHOLE, error.lineno) from None
