"""Lines of files by their place in bytes, through a memory map: what a million lists are read from without being held."""

from __future__ import annotations

import json
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradir.data.text import Lines
from gradir.errors import InputError

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 22


class LineFile:
    """A text file whose lines are read by their offsets.

    Plain files are mapped as they are. Compressed ones, and lines that come from elsewhere, are written once to a temporary
    file (`TMPDIR` says where), which goes with `close`, with this object or with the process. Copies that come out of a pickle,
    and forked processes, map the same file and never remove it.

    Args:
        name: The file; also what errors call it.
        lines: What it holds, where it is no file itself.

    Raises:
        InputError: The file is missing, a directory, not readable, or damaged.
    """

    def __init__(self, name: str | Path, lines: Iterable[str] | None = None):
        self.name, self.path = str(name), Path(name)
        self._map: mmap.mmap | None = None
        self._remove = None
        if lines is None:
            next(iter(Lines(self.path)), None)  # raises where there is nothing to open
            lines = Lines(self.path) if self.path.suffix in (".gz", ".zst") else None
        if lines is not None:
            handle, written = tempfile.mkstemp(prefix="gradir-texts-")
            self.path = Path(written)
            self._remove = weakref.finalize(self, _unlink, self.path, os.getpid())
            with open(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(f"{line}\n" for line in lines)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "path": self.path, "_map": None, "_remove": None}

    def __iter__(self) -> Iterator[bytes]:
        """The lines as they stand, with their ends: their lengths add up to offsets."""
        with self.path.open("rb") as stream:
            yield from stream

    def text(self, offset: int) -> str:
        """The line that begins at an offset, without its end.

        Raises:
            InputError: It is not UTF-8.
        """
        mapped = self._mapped()
        end = mapped.find(b"\n", offset)
        return self.decoded(mapped[offset : end if end >= 0 else len(mapped)], offset)

    def decoded(self, raw: bytes, offset: int) -> str:
        """The text of a line that is at hand already."""
        if offset == 0:
            raw = raw.removeprefix(_BOM)
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 at byte {error.start + 1} of the line"
            raise self.fail(offset, problem, "Convert the file first: iconv -f ENCODING -t UTF-8") from None

    def json(self, offset: int, text: str) -> dict[str, Any]:
        """The JSON object that the text of a line is.

        Raises:
            InputError: It is none.
        """
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            cause = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise self.fail(offset, f"not a JSON object ({cause})", "Mend or remove the line") from None
        if not isinstance(value, dict):
            raise self.fail(offset, "not a JSON object", "Mend or remove the line")
        return value

    def number(self, offset: int) -> int:
        """Which line begins at an offset, from 1. Counts its way there: for errors."""
        count, left = 1, offset
        with self.path.open("rb") as stream:
            while left > 0 and (block := stream.read(min(_BLOCK, left))):
                count, left = count + block.count(b"\n"), left - len(block)
        return count

    def place(self, offset: int) -> str:
        """`file:line` of an offset."""
        return f"{self.name}:{self.number(offset)}"

    def fail(self, offset: int, problem: str, fix: str = "") -> InputError:
        """The error for the line at an offset, to be raised by the caller."""
        return InputError(self.name, problem, fix, self.number(offset))

    def close(self) -> None:
        """Unmap the file; a temporary one is removed."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._remove is not None:
            self._remove()

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map


def _unlink(path: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child, which holds a copy of the object
        path.unlink(missing_ok=True)
