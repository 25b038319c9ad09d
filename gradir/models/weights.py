"""The safetensors files of an encoder folder: their hash, their size against the free memory, single tensors of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradir.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def weights_hash(*folders: Path) -> str:
    """SHA-256 over the safetensors files of these folders, in the order of their names; empty if there are none."""
    return hash_files(file for folder in folders for file in sorted(folder.glob("*.safetensors")))


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over the hashes of those files that exist; empty if none does."""
    found = [file for file in files if file.exists()]
    digest = hashlib.sha256()
    for file in found:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest() if found else ""


def read_tensors(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Single tensors of a folder's weights, float32; those that are not there are left out.

    Raises:
        InputError: A file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                there = set(tensors.keys())
                found |= {name: tensors.get_tensor(name).float() for name in names if name in there}
        except (SafetensorError, OSError) as error:
            raise InputError(file, f"cannot be read ({error})", "Copy it again") from None
    return found


def check_memory(path: Path) -> None:
    """Refuse weights that do not fit in the free memory, before any is read.

    Raises:
        InputError: They do not; the text says how many bytes are needed and free.
    """
    needed, free = bytes_needed(path), free_memory()
    if free is not None and needed > free:
        raise InputError(
            path,
            f"its weights take {needed:,} bytes in float32, and {free:,} bytes of memory are free",
            "End other programs, use a machine with more memory, or a smaller model",
        )


def bytes_needed(path: Path) -> int:
    """Bytes of a folder's weights as float32, from the headers of its safetensors files; a damaged file counts as nothing."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    numbers = 0
    for file in path.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as tensors:
                numbers += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (SafetensorError, OSError):
            continue  # loading will say what is wrong with it
    return 4 * numbers


def free_memory() -> int | None:
    """Bytes of memory that this process may still take; None where the system does not tell."""
    free = [found for found in (_free_of_machine(), _free_of_control_group()) if found is not None]
    return min(free, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):
        return None


def _free_of_control_group() -> int | None:
    """What a container's limit (control groups, version 2) leaves; files that the system keeps in memory count as free."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text())  # `max` where there is none
        used = int((folder / "memory.current").read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    cached = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
    return max(0, limit - used + cached)
