"""The ids of a collection by row number, as one run of bytes: millions of Python strings would take five times as much memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.errors import InputError


class Docids:
    """The ids of N documents.

    Args:
        lines: The ids, one a line, in UTF-8.

    Raises:
        ValueError: They are not in UTF-8.
    """

    def __init__(self, lines: bytes):
        import pyarrow as pa

        if lines and not lines.endswith(b"\n"):
            lines += b"\n"
        breaks = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        starts = np.concatenate([[0], breaks + 1]).astype(np.int64)
        # each element keeps its line end, so that those taken come out as lines again
        self._lines = pa.LargeStringArray.from_buffers(len(breaks), pa.py_buffer(starts), pa.py_buffer(lines))
        self._lines.validate(full=True)

    @classmethod
    def read(cls, path: Path) -> Docids:
        """From a file with an id a line; white space at the end of a line is no part of an id, as in Pyserini.

        Raises:
            InputError: It is no UTF-8 text.
        """
        lines = path.read_bytes()
        if any(blank in lines for blank in (b" \n", b"\t\n", b"\r\n")):
            lines = b"\n".join(line.rstrip() for line in lines.splitlines())
        try:
            return cls(lines)
        except ValueError:
            raise InputError(path, "is no UTF-8 text", "Index again") from None

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, rows: NDArray[np.integer[Any]]) -> list[str]:
        """The ids of the rows [k] named."""
        import pyarrow as pa

        taken = self._lines.take(pa.array(rows))
        text: str = taken.buffers()[2].to_pybytes().decode() if len(taken) else ""
        return text.split("\n")[:-1]

    def rows_of(self, docids: Sequence[str]) -> NDArray[np.int64]:
        """The rows [k] of some ids, in one pass over all of them; of one that is not here, -1."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names, places = np.unique(np.asarray(docids, dtype=object), return_inverse=True)
        found = pc.index_in(self._lines, value_set=pa.array([f"{name}\n" for name in names], pa.large_string()))
        here = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
        rows = np.full(len(names), -1, dtype=np.int64)
        rows[found.drop_null().to_numpy()] = here
        return rows[places]
