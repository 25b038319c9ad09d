"""Files appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MARK = ".partial-"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{_MARK}{os.getpid()}")


def _sync(path: Path) -> None:
    """Make a file or a folder's entries durable; some file systems refuse to sync folders, which is their answer."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


@contextmanager
def new_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, for a writer that wants a name; renamed to `path` if the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_text(path: str | Path) -> Iterator[IO[str]]:
    """An UTF-8 text file that appears at `path` if the block ends well. Lines end in `\\n` on every system."""
    with new_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


@contextmanager
def new_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to `path` if the block ends well and removed otherwise.

    Args:
        path: Must not exist, unless `replace`.
        replace: Remove what stands at `path` just before renaming.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if replace and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_partial(folder: str | Path) -> None:
    """Remove what a killed process left under temporary names directly inside `folder`."""
    for left in Path(folder).glob(f".*{_MARK}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
