"""Vector shards: a folder of `part-00000.parquet` … in corpus order, with `vocab.txt` beside sparse ones.

Dense parts have `docid: string, vector: list<float32>` (what Anserini's ParquetDenseVectorCollection reads). Sparse parts have
`docid: string, terms: list<int32>` ascending and `impacts: list<int32>` above 0; line number = term id in `vocab.txt`. An empty
document is a row with empty lists. The metadata of the encoder (hash, scale, lengths) stands in the Parquet schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradir.data.atomic import new_path, new_text
from gradir.errors import GradirError, InputError

Kind = Literal["dense", "splade"]
_METADATA_KEY = b"gradir"
_SIZE_KEY = b"gradir.size"  # of dense vectors


@dataclass(frozen=True, slots=True)
class SparseVectors:
    """Impact vectors of N texts in compressed rows: row i is `terms[indptr[i]:indptr[i + 1]]`, ascending, impacts above 0."""

    indptr: NDArray[np.int64]  # [N + 1]
    terms: NDArray[np.int32]  # [nnz]
    impacts: NDArray[np.int32]  # [nnz]

    def __post_init__(self) -> None:
        if self.indptr[0] != 0 or not self.indptr[-1] == len(self.terms) == len(self.impacts):
            raise ValueError("indptr must run from 0 to the number of terms, which is that of impacts")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(terms, impacts) of text i."""
        span = slice(self.indptr[i], self.indptr[i + 1])
        return self.terms[span], self.impacts[span]

    def rows(self, span: slice) -> SparseVectors:
        """Rows in a row, without copying their postings."""
        indptr = self.indptr[span.start : span.stop + 1]
        places = slice(indptr[0], indptr[-1])
        return SparseVectors(indptr - indptr[0], self.terms[places], self.impacts[places])

    def take(self, order: NDArray[np.int64]) -> SparseVectors:
        """The rows named by `order`, in that order."""
        order = np.asarray(order, dtype=np.int64)
        lengths = np.diff(self.indptr)[order]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # position of every posting: its row's old start plus its place in the row
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[order] - indptr[:-1], lengths)
        return SparseVectors(indptr, self.terms[places], self.impacts[places])


DenseVectors = NDArray[np.float32]  # [N, D]
Vectors = DenseVectors | SparseVectors


def concatenate_sparse(parts: Sequence[SparseVectors]) -> SparseVectors:
    """Rows of all parts, one after another."""
    if not parts:
        return SparseVectors(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SparseVectors(
        indptr, np.concatenate([part.terms for part in parts]), np.concatenate([part.impacts for part in parts])
    )


def part_path(folder: str | Path, number: int) -> Path:
    """The path of one part."""
    return Path(folder) / f"part-{number:05d}.parquet"


def write_vocab(folder: str | Path, vocab: Sequence[str]) -> None:
    """Write `vocab.txt`: line number = term id.

    Raises:
        GradirError: A term holds a line end.
    """
    with new_text(Path(folder) / "vocab.txt") as stream:
        for term in vocab:
            if "\n" in term or "\r" in term:
                raise GradirError(f"{folder}/vocab.txt: term {term!r} holds a line end. Use another tokenizer.")
            stream.write(term + "\n")


def write_part(
    folder: str | Path, number: int, docids: Sequence[str], vectors: Vectors, metadata: Mapping[str, Any]
) -> None:
    """Write one part; it appears whole or not at all.

    Args:
        folder: The shard folder.
        number: The part's place in corpus order.
        docids: N ids.
        vectors: N vectors, float32 [N, D] or sparse.
        metadata: What every part records: `kind`, encoder hash, scale, lengths.

    Raises:
        GradirError: A vector holds NaN or infinity, an impact is not above 0 or too large, terms are not ascending.
    """
    if len(docids) != len(vectors):
        raise ValueError(f"{len(docids)} ids for {len(vectors)} vectors")
    columns: dict[str, pa.Array] = {"docid": pa.array(docids, pa.string())}
    header = {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    if isinstance(vectors, SparseVectors):
        _check_sparse(docids, vectors)
        offsets = _offsets(vectors.indptr)
        columns["terms"] = pa.ListArray.from_arrays(offsets, pa.array(vectors.terms.astype(np.int32, copy=False)))
        columns["impacts"] = pa.ListArray.from_arrays(offsets, pa.array(vectors.impacts.astype(np.int32, copy=False)))
    else:
        values = vectors if vectors.dtype == np.float16 else vectors.astype(np.float32, copy=False)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise GradirError(
                f"document {docids[int(np.argmin(finite))]}: its vector holds NaN or infinity. {_NAN_FIX}"
            )
        size = values.shape[1]
        offsets = _offsets(np.arange(len(values) + 1, dtype=np.int64) * size)
        columns["vector"] = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).reshape(-1)))
        header[_SIZE_KEY] = str(size).encode()  # a part without rows could not tell
    table = pa.table(columns).replace_schema_metadata(header)
    with new_path(part_path(folder, number)) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)


