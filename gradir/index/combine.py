"""Indexes made of indexes: several merged, or one with documents appended. Which of them belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradir.data.manifest import differences, fingerprint, read_manifest
from gradir.errors import GradirError, InputError

_LUCENE = ("impact", "bm25")
_OWN = ("shard_id", "shard_num", "forward", "optimize")  # of one index, not of what it becomes a part of


def shared_config(inputs: Sequence[Path]) -> dict[str, Any]:
    """The configuration of indexes that can be merged.

    Raises:
        InputError: One is no Lucene index that gradir has finished.
        GradirError: They were made in different ways.
    """
    configs = [_shared(_lucene_manifest(path)["config"]) for path in inputs]
    for path, config in zip(inputs[1:], configs[1:], strict=True):
        _check_same(inputs[0], configs[0], path, config)
    return configs[0]


def check_appendable(output: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of an index that documents can be appended to.

    Args:
        output: The index.
        config: How the new documents are indexed.

    Raises:
        InputError: There is no index that gradir has finished, or one with a forward index beside it.
        GradirError: It was made in another way.
    """
    if not output.exists():
        raise InputError(output, "there is no index to append to", "Leave --append out")
    manifest = _lucene_manifest(output)
    if manifest["config"].get("forward"):
        raise InputError(
            output, "keeps whole vectors beside the index, which cannot be appended to", "Index all at once"
        )
    _check_same(output, manifest["config"], "these documents", config)
    return manifest


def holds(manifest: Mapping[str, Any], vectors: Path) -> bool:
    """Whether an index was made of these vectors, among others."""
    return fingerprint(vectors)["sha256"] in [known.get("sha256") for known in manifest["inputs"]]


def before_pruning(*counts: Mapping[str, Any]) -> dict[str, int]:
    """Of the counts of indexes, what cannot be counted in the index that they become."""
    name = "postings_before_pruning"
    return {name: sum(one[name] for one in counts)} if all(name in one for one in counts) else {}


@contextmanager
def locks_removed(indexes: Sequence[Path]) -> Iterator[None]:
    """Lucene locks the indexes that it copies, and leaves the empty files: they would be files that gradir did not make."""
    new = [lock for index in indexes if not (lock := index / "write.lock").exists()]
    try:
        yield
    finally:
        for lock in new:
            lock.unlink(missing_ok=True)


def _lucene_manifest(index: Path) -> dict[str, Any]:
    manifest = read_manifest(index)
    if manifest["command"] != "gradir index" or manifest["config"].get("type") not in _LUCENE:
        raise InputError(index, "is no impact or bm25 index of gradir index", "Only these can be merged or appended to")
    return manifest


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _OWN}


def _check_same(place: Path, config: Mapping[str, Any], other: Path | str, theirs: Mapping[str, Any]) -> None:
    found = differences({"config": _flat(config)}, {"config": _flat(theirs)})
    if found:
        listed = "\n  ".join(found)
        raise GradirError(f"{place} and {other} were not made in the same way:\n  {listed}")


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same, the settings of the encoder one by one."""
    shared = _shared(config)
    encoder = shared.pop("encoder", {})
    return shared | {f"encoder's {name}": value for name, value in encoder.items()}
