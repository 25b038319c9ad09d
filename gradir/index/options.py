"""The flags of `gradir index`: which belong to which type, what is wrong with them, and which decide the result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gradir.data.spans import check_shard
from gradir.errors import GradirError

Type = Literal["impact", "flat", "hnsw", "faiss", "lucene-flat", "lucene-hnsw", "bm25", "opensearch-bulk", "merge"]
_LUCENE_DENSE: tuple[Type, ...] = ("lucene-flat", "lucene-hnsw")
DENSE: tuple[Type, ...] = ("flat", "hnsw", "faiss", *_LUCENE_DENSE)
SPARSE: tuple[Type, ...] = ("impact", "opensearch-bulk")
PRUNING = ("top_k", "min_impact", "term_quantile")

# Flags that some types alone take; all others are for every type.
_TYPES: dict[str, tuple[Type, ...]] = {
    "factory": ("faiss",),
    "m": ("hnsw", "lucene-hnsw"),
    "ef_construction": ("hnsw", "faiss", "lucene-hnsw"),
    "ef_search": ("hnsw", "faiss"),
    "nprobe": ("faiss",),
    "int8": _LUCENE_DENSE,
    "threads": ("impact", *DENSE),
    "memory_buffer": ("impact",),
    "optimize": ("impact", "merge"),
    "store_raw": SPARSE,
    "store_docvectors": ("impact",),
    "top_k": SPARSE,
    "min_impact": SPARSE,
    "term_quantile": SPARSE,
    "forward": ("impact",),
    "append": ("impact",),
    "shard_id": (*SPARSE, *DENSE),
    "shard_num": (*SPARSE, *DENSE),
    "to_json": ("impact",),
    "sample_queries": (*SPARSE, "hnsw", "faiss", *_LUCENE_DENSE),
}
_LUCENE_ONLY = ("memory_buffer", "optimize", "store_raw", "store_docvectors", "forward", "append")
_LEAST = {"m": 2} | dict.fromkeys(
    ("ef_construction", "ef_search", "nprobe", "threads", "memory_buffer", "top_k", "min_impact"), 1
)


def check(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse flags that do not fit the type or each other.

    Args:
        values: All arguments of the stage by name.
        defaults: What they are where they are not given.

    Raises:
        GradirError: Lists all problems.
    """
    given = {name for name in values if values[name] != defaults[name]}
    found = [*_misplaced(values["type"], given), *_out_of_range(values), *_at_odds(values, given)]
    if found:
        raise GradirError(
            "these flags cannot be taken:\n  " + "\n  ".join(found) if len(found) > 1 else f"{found[0].rstrip('.')}."
        )


def flag(name: str) -> str:
    """An argument as it is typed."""
    return "--" + name.replace("_", "-")


def one_of(types: Sequence[str]) -> str:
    """Words in a row: `flat, hnsw or faiss`."""
    return " or ".join(filter(None, [", ".join(types[:-1]), types[-1]]))


def _misplaced(type: Type, given: set[str]) -> list[str]:
    return [
        f"{flag(name)} is for --type {one_of(types)}, not {type}"
        for name, types in _TYPES.items()
        if name in given and type not in types
    ]


def _out_of_range(values: Mapping[str, Any]) -> list[str]:
    found = [
        f"{flag(name)} {values[name]}: give {least} or more"
        for name, least in _LEAST.items()
        if values[name] is not None and values[name] < least
    ]
    quantile = values["term_quantile"]
    if quantile is not None and not 0 < quantile < 1:
        found.append(f"--term-quantile {quantile}: give a number between 0 and 1")
    try:
        check_shard(values["shard_id"], values["shard_num"])
    except GradirError as error:
        found.append(str(error))
    return found


def _at_odds(values: Mapping[str, Any], given: set[str]) -> list[str]:
    type, count = values["type"], len(values["input"])
    found = []
    if type == "faiss" and values["factory"] is None:
        found.append("--type faiss needs --factory, such as HNSW32,SQ8 or IVF1024,PQ32")
    if type == "merge" and count < 2:
        found.append("--type merge needs several indexes as --input")
    if type != "merge" and count > 1:
        found.append(f"--type {type} takes one --input, not {count}")
    if values["to_json"]:
        found += [
            f"{flag(name)} is not for --to-json, which leaves the index to Anserini"
            for name in _LUCENE_ONLY
            if name in given
        ]
    if type == "opensearch-bulk":
        found += _index_name(values["output"])
    if values["append"] and values["overwrite"]:
        found.append("--append keeps what --overwrite would remove: give one of them")
    if values["append"] and values["term_quantile"] is not None:
        found.append("--term-quantile needs all documents at once, which --append does not have")
    found += [
        f"{flag(name)} is not for --append" for name in ("forward", "shard_num") if values["append"] and name in given
    ]
    if values["sample_queries"] is not None and type in SPARSE and not given.intersection(PRUNING):
        found.append("--sample-queries is for pruned vectors: without pruning all answers are exact")
    return found


def _index_name(output: Path) -> list[str]:
    """What OpenSearch and Elasticsearch have against an index called as the folder is."""
    if re.fullmatch(r"[^-_+.A-Z\\/*?\"<>| ,#:][^A-Z\\/*?\"<>| ,#:]*", output.name):
        return []
    rule = 'lower case, no \\ / * ? " < > | , # : or blank, a letter or digit first'
    return [f"--output {output}: the index in the cluster is called {output.name}, which it cannot be ({rule})"]


def config_of(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What of the flags decides the result, for the manifest; what is not given and was not always there is left out.

    Args:
        values: All arguments of the stage by name.
        defaults: What they are where they are not given.
    """
    type = values["type"]
    config: dict[str, Any] = {"type": "impact-json" if values["to_json"] else type}
    config |= {name: values[name] for name in ("m", "ef_construction", "ef_search") if type in _TYPES[name]}
    for name in ("factory", "nprobe", "int8", "optimize", "store_docvectors", "forward", *PRUNING, "shard_num"):
        if values[name] != defaults[name]:
            config[name] = values[name]
    if values["shard_num"] > 1:
        config["shard_id"] = values["shard_id"]
    if values["store_raw"] is not None:
        config["store_raw"] = True
    return config
