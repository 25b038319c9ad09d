"""`manifest.json` beside every artefact, and the rule it serves: finished work is not done again, changed work is refused.

A folder's manifest stands inside it, a file's beside it (`run.trec.manifest.json`). While a stage that can be resumed is at
work, the manifest is called `manifest.partial.json`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from gradir import __version__
from gradir.data.atomic import new_text, remove_partial
from gradir.data.jsonl import FORMAT, check_format
from gradir.errors import GradirError, InputError

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "pyarrow",
    "pyserini",
    "faiss-cpu",
    "faiss-gpu",
    "onnxruntime",
)
_OWN = ("manifest.json", "manifest.partial.json")


def manifest_path(output: str | Path) -> Path:
    """Where the manifest of an artefact stands."""
    output = Path(output)
    return output.with_name(output.name + ".manifest.json") if output.is_file() else output / "manifest.json"


def read_manifest(output: str | Path) -> dict[str, Any]:
    """The manifest of an artefact.

    Raises:
        InputError: There is none, or it is damaged or of a newer gradir.
    """
    path = manifest_path(output)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(output, "has no manifest.json", "Was it made by gradir, and finished?") from None
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", "Make the artefact again", error.lineno) from None
    check_format(path, value)
    return dict(value)


def fingerprint(path: str | Path) -> dict[str, Any]:
    """`{path, bytes, sha256}` of a file, or of all files of a folder but its manifest."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest, size = hashlib.sha256(), 0
    for file in files:
        if path.is_dir():
            if file.name in _OWN:
                continue
            digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        size += file.stat().st_size
    return {"path": str(path), "bytes": size, "sha256": digest.hexdigest()}


def versions() -> dict[str, str]:
    """Versions of gradir, Python and those packages that are installed."""
    found = {"gradir": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Job:
    """One artefact being made.

    Args:
        output: The folder or file to be made.
        command: The command that makes it, without its values (`gradir encode`).
        config: What decides the result besides the inputs; JSON values.
        inputs: Files and folders read. What is no path (a hub name) is recorded by name.
        overwrite: Start afresh, removing what stands at `output`.
        resumable: The artefact is a folder that is filled step by step; what an interrupted job left is kept.

    Attributes:
        finished: The same work has been done before; there is nothing to do.
        resumed: An interrupted job of the same configuration is being continued.

    Raises:
        GradirError: `output` holds other work: states the differences.
    """

    def __init__(
        self,
        output: str | Path,
        command: str,
        config: Mapping[str, Any],
        inputs: Iterable[str | Path] = (),
        overwrite: bool = False,
        resumable: bool = False,
    ):
        self.output = Path(output)
        self.started = time.perf_counter()
        self.finished = self.resumed = False
        known = [fingerprint(path) if Path(path).exists() else {"path": str(path)} for path in inputs]
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "config": json.loads(json.dumps(config)),
            "versions": versions(),
            "inputs": known,
        }
        self._partial = self.output / "manifest.partial.json" if resumable else None
        if overwrite:
            _remove(self.output)
        else:
            self._compare()
        if self._partial and not self.finished:
            self.output.mkdir(parents=True, exist_ok=True)
            remove_partial(self.output)
            if not self.resumed:
                _write(self._partial, self.manifest)

    def _compare(self) -> None:
        """Finished, resumed or fresh? Refuses what is neither."""
        if not self.output.exists() or (self.output.is_dir() and not any(self.output.iterdir())):
            return
        path = manifest_path(self.output)
        self.resumed = bool(self._partial and self._partial.exists())
        path = self._partial if self._partial and self.resumed else path
        if not path.exists():
            raise GradirError(
                f"{self.output} exists and has no manifest. Choose another --output, or give --overwrite."
            )
        earlier = json.loads(path.read_text(encoding="utf-8"))
        check_format(path, earlier)
        changed = differences(earlier, self.manifest)
        if changed:
            listed = "\n  ".join(changed)
            raise GradirError(
                f"{self.output} was made with another configuration:\n  {listed}\nChoose another --output, or give --overwrite."
            )
        self.finished = not self.resumed

    def finish(self, counts: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> None:
        """Write the manifest; from now on the artefact is whole.

        Args:
            counts: Numbers in, out, and dropped by reason.
            measured: Rates and sizes; seconds and peak memory are added.
        """
        self.manifest["counts"] = dict(counts)
        self.manifest["measured"] = {
            "seconds": round(self.seconds(), 3),
            "peak_memory_mib": peak_memory_mib(),
            **(measured or {}),
        }
        _write(manifest_path(self.output), self.manifest)
        if self._partial:
            self._partial.unlink(missing_ok=True)

    def seconds(self) -> float:
        """Seconds since the job was opened."""
        return time.perf_counter() - self.started


def peak_memory_mib() -> int:
    """Largest resident size of this process so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests' configurations and inputs, a line each. The place of an input does not count."""
    before, after = earlier.get("config", {}), now.get("config", {})
    lines = [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(set(before) | set(after))
        if before.get(key) != after.get(key)
    ]
    for old, new in zip(earlier.get("inputs", []), now.get("inputs", []), strict=False):
        if old.get("sha256", old["path"]) != new.get("sha256", new["path"]):
            lines.append(f"input {old['path']} -> {new['path']}: other content")
    if len(earlier.get("inputs", [])) != len(now.get("inputs", [])):
        lines.append(f"inputs: {len(earlier.get('inputs', []))} -> {len(now.get('inputs', []))}")
    return lines


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with new_text(path) as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def _remove(output: Path) -> None:
    """Remove an artefact made by gradir (or an empty folder); anything else is not ours to remove."""
    if output.is_file():
        manifest_path(output).unlink(missing_ok=True)
        output.unlink()
    elif output.exists() and any(output.iterdir()):
        if not any((output / name).exists() for name in _OWN):
            raise GradirError(
                f"{output} holds files that gradir did not make; not overwritten. Choose another --output."
            )
        shutil.rmtree(output)