_NAN_FIX = "Are the model's weights sound? Try --dtype float32"
_MOST = np.iinfo(np.int32).max


def _offsets(indptr: NDArray[np.int64]) -> pa.Array:
    if indptr[-1] > _MOST:
        raise GradirError(f"{indptr[-1]} numbers in one part, at most {_MOST} fit. Put fewer documents into a part.")
    return pa.array(indptr.astype(np.int32))


def _check_sparse(docids: Sequence[str], vectors: SparseVectors) -> None:
    """Impacts from 1 to 2**31 - 1; terms not negative and ascending in each row."""
    if vectors.terms.dtype.kind not in "iu" or vectors.impacts.dtype.kind not in "iu":
        raise ValueError(f"terms and impacts must be integers, not {vectors.terms.dtype} and {vectors.impacts.dtype}")
    wrong = (vectors.impacts < 1) | (vectors.impacts > _MOST)
    if wrong.any():
        place = int(np.argmax(wrong))
        impact = vectors.impacts[place]
        raise GradirError(
            f"document {docids[_row_of(vectors, place)]}: an impact of {impact}. "
            f"Impacts must be above 0 and below 2**31: check the scale of the encoder."
        )
    falls = np.zeros(len(vectors.terms), dtype=bool)
    falls[1:] = vectors.terms[1:] <= vectors.terms[:-1]
    starts = vectors.indptr[:-1]
    falls[starts[starts < len(falls)]] = False  # a row may begin below the end of the one before
    falls |= (vectors.terms < 0) | (vectors.terms > _MOST)
    if falls.any():
        place = int(np.argmax(falls))
        raise GradirError(
            f"document {docids[_row_of(vectors, place)]}: term id {vectors.terms[place]} is out of order or range. "
            f"Sort the terms of each document, each once."
        )


def _row_of(vectors: SparseVectors, place: int) -> int:
    """The row that holds a posting."""
    return int(np.searchsorted(vectors.indptr, place, side="right")) - 1


