"""`manifest.json` beside every artefact, and the rule it serves: finished work is not done again, changed work is refused.

A folder's manifest stands inside it, a file's beside it (`run.trec.manifest.json`), and also that of a folder whose readers
would take the manifest for one of its files. While a stage that can be resumed is at work, the manifest is called
`manifest.partial.json`, and its parts may wait in the folder `.parts`: neither belongs to the artefact.
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
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from gradir import __version__
from gradir.data.atomic import is_partial, new_text, remove_partial
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
PARTS = ".parts"


def manifest_path(output: str | Path) -> Path:
    """Where the manifest of an artefact stands."""
    output = Path(output)
    inside, beside = output / "manifest.json", _beside(output)
    return beside if output.is_file() or (beside.exists() and not inside.exists()) else inside


def _beside(output: Path) -> Path:
    return output.with_name(output.name + ".manifest.json")


def read_manifest(output: str | Path) -> dict[str, Any]:
    """The manifest of an artefact.

    Raises:
        InputError: There is none, or it is damaged or of a newer gradir.
    """
    path = manifest_path(output)
    if not path.exists():
        raise InputError(output, "has no manifest.json", "Was it made by gradir, and finished?")
    return _load(path)


def _load(path: Path) -> dict[str, Any]:
    """A manifest, finished or not, of the form that `differences` needs."""
    try:
        value = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON ({error.msg})", "Make the artefact again", error.lineno) from None
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", "Make the artefact again") from None
    if not isinstance(value, dict):
        raise InputError(path, "not a JSON object", "Make the artefact again")
    check_format(path, value)
    inputs = value.get("inputs")
    sound = isinstance(value.get("config"), dict) and isinstance(value.get("command"), str)
    if not sound or not isinstance(inputs, list) or not all(isinstance(one, dict) and "path" in one for one in inputs):
        raise InputError(path, "is not a manifest of gradir (command, config, inputs)", "Choose another --output")
    return value


def fingerprint(path: str | Path) -> dict[str, Any]:
    """`{path, bytes, sha256}` of a file, or of all files of a folder but manifests and what is being written.

    A file's digest is what `sha256sum` says; a folder's is over the names and digests of its files.

    Raises:
        InputError: There is nothing at `path`.
    """
    path = Path(path)
    if path.is_file():
        return {"path": str(path), "bytes": path.stat().st_size, "sha256": _sha256(path).hex()}
    if not path.exists():
        raise InputError(path, "no such file", "Check the path")
    digest, size = hashlib.sha256(), 0
    for file in _files(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        digest.update(_sha256(file))
        size += file.stat().st_size
    return {"path": str(path), "bytes": size, "sha256": digest.hexdigest()}


def _known(path: str | Path) -> dict[str, Any]:
    """What a manifest says of an input."""
    return fingerprint(path) if Path(path).exists() else {"path": str(path)}


def _sha256(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _files(folder: Path) -> list[Path]:
    """The files of an artefact in a fixed order, without manifests, which hold times, and temporary files."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    found = [file for file in files if not _is_manifest(file) and not is_partial(file)]
    return [file for file in found if PARTS not in file.relative_to(folder).parts]


