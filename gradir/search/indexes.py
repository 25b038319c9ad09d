"""What an index is: its type, the encoder that it was made with, and the hashes of what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gradir.errors import GradirError, InputError

Engine = Literal["auto", "exact", "seismic"]
# What must agree between the encoder of an index and that of the queries, or of another shard.
_SHARED: tuple[str, ...] = ("kind", "impact_scale", "tokenizer_sha256", "weights_sha256", "normalize", "pooling")
_SHARED += ("special_tokens",)
# What Pyserini's encoders do, which leave no record in an index.
_PYSERINI_SPLADE: dict[str, Any] = {
    "kind": "splade",
    "encoder": "foreign",
    "impact_scale": 51.2,
    "max_query_length": 256,
}
_FOREIGN: dict[str, dict[str, Any]] = {"bm25": {}, "impact": {"encoder": _PYSERINI_SPLADE}}
_DENSE: dict[str, Any] = {"encoder": {"kind": "dense"}}


@dataclass(frozen=True)
class Index:
    """An index to be searched.

    Attributes:
        folder: Where it stands.
        config: Its `type`, its `encoder` (none for words), and what else its manifest says.
        sources: The hashes of what it was made from: its own files differ from one writing to the next.
        name: Pyserini's name of it, where it was asked for by name.
    """

    folder: Path
    config: Mapping[str, Any]
    sources: Sequence[Any]
    name: str | None = None

    @property
    def type(self) -> str:
        """`bm25`, `impact`, `flat`, `hnsw`, …; `exact` or `seismic` for vector shards."""
        return str(self.config["type"])

    @property
    def encoder(self) -> dict[str, Any] | None:
        """What is known of the encoder of its vectors; None for an index of words."""
        return self.config.get("encoder")

    def record(self) -> dict[str, Any]:
        """What a run's manifest says of it."""
        return {**self.config, "inputs": list(self.sources)}


def describe(index: Path, vectors: bool, engine: Engine = "auto") -> Index:
    """What an index is.

    Args:
        index: A folder, or a name that Pyserini knows.
        vectors: The queries are vectors: what tells a foreign impact index from one for BM25.
        engine: `exact` and `seismic` search vector shards in place of an index.

    Raises:
        InputError: It is no index.
    """
    from gradir.data.manifest import fingerprint, manifest_path, read_manifest
    from gradir.search.prebuilt import prebuilt

    if engine != "auto":
        return _shards(index, engine)
    if known := prebuilt(index):
        folder, type = known
        return Index(folder, {"type": type} | _FOREIGN.get(type, _DENSE), [fingerprint(folder)["sha256"]], str(index))
    if not index.is_dir():
        raise InputError(index, "no such folder", "Make an index: gradir index")
    if not manifest_path(index).exists():
        return Index(index, _foreign(index, vectors), [fingerprint(index)["sha256"]])
    manifest = read_manifest(index)
    sources = [known.get("sha256") for known in manifest["inputs"]]
    if manifest["config"].get("format") == "faiss":  # of gradir encode, whose configuration describes the encoder
        encoder = manifest["config"] if manifest["command"] == "gradir encode" else _DENSE["encoder"]
        return Index(index, {"type": "faiss", "encoder": encoder}, sources)
    if manifest["command"] != "gradir index":
        problem = f"was made by {manifest['command']}, it is no index"
        raise InputError(index, problem, "Make one of it: gradir index; or search it as it is: --engine exact")
    return Index(index, manifest["config"], sources)


def _shards(folder: Path, engine: Engine) -> Index:
    """Vector shards as an index."""
    from gradir.data.manifest import fingerprint
    from gradir.data.vectors import VectorShards

    if not folder.is_dir():
        raise InputError(folder, "no such folder", f"--engine {engine} searches vector shards: gradir encode")
    shards = VectorShards(folder)
    if engine == "seismic" and shards.kind != "splade":
        raise InputError(folder, "holds dense vectors", "--engine seismic searches sparse ones; use --engine exact")
    return Index(folder, {"type": engine, "encoder": shards.metadata}, [fingerprint(folder)["sha256"]])


