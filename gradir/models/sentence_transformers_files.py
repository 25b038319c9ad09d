"""Reading what sentence-transformers writes beside the weights: modules, pooling, prompts, routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradir.errors import InputError
from gradir.models.config import EncoderConfig, Pooling, read_gradir_json
from gradir.models.hugging_face import WHOLE, is_count, position_limit, read_json, read_model_settings, read_object
from gradir.models.layout import Layout

_TRANSFORMERS = {"Transformer", "MLMTransformer"}
_PROJECTIONS = {"Dense", "LayerNorm"}
_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "max": "max",
    "lasttoken": "last",
}
_SETTINGS = [f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")]


@dataclass(frozen=True)
class _Module:
    """One module: the last part of its class's name, and its folder."""

    name: str
    path: Path


def read_modules(folder: Path, config: EncoderConfig | None = None) -> Layout:
    """The parts of a sentence-transformers folder, and texts' way through them as `encode_query` and `encode_document` have it.

    One difference is meant: where the `document` prompt is empty, the `passage` or `corpus` prompt counts.

    Args:
        folder: It holds `modules.json`.
        config: What `gradir.json` says, which then counts instead.

    Raises:
        InputError: Something that changes the vectors and is not known here (LSTM, residual layers, …).
    """
    modules = _listed(folder)
    if not modules or modules[0].name not in ("Router", "Asym"):
        return _pipeline(folder, modules, config)
    query, document = _routes(modules[0].path, modules[1:])
    layout = _pipeline(folder, document, config)
    if query == document:
        return layout
    if [module.name for module in query] == ["SparseStaticEmbedding"]:
        side: Any = config.query_side if config else "weights"
        length = config.max_query_length if config else _query_length(query[0].path, layout.config)
        changed = replace(layout.config, query_side=side, max_query_length=length)
        return replace(layout, config=changed, table=query[0].path)
    noted = query[0].path / "gradir.json"  # of an encoder that gradir wrote there
    own = _pipeline(folder, query, read_gradir_json(noted) if noted.exists() and query[0].path != folder else None)
    if config is None:
        length = own.config.max_query_length
        layout = replace(layout, config=replace(layout.config, query_side="separate", max_query_length=length))
    return replace(layout, query=own)


def _listed(folder: Path) -> list[_Module]:
    """The modules of `modules.json`, in order."""
    path = folder / "modules.json"
    modules = read_json(path)
    if not isinstance(modules, list) or not all(
        isinstance(one, dict) and {"type", "path"} <= set(one) for one in modules
    ):
        raise InputError(path, "is not a list of modules with `type` and `path`", WHOLE)
    return [_module(path, folder, one["type"], one["path"]) for one in modules]


def _module(file: Path, folder: Path, kind: Any, place: Any) -> _Module:
    if Path(str(place)).is_absolute() or ".." in Path(str(place)).parts:
        raise InputError(file, f"names the path {place}, which lies outside of the folder", "Do not trust this model")
    return _Module(str(kind).rsplit(".", 1)[-1], folder / str(place))


def _routes(folder: Path, shared: Sequence[_Module]) -> tuple[list[_Module], list[_Module]]:
    """The modules that queries go through, and those of documents."""
    path = folder / "router_config.json"
    settings = read_object(path if path.exists() else folder / "config.json")
    types, structure = settings.get("types"), settings.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict):
        raise InputError(path, "has no `types` and `structure`", WHOLE)
    sides = []
    for side in ("query", "document"):
        names = structure.get(side)
        if not isinstance(names, list) or not set(names) <= set(types):
            raise InputError(path, f"has no route `{side}`", "Only routes `query` and `document` are known")
        sides.append([*(_module(path, folder, types[name], name) for name in names), *shared])
    return sides[0], sides[1]


def _pipeline(folder: Path, modules: Sequence[_Module], config: EncoderConfig | None) -> Layout:
    """The parts of one row of modules."""
    names = [module.name for module in modules]
    splade = "SpladePooling" in names
    _check_names(folder, names, splade)
    transformer = modules[0].path
    if config is None:
        texts = _text_settings(folder, transformer)
        config = _splade_config(modules, texts) if splade else _dense_config(folder, modules, texts)
    return Layout(config, transformer, tuple(module.path for module in modules if module.name in _PROJECTIONS))