class VectorShards:
    """A folder of vector shards, opened for reading; parts are read one at a time.

    Args:
        folder: The folder.

    Raises:
        InputError: No parts, a gap between them, a damaged part, parts of different encoders, an encoding that has not ended.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        # by number: part-100000 comes after part-99999
        self.files = sorted(self.folder.glob("part-*.parquet"), key=lambda file: (len(file.name), file.name))
        if (self.folder / "manifest.partial.json").exists() and not (self.folder / "manifest.json").exists():
            raise InputError(
                folder, "is not finished", "Give its gradir encode command again: it goes on where it stopped"
            )
        if not self.files:
            raise InputError(folder, "holds no vector shards (part-00000.parquet …)", "Make them: gradir encode")
        for number, file in enumerate(self.files):
            if file != part_path(folder, number):
                raise InputError(file, f"part {number} is missing before it", "Encode again")
        headers = [_header(file) for file in self.files]
        self.metadata, self.counts = headers[0][0], [rows for _, rows in headers]
        for file, (metadata, _) in zip(self.files, headers, strict=True):
            if metadata != self.metadata:
                raise InputError(file, "was made by another encoder or with other settings than part 0", "Encode again")

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def kind(self) -> Kind:
        """`dense` or `splade`."""
        kind = self.metadata.get("kind")
        if kind not in ("dense", "splade"):
            raise InputError(self.files[0], f"is of kind {kind!r}, not dense or splade", "Encode again")
        return cast(Kind, kind)

    def vocab(self) -> list[str]:
        """The terms of sparse vectors; position = term id."""
        path = self.folder / "vocab.txt"
        if not path.exists():
            raise InputError(path, "is missing beside sparse vectors", "Encode again")
        return path.read_text(encoding="utf-8").split("\n")[:-1]

    def parts(self) -> Iterator[tuple[list[str], Vectors]]:
        """(docids, vectors) of each part, in corpus order."""
        for file in self.files:
            yield read_part(file)

    def dense_parts(self) -> Iterator[tuple[list[str], DenseVectors]]:
        """As `parts`, refusing sparse vectors."""
        for docids, vectors in self.parts():
            if isinstance(vectors, SparseVectors):
                raise InputError(self.folder, "holds sparse vectors, dense ones are needed", "Use --type impact")
            yield docids, vectors

    def sparse_parts(self) -> Iterator[tuple[list[str], SparseVectors]]:
        """As `parts`, refusing dense vectors."""
        for docids, vectors in self.parts():
            if not isinstance(vectors, SparseVectors):
                raise InputError(self.folder, "holds dense vectors, sparse ones are needed", "Use --type flat or hnsw")
            yield docids, vectors


def read_part(file: str | Path) -> tuple[list[str], Vectors]:
    """(docids, vectors) of one part.

    Raises:
        InputError: The file is damaged, or is not a part.
    """
    with _opened(file) as opened:
        header, columns = opened.schema_arrow.metadata or {}, opened.schema_arrow.names
        if "docid" not in columns or not ("vector" in columns or {"terms", "impacts"} <= set(columns)):
            raise InputError(file, f"has only the columns {', '.join(columns)}", "Is it a vector shard?")
        table = opened.read().combine_chunks()
    docids = table["docid"].to_pylist()
    if "vector" in columns:
        return docids, _dense(file, table, int(header[_SIZE_KEY]) if _SIZE_KEY in header else None)
    indptr, terms = _lists(file, table, "terms")
    same, impacts = _lists(file, table, "impacts")
    if not np.array_equal(indptr, same):
        raise InputError(file, "has rows with more terms than impacts, or fewer", "Remove it and encode again")
    return docids, SparseVectors(indptr, _int32(file, terms, "terms"), _int32(file, impacts, "impacts"))


def _dense(file: str | Path, table: pa.Table, size: int | None) -> DenseVectors:
    """The vectors, all of one size: that of the header, or of the first."""
    indptr, values = _lists(file, table, "vector")
    lengths = np.diff(indptr)
    size = size if size is not None else int(lengths[0]) if len(lengths) else 0
    if (lengths != size).any():
        raise InputError(file, "holds vectors of different sizes", "Remove it and encode again")
    return values.astype(np.float32, copy=False).reshape(len(lengths), size)


def _int32(file: str | Path, values: NDArray[Any], name: str) -> NDArray[np.int32]:
    """The values, if no cast changes them."""
    if values.dtype == np.int32:
        return values
    if values.dtype.kind not in "iu":
        raise InputError(file, f"has {name} of type {values.dtype}, not int32", "Encode again")
    if len(values) and (values.max() > _MOST or values.min() < -_MOST):
        beyond = values[np.argmax((values > _MOST) | (values < -_MOST))]
        raise InputError(file, f"has {beyond} among its {name}, at most {_MOST} fits", "Encode again")
    return values.astype(np.int32)


def _lists(file: str | Path, table: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(indptr, values) of a column of lists."""
    column = table[name].combine_chunks()
    values = column.flatten()
    if column.null_count or values.null_count:
        raise InputError(file, f"has empty cells in the column {name}", "Remove it and encode again")
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, values.to_numpy(zero_copy_only=False)


@contextmanager
def _opened(file: str | Path) -> Iterator[pq.ParquetFile]:
    """An open Parquet file; damage, found at once or while reading, is our error."""
    try:
        with pq.ParquetFile(file) as opened:
            yield opened
    except FileNotFoundError:
        raise InputError(file, "no such file", "Check the path") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(file, f"is damaged or no Parquet file ({error})", "Remove it and encode again") from None


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """(metadata, rows) of a part, without reading its vectors."""
    with _opened(file) as opened:
        metadata = (opened.schema_arrow.metadata or {}).get(_METADATA_KEY)
        rows = opened.metadata.num_rows
    if metadata is None:
        raise InputError(file, "was not written by gradir", "Convert it: the metadata of its encoder is missing")
    return json.loads(metadata), rows
