"""What an id may be, and finding duplicates among millions in eight bytes each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradir.errors import InputError


def check_id(path: str | Path, line: int, found: str, what: str) -> str:
    """`found` if it can stand in a run file.

    Raises:
        InputError: It is empty or holds white space, which would break the columns of a run file.
    """
    if not found:
        raise InputError(path, f"empty {what}", "Give every line an id", line)
    if found.split() != [found]:
        raise InputError(
            path, f"white space in {what} {found!r}", "It would break a run file: replace it, by _ say", line
        )
    return found


class Duplicates:
    """Tells ids seen before. Keeps a 64-bit hash of each id: 8 bytes in sorted blocks, and a set of the newest.

    A duplicate inside the newest block is reported at once, an older one when the block is full, at most `BLOCK` ids
    later or in `finish`. Two different ids with the same hash (one chance in 100,000 at ten million ids) would be
    reported too; the text says "the same id, or the same hash".
    """

    BLOCK = 1 << 16

    def __init__(self, what: str):
        self.what = what
        self._newest: dict[int, tuple[str | Path, int, str]] = {}
        self._blocks: list[NDArray[np.int64]] = []

    def add(self, path: str | Path, line: int, found: str) -> None:
        """Note an id; raises InputError where it is known to have come before."""
        key = hash(found)
        if key in self._newest:
            earlier_path, earlier_line, _ = self._newest[key]
            raise self._error(path, line, found, f"{earlier_path}:{earlier_line}")
        self._newest[key] = (path, line, found)
        if len(self._newest) >= self.BLOCK:
            self.finish()

    def finish(self) -> None:
        """Compare the newest ids with all older ones; call it when the file ends."""
        keys = np.fromiter(self._newest, dtype=np.int64, count=len(self._newest))
        keys.sort()
        for block in self._blocks:
            place = np.searchsorted(block, keys).clip(max=len(block) - 1)
            for key in keys[block[place] == keys][:1]:
                raise self._error(*self._newest[int(key)], "an earlier line (the same id, or the same hash)")
        if len(keys):
            self._keep(keys)
        self._newest = {}

    def _keep(self, keys: NDArray[np.int64]) -> None:
        """Add a sorted block; blocks of like size are merged, so that few remain to be searched."""
        while self._blocks and len(self._blocks[-1]) <= len(keys):
            keys = np.concatenate([self._blocks.pop(), keys])
            keys.sort()
        self._blocks.append(keys)

    def _error(self, path: str | Path, line: int, found: str, earlier: str) -> InputError:
        return InputError(path, f"{self.what} {found!r} was used before, at {earlier}", "Ids must be unique", line)
