"""What an id may be, and finding duplicates among millions in eight bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradir.errors import InputError


def check_id(path: str | Path, line: int | None, found: str, what: str) -> str:
    """`found` if it can stand in a run file.

    Raises:
        InputError: It is empty, or holds white space or NUL, which would break the columns of a run file.
    """
    if not found:
        raise InputError(path, f"empty {what}", "Give every line an id", line)
    if found.split() != [found] or "\0" in found:
        kind = "NUL" if "\0" in found else "white space"
        raise InputError(path, f"{kind} in {what} {found!r}", "It would break a run file: replace it, by _ say", line)
    return found


class Duplicates:
    """Tells ids seen before. Keeps a 64-bit hash of each id: 8 bytes in sorted blocks, and the newest ids as they are.

    A duplicate inside the newest block is reported at once, an older one when the block is full, at most `BLOCK` ids
    later or in `finish`. Two different ids with the same hash (one chance in 100,000 at ten million ids) would be
    reported too; the text says "the same id, or the same hash". Hashes differ from process to process.
    """

    BLOCK = 1 << 13  # a newest id takes some 200 bytes

    def __init__(self, what: str):
        self.what = what
        self._newest: dict[int, tuple[str | Path, int | None, str]] = {}
        self._blocks: list[NDArray[np.int64]] = []

    def add(self, path: str | Path, line: int | None, found: str) -> None:
        """Note an id; raises InputError where it is known to have come before."""
        key = hash(found)
        if key in self._newest:
            earlier_path, earlier_line, earlier = self._newest[key]
            if earlier == found:
                place = str(earlier_path) if earlier_line is None else f"{earlier_path}:{earlier_line}"
                raise self._error(path, line, found, place)
        self._newest[key] = (path, line, found)
        if len(self._newest) >= self.BLOCK:
            self.finish()

    def add_all(self, path: str | Path, found: Sequence[str]) -> None:
        """`add` for the ids of a file that are its lines 1, 2, …, without a step in Python for each where none came before."""
        keys = np.sort(np.fromiter(map(hash, found), dtype=np.int64, count=len(found)))
        self.finish()
        if (keys[1:] == keys[:-1]).any() or any(_holds(block, keys).any() for block in self._blocks):
            for line, one in enumerate(found, 1):  # finds out which, and where it came before
                self.add(path, line, one)
            self.finish()
        elif len(keys):
            self._keep(keys)

    def finish(self) -> None:
        """Compare the newest ids with all older ones; call it when the file ends."""
        keys = np.fromiter(self._newest, dtype=np.int64, count=len(self._newest))
        seen = np.zeros(len(keys), dtype=bool)
        for block in self._blocks:
            seen |= _holds(block, keys)
        for key in keys[seen][:1]:  # in the order of the lines
            raise self._error(*self._newest[int(key)], "an earlier line (the same id, or the same hash)")
        if len(keys):
            self._keep(np.sort(keys))
        self._newest = {}

    def _keep(self, keys: NDArray[np.int64]) -> None:
        """Add a sorted block; blocks of like size are merged, so that few remain to be searched."""
        while self._blocks and len(self._blocks[-1]) <= len(keys):
            keys = np.concatenate([self._blocks.pop(), keys])
            keys.sort(kind="stable")  # merges two sorted runs in one pass
        self._blocks.append(keys)

    def _error(self, path: str | Path, line: int | None, found: str, earlier: str) -> InputError:
        return InputError(path, f"{self.what} {found!r} was used before, at {earlier}", "Ids must be unique", line)


def _holds(block: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are in a sorted block."""
    return block[np.searchsorted(block, keys).clip(max=len(block) - 1)] == keys