def _foreign(folder: Path, vectors: bool) -> dict[str, Any]:
    """An index made by Pyserini itself says nothing of its encoder, which is taken to be the right one."""
    names = {file.name for file in folder.iterdir()}
    if {"index", "docid"} <= names:
        return {"type": "faiss"} | _DENSE
    if any(name.startswith("segments_") for name in names):
        if dense := _lucene_vectors(folder, names):
            return {"type": dense} | _DENSE
        type = "impact" if vectors else "bm25"
        return {"type": type} | _FOREIGN[type]
    problem = "holds neither a Lucene index (segments_…) nor a FAISS index (index and docid)"
    raise InputError(folder, problem, "Make an index: gradir index")


def _lucene_vectors(folder: Path, names: set[str]) -> str | None:
    """The type of a Lucene index of dense vectors; None for one of terms."""
    endings = {name.rpartition(".")[2] for name in names}
    if "cfs" in endings:  # small segments are one file, whose directory names the files in it
        endings |= {ending for file in folder.glob("*.cfe") for ending in ("vex", "vec") if _holds(file, ending)}
    if "vex" in endings:
        return "lucene-hnsw"
    return "lucene-flat" if "vec" in endings else None


def _holds(directory: Path, ending: str) -> bool:
    return f".{ending}".encode() in directory.read_bytes()


def differences(index: Index, encoder: Mapping[str, Any], name: str) -> list[str]:
    """What an encoder does otherwise than the one that an index was made with, a line each.

    Args:
        index: The index.
        encoder: The description of the other encoder.
        name: What to call it.
    """
    made_with = index.encoder or {}
    return [
        f"{key}: index {made_with[key]!r}, {name} {encoder.get(key)!r}"
        for key in _SHARED
        if key in made_with and made_with[key] != encoder.get(key)
    ]


def check_together(indexes: Sequence[Index], latency: bool = False) -> None:
    """Refuse indexes that cannot be shards of one collection.

    Raises:
        GradirError: They differ in type or encoder, one is given twice, or they are searched by words; `latency` is asked
            for, which the sum over shards would not be.
    """
    first, problems = indexes[0], list[str]()
    if len(indexes) == 1:
        return
    if latency:
        raise GradirError("--latency is measured on one --index: shards are searched one after another.")
    if len({index.folder.resolve() for index in indexes}) < len(indexes):
        problems.append("one of them is given twice")
    if any(index.type == "bm25" for index in indexes):
        problems.append("the scores of bm25 depend on the statistics of the whole collection: make one index of it")
    for other in indexes[1:]:
        pairs = [(key, first.config.get(key), other.config.get(key)) for key in sorted({*first.config, *other.config})]
        problems += [
            f"{first.folder} has {key} {ours!r}, {other.folder} {theirs!r}"
            for key, ours, theirs in pairs
            if ours != theirs and key not in ("encoder", "shard_id")
        ]
        problems += [f"{other.folder}: {line}" for line in differences(first, other.encoder or {}, "this shard")]
    problems += _numbered(indexes)
    if problems:
        listed = "\n  ".join(problems)
        raise GradirError(f"These indexes are not shards of one collection:\n  {listed}\nGive one --index at a time.")


def _numbered(indexes: Sequence[Index]) -> list[str]:
    """What is wrong with the numbers of shards that `gradir index --shard-num` made."""
    numbers = [int(index.config["shard_id"]) for index in indexes if "shard_id" in index.config]
    if len(numbers) < len(indexes):
        return []
    missing = set(range(int(indexes[0].config.get("shard_num", 0)))) - set(numbers)
    problems = [f"shard {number} is missing" for number in sorted(missing)]
    return problems + (["two of them are the same shard"] if len(set(numbers)) < len(numbers) else [])
