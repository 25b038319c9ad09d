"""Files appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gradir.errors import InputError

_MARK = ".partial-"
_TEMPORARY = re.compile(rf"\..+{re.escape(_MARK)}(\d+)")  # what `_temporary` makes, and nobody else


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


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            path.parent, f"cannot be made a folder ({error.strerror})", "Choose another --output"
        ) from None


@contextmanager
def new_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, for a writer that wants a name; renamed to `path` if the block ends well.

    Raises:
        InputError: `path` is a folder, or its parent cannot be one; before any work is done.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(path, "is a directory, a file is to be written there", "Name a file inside it")
    _make_parent(path)
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
    """An UTF-8 text file that appears at `path` if the block ends well. Lines end in `\\n` on every system.

    Raises:
        InputError: `path` asks for compression, which the readers undo but no writer does.
    """
    if Path(path).suffix in (".gz", ".zst"):
        problem = f"is written without compression, its name must not end in {Path(path).suffix}"
        raise InputError(path, problem, f"Write {Path(path).stem} and compress it afterwards")
    with new_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


@contextmanager
def new_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to `path` if the block ends well and removed otherwise.

    Args:
        path: Must not exist or be an empty folder, unless `replace`.
        replace: Remove what stands at `path`: it gives way in one rename, and only then goes.

    Raises:
        InputError: `path` exists; before any work is done.
    """
    path = Path(path)
    if not replace and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(path, "exists already", "Choose another --output, or give --overwrite")
    _make_parent(path)
    temporary, earlier = _temporary(path), _temporary(path.with_name(f"{path.name}.earlier"))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        make_readable(temporary)
        for file in [*temporary.rglob("*"), temporary]:
            if not file.is_symlink():
                _sync(file)
        if replace and path.is_dir() and any(path.iterdir()):
            os.replace(path, earlier)
        elif replace and path.is_file():
            path.unlink()
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def make_readable(folder: str | Path) -> None:
    """Give all files of a folder made just now the mode that the umask gives: some writers leave them to their owner alone."""
    usual = Path(folder).stat().st_mode & 0o666
    for file in Path(folder).rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(usual)


def final_name(path: str | Path) -> Path:
    """What a temporary name will be renamed to; other paths as they are."""
    path = Path(path)
    return path.with_name(path.name[1:].rpartition(_MARK)[0]) if is_partial(path) else path


def is_partial(path: Path) -> bool:
    """Whether this is the temporary name of something being written, or left by a killed process."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_partial(folder: str | Path, name: str = "") -> None:
    """Remove what killed processes left under temporary names directly inside `folder`.

    What a process that still runs is writing stays, unless it is this one: call it before writing.

    Args:
        folder: Where to look.
        name: Only what was to become this file or folder.
    """
    for left in Path(folder).glob(f".*{_MARK}*"):
        process = _TEMPORARY.fullmatch(left.name)
        if not process or (name and left.name != f".{name}{_MARK}{process[1]}"):
            continue
        if int(process[1]) == os.getpid() or not _runs(int(process[1])):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def written_elsewhere(path: str | Path) -> tuple[Path, int] | None:
    """(temporary name, process) of what another process that runs is making of `path` just now."""
    path = Path(path)
    for left in path.parent.glob(f".*{_MARK}*"):
        process = _TEMPORARY.fullmatch(left.name)
        if not process or left.name != f".{path.name}{_MARK}{process[1]}" or int(process[1]) == os.getpid():
            continue
        if _runs(int(process[1])):
            return left, int(process[1])
    return None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