def _check_names(folder: Path, names: Sequence[str], splade: bool) -> None:
    """Refuse modules that are not known, lacking, or in an order that gives other vectors."""
    pooling = "SpladePooling" if splade else "Pooling"
    known = _TRANSFORMERS | ({pooling, "SparseStaticEmbedding"} if splade else {pooling, "Normalize", *_PROJECTIONS})
    if set(names) - known:
        fix = f"Only {', '.join(sorted(known))} are known"
        raise InputError(folder, f"has the modules {', '.join(sorted(set(names) - known))}", fix)
    if pooling not in names or not _TRANSFORMERS & set(names):
        raise InputError(folder / "modules.json", f"names only {', '.join(sorted(names)) or 'no modules'}", WHOLE)
    ranks = [
        0 if name in _TRANSFORMERS else 1 if name == pooling else 3 if name == "Normalize" else 2 for name in names
    ]
    if ranks != sorted(ranks) or ranks.count(0) + ranks.count(1) > 2:
        order = "Only Transformer, Pooling, Dense, Normalize in this order are known"
        raise InputError(folder / "modules.json", f"has the modules in the order {', '.join(names)}", order)


def _dense_config(folder: Path, modules: Sequence[_Module], texts: dict[str, Any]) -> EncoderConfig:
    place = next(module.path for module in modules if module.name == "Pooling")
    settings = read_object(place / "config.json")
    found = settings.get("pooling_mode") or [
        key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True
    ]
    modes = [found] if isinstance(found, str) else list(found)
    if len(modes) != 1 or modes[0] not in _MODES:
        raise InputError(
            place, f"pools by {' and '.join(modes) or 'nothing'}", "Only mean, cls, max or lasttoken is known"
        )
    normalize = any(module.name == "Normalize" for module in modules)
    dimensions = read_object(folder / "config_sentence_transformers.json", missing={}).get("truncate_dim")
    if dimensions and normalize:
        problem = f"cuts vectors to {dimensions} numbers after they were scaled to unit length, so that they no longer have it"
        raise InputError(folder, problem, "Remove `truncate_dim` and give --dimensions, which cuts first")
    return EncoderConfig(
        kind="dense",
        pooling=_MODES[modes[0]],
        normalize=normalize,
        dimensions=dimensions,
        pool_prefix=settings.get("include_prompt") is not False,
        **texts,
    )


def _splade_config(modules: Sequence[_Module], texts: dict[str, Any]) -> EncoderConfig:
    place = next(module.path for module in modules if module.name == "SpladePooling")
    settings = read_object(place / "config.json", missing={})
    for key, known in (("pooling_strategy", ("max", "sum")), ("activation_function", ("relu", "log1p_relu"))):
        if settings.get(key, known[0]) not in known:
            raise InputError(place, f"`{key}` is {settings[key]!r}", f"Only {' and '.join(known)} are known")
    if any(module.name == "SparseStaticEmbedding" for module in modules):
        problem = "weighs the terms of a model by a table"
        raise InputError(place.parent, problem, "Such a table is known for queries alone")
    return EncoderConfig(
        kind="splade",
        pooling=settings.get("pooling_strategy", "max"),
        activation=settings.get("activation_function", "relu"),
        special_tokens="keep",
        **texts,
    )


def _text_settings(folder: Path, transformer: Path) -> dict[str, Any]:
    """Prefixes and lengths of a sentence-transformers folder."""
    settings = next((read_object(transformer / name) for name in _SETTINGS if (transformer / name).exists()), {})
    tokenizer = read_object(transformer / "tokenizer_config.json", missing={})
    if settings.get("do_lower_case") and not tokenizer.get("do_lower_case"):
        raise InputError(
            transformer / "sentence_bert_config.json",
            "asks for lower case that the tokenizer does not make",
            "Save the folder again with sentence-transformers 6 or later",
        )
    limit = position_limit(read_model_settings(transformer))
    # since sentence-transformers 6 the tokenizer holds the length; one without a limit names 10**30
    declared: Any = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    length = declared if is_count(declared) and declared < 2**31 else limit or 256
    length = min(length, limit or length)
    return _prefixes(folder) | {"max_query_length": length, "max_passage_length": length}


def _prefixes(folder: Path) -> dict[str, Any]:
    """The prompts of both sides; where the file names neither side's, the default prompt, as `encode` applies it."""
    settings = read_object(folder / "config_sentence_transformers.json", missing={})
    prompts = settings.get("prompts") or {}
    names = ("document", "passage", "corpus")
    if not {"query", *names} & set(prompts):
        default = prompts.get(settings.get("default_prompt_name")) or ""
        return {"query_prefix": default, "passage_prefix": default}
    passage = next((prompts[name] for name in names if prompts.get(name)), "")
    return {"query_prefix": prompts.get("query") or "", "passage_prefix": passage}


def _query_length(table: Path, documents: EncoderConfig) -> int:
    """Tokens of a query that no model reads: what its tokenizer says, otherwise as many as of a document."""
    declared: Any = read_object(table / "tokenizer_config.json", missing={}).get("model_max_length")
    return int(declared) if is_count(declared) and declared < 2**31 else documents.max_query_length
