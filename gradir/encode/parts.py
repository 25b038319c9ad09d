"""Parts: the files that the windows of a run become, each whole or not there, so that a run can go on after any kill."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from gradir.data.atomic import new_path
from gradir.data.vectors import SparseVectors, part_path, read_part, write_part
from gradir.errors import GradirError, InputError

_NOTHING = np.zeros((0, 0), np.float32)


@dataclass
class Counts:
    """What has been written; `postings` and `empty` count where vectors are sparse."""

    texts: int = 0
    postings: int = 0
    empty: int = 0
    sparse: bool = False

    def add(self, more: Counts) -> None:
        """Add the counts of another part."""
        self.texts += more.texts
        self.postings += more.postings
        self.empty += more.empty
        self.sparse |= more.sparse

    def as_dict(self) -> dict[str, int]:
        """For the manifest."""
        sparse = {"postings": self.postings, "empty": self.empty} if self.sparse else {}
        return {"texts": self.texts, **sparse}


def counts_of(vectors: Any) -> Counts:
    """The counts of one part: sparse vectors, rows of numbers, or Pyserini's dictionaries."""
    if isinstance(vectors, SparseVectors):
        lengths = np.diff(vectors.indptr)
        return Counts(len(vectors), len(vectors.terms), int((lengths == 0).sum()), True)
    if len(vectors) and isinstance(vectors[0], dict):
        return Counts(len(vectors), sum(map(len, vectors)), sum(not one for one in vectors), True)
    return Counts(len(vectors))


@dataclass(frozen=True)
class VectorParts:
    """Vector shards (`gradir.data.vectors`).

    Attributes:
        folder: Where they go.
        metadata: Kept in each part.
        dtype: Number format of dense vectors on disk.
    """

    folder: Path
    metadata: Mapping[str, Any]
    dtype: Literal["float32", "float16"] = "float32"

    def path(self, number: int) -> Path:
        """The path of one part."""
        return part_path(self.folder, number)

    def write(self, number: int, ids: Sequence[str], contents: Sequence[str], vectors: Any) -> None:
        """Write one part.

        Raises:
            GradirError: A number is too large for float16, or the vectors are dictionaries.
        """
        if isinstance(vectors, list):
            raise GradirError(
                "sparse vectors of Pyserini's own encoders fit into its JSON lines alone. Leave out --to-faiss."
            )
        if self.dtype == "float16" and not isinstance(vectors, SparseVectors):
            vectors = _halved(ids, vectors)
        write_part(self.folder, number, ids, vectors, self.metadata)

    def read(self, number: int) -> tuple[list[str], Counts]:
        """(ids, counts) of a part that is there."""
        ids, vectors = read_part(self.path(number))
        return ids, counts_of(vectors)


def _halved(ids: Sequence[str], vectors: Any) -> Any:
    with np.errstate(over="ignore"):
        halved = vectors.astype(np.float16)
    lost = (np.isinf(halved) & np.isfinite(vectors)).any(axis=1)
    if lost.any():
        raise GradirError(
            f"document {ids[int(np.argmax(lost))]}: a number of its vector is too large for float16. "
            "Give --vector-dtype float32."
        )
    return halved


@dataclass(frozen=True)
class LineParts:
    """JSON lines as `pyserini.encode` writes them, `{"id", "contents", "vector"}`, compressed until they are put together.

    Attributes:
        folder: Where they go.
        vocab: The terms of sparse vectors; position = term id.
        finer: Sparse vectors come with impacts so many times as large; one that is 0 after division stays a term.
    """

    folder: Path
    vocab: Sequence[str] = field(default=(), repr=False)
    finer: int = 1

    def path(self, number: int) -> Path:
        """The path of one part."""
        return self.folder / f"part-{number:05d}.jsonl.zst"

    def write(self, number: int, ids: Sequence[str], contents: Sequence[str], vectors: Any) -> None:
        """Write one part."""
        values = self._sparse(vectors) if isinstance(vectors, SparseVectors) else vectors
        with new_path(self.path(number)) as temporary, _compressed(temporary) as stream:
            for one, text, vector in zip(ids, contents, values, strict=True):
                value = vector.tolist() if isinstance(vector, np.ndarray) else vector
                stream.write(json.dumps({"id": one, "contents": text, "vector": value}).encode() + b"\n")

    def _sparse(self, vectors: SparseVectors) -> list[dict[str, int]]:
        from gradir.engine.query_encoders import to_dicts

        if self.finer > 1:
            vectors = replace(vectors, impacts=np.rint(vectors.impacts / self.finer).astype(np.int32))
        return to_dicts(vectors, np.asarray(self.vocab, dtype=object))

    def read(self, number: int) -> tuple[list[str], Counts]:
        """(ids, counts) of a part that is there."""
        ids, counts = [], Counts()
        for line in self.lines(number):
            value = json.loads(line)
            ids.append(value["id"])
            counts.add(counts_of([value["vector"]] if isinstance(value["vector"], dict) else _NOTHING))
        counts.texts = len(ids)
        return ids, counts

    def lines(self, number: int) -> Iterator[bytes]:
        """The lines of a part.

        Raises:
            InputError: It is damaged.
        """
        path = self.path(number)
        try:
            with pa.input_stream(str(path), compression="zstd") as stream:
                yield from io.BufferedReader(stream, 1 << 20)
        except (OSError, pa.ArrowException) as error:
            raise InputError(path, f"is damaged ({error})", "Remove it and encode again") from None


@contextmanager
def _compressed(path: Path) -> Iterator[Any]:
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        yield stream


Parts = VectorParts | LineParts


def found_parts(parts: Parts, pieces: Iterator[tuple[int, list[Any]]]) -> tuple[frozenset[int], Counts]:
    """The parts that an interrupted run left, each compared with its window; windows after the last part are not read.

    Raises:
        GradirError: A part holds other documents than the input, or the input has ended before it.
    """
    there = {int(path.name[5:].split(".")[0]) for path in parts.folder.glob("part-*")}
    found, counts = set[int](), Counts()
    while len(found) < len(there):
        number, window = next(pieces, (None, []))
        if number is None:
            beyond = parts.path(min(there - found))
            raise GradirError(f"{beyond}: the input has ended before it. Was it another one? Give --overwrite.")
        if number not in there:
            continue
        ids, more = parts.read(number)
        if ids != [row.id for row in window]:
            raise GradirError(f"{parts.path(number)}: other ids than in the input. Give --overwrite.")
        counts.add(more)
        found.add(number)
    return frozenset(found), counts
