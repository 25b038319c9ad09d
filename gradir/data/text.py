"""Text files, line by line: gzip and zstd by their ending, UTF-8 only, byte order marks and CRLF tolerated."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from gradir.errors import InputError, MissingDependency

_BOM = b"\xef\xbb\xbf"


class Lines:
    """Iterates over the lines of a file without their line ends; `number` is the line last given, from 1.

    Args:
        path: A text file; `.gz` and `.zst` are decompressed.

    Raises:
        InputError: The file is missing, a directory, not UTF-8 or damaged; says the line where that is known.
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
                try:
                    yield raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    problem = f"not UTF-8 at byte {error.start} of the line"
                    fix = "Convert the file first: iconv -f ENCODING -t UTF-8"
                    raise InputError(self.path, problem, fix, self.number) from None

    def _next_line(self, stream: BinaryIO) -> bytes:
        try:
            return stream.readline()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(self.path, f"damaged gzip file ({error})", "Fetch it again", self.number + 1) from None

    def fail(self, problem: str, fix: str = "") -> InputError:
        """The error for the line last given, to be raised by the caller."""
        return InputError(self.path, problem, fix, self.number)


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise InputError(path, "is a directory, a file is expected", "Name the file inside it")
    if not path.exists():
        raise InputError(path, "no such file", "Check the path")
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return _open_zstd(path)
    return path.open("rb")


def _open_zstd(path: Path) -> BinaryIO:
    import io

    try:
        import zstandard
    except ImportError:
        raise MissingDependency("zstandard", f"Reading {path}", "pip install zstandard") from None

    class Checked(io.RawIOBase):
        """Turns damage into our error, and a stream that ends early into one as well."""

        def __init__(self) -> None:
            self.file = path.open("rb")
            self.stream = zstandard.ZstdDecompressor().stream_reader(self.file, read_across_frames=True)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            try:
                data = self.stream.read(len(buffer))
            except zstandard.ZstdError as error:
                raise InputError(path, f"damaged zstd file ({error})", "Fetch it again") from None
            buffer[: len(data)] = data
            return len(data)

        def close(self) -> None:
            self.file.close()
            super().close()

    return cast(BinaryIO, io.BufferedReader(Checked(), 1 << 20))


def suffix(path: str | Path) -> str:
    """The ending that tells the format: `.jsonl` for `corpus.jsonl.gz`."""
    path = Path(path)
    return Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix
