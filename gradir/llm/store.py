"""What was asked and answered, on disk: a reply that stands here is never paid again, whenever the process is killed.

`replies.jsonl` has one line per group of replies that were made together:

    {"format":1,"crc32":"9c0d1b2e","keys":["…",…],"sizes":[…],"replies":[{…},…]}

`crc32` is of what follows its comma, `sizes` are the replies' bytes: to open a store is to read the file once and parse next to
nothing of it. A line is written in one go at the end of the file, so that a killed process leaves whole lines and at most one
that is torn, which has no line break and is cut off when the store is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import weakref
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradir.errors import GradirError, InputError
from gradir.llm.records import Reply, reply_from

_NAME = "replies.jsonl"
_HEAD = b'{"format":1,"crc32":"%08x",'
_BODY = len(_HEAD % 0)
_SYNC = 1.0  # seconds between two syncs: what a power cut may cost; a killed process loses nothing
_LENGTH_BITS = 30


class Store:
    """The replies of one job, by the keys of their requests. One process at a time.

    In memory there is, for each reply, its digest and where it stands.

    Args:
        folder: Where `replies.jsonl` is or shall be.

    Raises:
        InputError: A line is damaged.
        GradirError: The folder is in use by another process, or cannot be written.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / _NAME
        self._places: dict[bytes, int] = {}  # digest -> offset and length of the reply, in one number
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(self.path, f"cannot be written ({error.strerror})", "Choose another folder") from None
        try:
            self._lock()
            self._end = self._read()
        except BaseException:
            os.close(self._file)
            raise
        self._synced = time.monotonic()
        _let_go_in_children(self)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Reply | None:
        """The reply to a request, or None where there is none yet."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        text = os.pread(self._file, place & (1 << _LENGTH_BITS) - 1, place >> _LENGTH_BITS)
        return reply_from(json.loads(text))

    def put(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Store replies together: after a kill all of them are there, or none. Those with an error are left out.

        Raises:
            GradirError: No room on the disk, or another failure to write; what was stored before stays.
        """
        good = [(key, reply) for key, reply in replies if reply.error is None]
        if not good:
            return
        keys = [key for key, _ in good]
        texts = [json.dumps(reply.as_dict(), separators=(",", ":")).encode() for _, reply in good]
        sizes = [len(text) for text in texts]
        opening = json.dumps({"keys": keys, "sizes": sizes}, separators=(",", ":"))[1:-1].encode()
        body = opening + b',"replies":[' + b",".join(texts) + b"]}"
        self._write(_HEAD % zlib.crc32(body) + body + b"\n")
        self._note(keys, sizes, self._end + _BODY + len(opening) + len(b',"replies":['))
        self._end = os.fstat(self._file).st_size
        if time.monotonic() - self._synced > _SYNC:
            self._sync()

    def close(self) -> None:
        """Make all durable and let others in.

        Raises:
            GradirError: The disk did not take what was written last.
        """
        if self._file >= 0:
            try:
                self._sync()
            finally:
                self._let_go()

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritten(error) from None
        self._synced = time.monotonic()

    def _let_go(self) -> None:
        os.close(self._file)
        self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GradirError(
                f"{self.folder}: another process is asking and storing here. Wait for it, or name another folder."
            ) from None
        except OSError as error:
            raise GradirError(
                f"{self.folder}: cannot be locked ({error.strerror}). Choose a folder on another file system."
            ) from None

    def _read(self) -> int:
        """Note where the replies are; cut off a torn last line. Returns the file's size."""
        end = 0
        with open(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, end)
                    break
                if _HEAD % zlib.crc32(line[_BODY:-1]) != line[:_BODY]:
                    raise InputError(self.path, _what_is_wrong(line), _MEND, number)
                opening, found, _ = line[_BODY:].partition(b',"replies":[')
                told = json.loads(b"{" + opening + b"}")
                self._note(told["keys"], told["sizes"], end + _BODY + len(opening) + len(found))
                end += len(line)
        return end

    def _note(self, keys: Sequence[str], sizes: Sequence[int], offset: int) -> None:
        for key, size in zip(keys, sizes, strict=True):
            self._places[bytes.fromhex(key)] = offset << _LENGTH_BITS | size
            offset += size + 1

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> GradirError:
        return GradirError(
            f"{self.path}: cannot be written ({error.strerror}). The {len(self):,} replies stored so far stay: make room, and "
            "the same command goes on from there."
        )


def _let_go_in_children(store: Store) -> None:
    """A process that vLLM or torch forks off would hold the lock too, and may outlive a killed parent by seconds."""
    known = weakref.ref(store)

    def forked() -> None:
        if (copied := known()) is not None and copied._file >= 0:
            copied._let_go()

    os.register_at_fork(after_in_child=forked)


_MEND = "Remove the line: its requests will be asked again"


def _what_is_wrong(line: bytes) -> str:
    try:
        newer = json.loads(line)["format"] != 1
    except (ValueError, KeyError, TypeError):
        newer = False
    return "of another version of gradir" if newer else "damaged (its check sum differs)"
