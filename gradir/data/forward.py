"""A forward index: the whole sparse vectors of an index's documents by document number, read at random from disk.

`forward.json` says how many; `forward.starts` holds int64 [N + 1], `forward.terms` uint16 or uint32 and `forward.impacts` uint16
or uint32, little-endian, row after row; `forward.vocab` has a term a line, by id. Two-step search rescores candidates with it, and
feedback reads documents from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT, check_format
from gradir.data.vectors import SparseVectors
from gradir.errors import InputError

_SHORT = 1 << 16


class ForwardWriter(AbstractContextManager["ForwardWriter"]):
    """Writes the forward index of a folder; `forward.json` comes last, so what is cut short is not opened.

    Args:
        folder: The index's folder.
        vocab: The terms by id.
    """

    def __init__(self, folder: Path, vocab: Sequence[str]):
        self.folder, self._documents, self._postings = folder, 0, 0
        self._term = np.dtype("<u2" if len(vocab) <= _SHORT else "<u4")
        with new_text(folder / "forward.vocab") as stream:
            stream.writelines(f"{term}\n" for term in vocab)
        self._impact: np.dtype[Any] = np.dtype("<u2")
        self._open = ExitStack()
        self._starts, self._terms, self._impacts = (
            self._open.enter_context((folder / f"forward.{name}").open("wb")) for name in ("starts", "terms", "impacts")
        )
        self._starts.write(np.zeros(1, "<i8").tobytes())

    def add(self, vectors: SparseVectors) -> None:
        """Add the next rows."""
        if self._impact.itemsize == 2 and vectors.impacts.max(initial=0) >= _SHORT:
            self._widen()
        self._starts.write((vectors.indptr[1:] + self._postings).astype("<i8").tobytes())
        self._terms.write(vectors.terms.astype(self._term).tobytes())
        self._impacts.write(vectors.impacts.astype(self._impact).tobytes())
        self._documents += len(vectors)
        self._postings += len(vectors.terms)

    def _widen(self) -> None:
        """Give the impacts so far four bytes each: a larger one has come, which is rare."""
        path = self.folder / "forward.impacts"
        self._impacts.close()
        narrow = np.memmap(path, self._impact, "r") if self._postings else np.zeros(0, self._impact)
        self._impact = np.dtype("<u4")
        wide = path.with_suffix(".wide")
        self._impacts = self._open.enter_context(wide.open("wb"))
        for first in range(0, len(narrow), 1 << 20):
            self._impacts.write(narrow[first : first + (1 << 20)].astype(self._impact).tobytes())
        wide.replace(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if error is None:
            described = {"format": FORMAT, "documents": self._documents, "postings": self._postings}
            with new_text(self.folder / "forward.json") as stream:
                json.dump(described | {"term": self._term.str, "impact": self._impact.str}, stream)


class Forward:
    """A forward index, opened for reading; nothing is loaded.

    Args:
        folder: The index's folder.

    Attributes:
        starts: int64 [N + 1], where each row begins.
        terms: [nnz] term ids, ascending in a row.
        impacts: [nnz].
        vocab: The terms by id.

    Raises:
        InputError: There is none, or it is damaged.
    """

    def __init__(self, folder: Path):
        path = folder / "forward.json"
        if not path.exists():
            problem = "holds no forward index (forward.json)"
            raise InputError(folder, problem, "Index again with --forward")
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            check_format(path, described)
            documents, postings = int(described["documents"]), int(described["postings"])
            self.starts = _mapped(folder / "forward.starts", "<i8", documents + 1)
            self.terms = _mapped(folder / "forward.terms", described["term"], postings)
            self.impacts = _mapped(folder / "forward.impacts", described["impact"], postings)
            self.vocab = (folder / "forward.vocab").read_text(encoding="utf-8").split("\n")[:-1]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(path, f"is damaged, or files beside it are ({error})", "Index again") from None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[np.int64]) -> SparseVectors:
        """The vectors of some documents, by number, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        starts = np.asarray(self.starts[rows])
        lengths = self.starts[rows + 1] - starts
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
        return SparseVectors(indptr, self.terms[places].astype(np.int32), self.impacts[places].astype(np.int32))


def _mapped(path: Path, kind: str, size: int) -> NDArray[Any]:
    """A file of `size` numbers as an array that is read where it is touched."""
    dtype = np.dtype(kind)
    found = path.stat().st_size
    if found != size * dtype.itemsize:
        raise ValueError(f"{path.name} has {found} bytes, not {size * dtype.itemsize}")
    return np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)