def _is_manifest(file: Path) -> bool:
    return file.name in _OWN or file.name.endswith(".manifest.json")


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
        overwrite: Start afresh, removing what gradir made at `output`; other files are never removed.
        replaced: With `overwrite`, leave what stands there until the new folder takes its place (`atomic.new_folder` with
            `replace`): a job that fails costs nothing.
        resumable: The artefact is a folder that is filled step by step; what an interrupted job left is kept.
        beside: The manifest of the folder shall stand beside it.

    Attributes:
        finished: The same work has been done before; there is nothing to do.
        resumed: An interrupted job of the same configuration is being continued.

    Raises:
        GradirError: `output` holds other work: states the differences. Or it holds files that gradir did not make.
    """

    def __init__(
        self,
        output: str | Path,
        command: str,
        config: Mapping[str, Any],
        inputs: Iterable[str | Path] = (),
        overwrite: bool = False,
        resumable: bool = False,
        beside: bool = False,
        replaced: bool = False,
    ):
        self.output, self._stands_beside = Path(output), beside
        self.started = time.perf_counter()
        self.finished = self.resumed = False
        with ThreadPoolExecutor() as threads:  # hashing is nearly all of it, and lets other threads run
            known = list(threads.map(_known, inputs))
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "config": json.loads(json.dumps(config)),
            "versions": versions(),
            "inputs": known,
        }
        self._partial = self.output / "manifest.partial.json" if resumable else None
        if overwrite:
            _remove(self.output, only_check=replaced)
        else:
            self._compare()
        if not self.finished:
            self._start()

    def _compare(self) -> None:
        """Finished, resumed or fresh? Refuses what is neither."""
        if not self.output.exists() or (self.output.is_dir() and _is_empty(self.output)):
            return
        path, whole = manifest_path(self.output), True
        if self._partial and self._partial.exists() and not path.exists():
            path, whole = self._partial, False
        if not path.exists():
            raise GradirError(f"{self.output} exists and has no manifest. {_refusal(self.output)}")
        changed = differences(_load(path), self.manifest)
        if changed:
            listed = "\n  ".join(changed)
            raise GradirError(
                f"{self.output} was made with another configuration:\n  {listed}\n"
                "Choose another --output, or give --overwrite."
            )
        self.finished, self.resumed = whole, not whole

    def _start(self) -> None:
        """Clear away what a killed process left; note the configuration of a job that can be resumed."""
        remove_partial(self.output.parent, self.output.name)
        removed = not self.output.exists() or (self.output.is_dir() and _is_empty(self.output))
        if removed and _beside(self.output).exists():
            # The manifest of what somebody removed: it must not vouch for what is to come.
            _beside(self.output).unlink()
        if self._partial:
            _make_folder(self.output)
            remove_partial(self.output)
            if not self.resumed:
                _write(self._partial, self.manifest)

    def finish(
        self, counts: Mapping[str, Any], measured: Mapping[str, Any] | None = None, folder: Path | None = None
    ) -> None:
        """Write the manifest; from now on the artefact is whole.

        Args:
            counts: Numbers in, out, and dropped by reason.
            measured: Rates and sizes; seconds and peak memory are added.
            folder: Where the output stands until it is renamed (`atomic.new_folder`): with the manifest inside before it gets
                its name, a kill leaves no artefact that a second run would not know.
        """
        made = folder or self.output
        if not made.exists():
            raise RuntimeError(f"finish() before {made} is there")
        if made.is_dir():  # what --overwrite may remove
            self.manifest["files"] = [file.relative_to(made).as_posix() for file in _files(made)]
        self.manifest["counts"] = dict(counts)
        self.manifest["measured"] = {
            "seconds": round(self.seconds(), 3),
            "peak_memory_mib": peak_memory_mib(),
            **(measured or {}),
        }
        _write(_beside(made) if self._stands_beside else manifest_path(made), self.manifest)
        if self._partial:
            self._partial.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Leave nothing of a job that could not begin, so that another configuration may; what an interrupted one left stays."""
        if self._partial and not self.resumed:
            self._partial.unlink(missing_ok=True)
            if not any(self.output.iterdir()):
                self.output.rmdir()

    def seconds(self) -> float:
        """Seconds since the job was opened."""
        return time.perf_counter() - self.started


def peak_memory_mib() -> int:
    """Largest resident size of this process so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests' commands, configurations and inputs, a line each.

    The place of an input does not count.
    """
    before, after = earlier.get("config", {}), now.get("config", {})
    lines = (
        [] if earlier.get("command") == now.get("command") else [f"{earlier.get('command')} -> {now.get('command')}"]
    )
    lines += [
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


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a killed process left."""
    return all(is_partial(path) for path in folder.iterdir())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be made a folder ({error.strerror})", "Choose another --output") from None


def _remove(output: Path, only_check: bool = False) -> None:
    """Remove an artefact made by gradir; anything else is not ours to remove, and then nothing is."""
    if not output.exists() or (output.is_dir() and _is_empty(output)):
        return
    if output.is_file():
        if not _is_ours(_beside(output)):
            raise GradirError(f"{output} was not made by gradir; not overwritten. {_BY_HAND}")
        if not only_check:
            _beside(output).unlink()
            output.unlink()
        return
    whole, partial = manifest_path(output), output / _OWN[1]
    foreign = []
    if _is_ours(whole):
        found = {file.relative_to(output).as_posix() for file in _files(output)}
        foreign = sorted(found.difference(_load(whole).get("files", [])))
    elif not _is_ours(partial):
        foreign = [path.name for path in sorted(output.iterdir())]
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise GradirError(f"{output} holds files that gradir did not make ({shown}); not overwritten. {_BY_HAND}")
    if only_check:
        return
    if whole == _beside(output):
        whole.unlink()
    shutil.rmtree(output)


_BY_HAND = "Choose another --output, or remove it yourself."


def _refusal(output: Path) -> str:
    """What to do about an output without a manifest."""
    if output.is_dir() and _is_ours(output / "manifest.partial.json"):
        return "It was not finished: give --overwrite to start afresh."
    return _BY_HAND


def _is_ours(manifest: Path) -> bool:
    """Whether a manifest was written by gradir: `manifest.json` is a name that others use too."""
    try:
        _load(manifest)
    except (InputError, FileNotFoundError):
        return False
    return True
