"""Text files, line by line: gzip and zstd by their ending, UTF-8 only, byte order marks and CRLF tolerated."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from gradir.errors import InputError, MissingDependency

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 16


class _Damaged(Exception):
    """A compressed stream that cannot be read, or ends early."""


class Lines:
    """Iterates over the lines of a file without their line ends; `number` is the line last given, from 1.

    Only `\\n` ends a line: U+2028 and U+0085 may stand in JSON strings, which `str.splitlines` would cut in two.

    Args:
        path: A text file; `.gz` and `.zst` are decompressed.

    Raises:
        InputError: The file is missing, a directory, not readable, not UTF-8 or damaged; says the line where that is known.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        self.number = 0
        with _open(self.path) as stream:
            while raw := self._next_line(stream):
                self.number += 1
                if self.number == 1 and raw.startswith(_BOM):
                    raw = raw[len(_BOM) :]
                yield self._decoded(raw)

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 at byte {error.start + 1} of the line"
            raise self.fail(problem, "Convert the file first: iconv -f ENCODING -t UTF-8") from None

    def _next_line(self, stream: BinaryIO) -> bytes:
        try:
            return stream.readline()
        except (EOFError, zlib.error, gzip.BadGzipFile, _Damaged) as error:
            kind = "zstd" if isinstance(error, _Damaged) else "gzip"
            raise InputError(self.path, f"damaged {kind} file ({error})", "Fetch it again", self.number + 1) from None

    def fail(self, problem: str, fix: str = "") -> InputError:
        """The error for the line last given, to be raised by the caller."""
        return InputError(self.path, problem, fix, self.number)


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except IsADirectoryError:
        raise InputError(path, "is a directory, a file is expected", "Name the file inside it") from None
    except FileNotFoundError:
        raise InputError(path, "no such file", "Check the path") from None
    except OSError as error:
        raise InputError(path, f"cannot be opened ({error.strerror})", "Check the path and its permissions") from None
    if path.suffix == ".gz":
        # GzipFile closes only files that it opened itself
        file.close()
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return cast(BinaryIO, io.BufferedReader(_Zstd(path, file), 1 << 20))
    return file


class _Zstd(io.RawIOBase):
    """The decompressed bytes of all frames; unlike zstandard's own reader it notices a frame that ends early."""

    def __init__(self, path: Path, file: BinaryIO):
        try:
            import zstandard
        except ImportError:
            file.close()
            raise MissingDependency("zstandard", f"Reading {path}", "pip install zstandard") from None
        self._file, self._error = file, zstandard.ZstdError
        # 2**31: what `zstd --long=31` needs; memory is taken only where a frame asks for it
        self._new_frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
        self._frame: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._file.read(_CHUNK)
            if not data:
                if self._frame is not None:
                    raise _Damaged("it ends early")
                return 0
            self._ready = memoryview(self._decompressed(data))
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decompressed(self, data: bytes) -> bytes:
        found = []
        while data:
            self._frame = self._frame or self._new_frame()
            try:
                found.append(self._frame.decompress(data))
            except self._error as error:
                raise _Damaged(str(error)) from None
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(found)

    def close(self) -> None:
        self._file.close()
        super().close()


def suffix(path: str | Path) -> str:
    """The ending that tells the format: `.jsonl` for `corpus.jsonl.gz`."""
    path = Path(path)
    return Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix
