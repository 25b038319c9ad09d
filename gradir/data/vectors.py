"""Vector shards: a folder of `part-00000.parquet` … in corpus order, with `vocab.txt` beside sparse ones.

Dense parts have `docid: string, vector: list<float32>` (what Anserini's ParquetDenseVectorCollection reads). Sparse parts have
`docid: string, terms: list<int32>` ascending and `impacts: list<int32>` above 0; line number = term id in `vocab.txt`. An empty
document is a row with empty lists. The metadata of the encoder (hash, scale, lengths) stands in the Parquet schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradir.data.atomic import new_path, new_text
from gradir.errors import GradirError, InputError

Kind = Literal["dense", "splade"]
_METADATA_KEY = b"gradir"


@dataclass(frozen=True, slots=True)
class SparseVectors:
    """Impact vectors of N texts in compressed rows: row i is `terms[indptr[i]:indptr[i + 1]]`, ascending, impacts above 0."""

    indptr: NDArray[np.int64]  # [N + 1]
    terms: NDArray[np.int32]  # [nnz]
    impacts: NDArray[np.int32]  # [nnz]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(terms, impacts) of text i."""
        span = slice(self.indptr[i], self.indptr[i + 1])
        return self.terms[span], self.impacts[span]

    def take(self, order: NDArray[np.int64]) -> SparseVectors:
        """The rows named by `order`, in that order."""
        lengths = np.diff(self.indptr)[order]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # position of every posting: its row's old start plus its place in the row
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[order] - indptr[:-1], lengths)
        return SparseVectors(indptr, self.terms[places], self.impacts[places])


DenseVectors = NDArray[np.float32]  # [N, D]
Vectors = DenseVectors | SparseVectors


def concatenate_sparse(parts: Sequence[SparseVectors]) -> SparseVectors:
    """Rows of all parts, one after another."""
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
        GradirError: A vector holds NaN or infinity, or an impact is not above 0.
    """
    columns: dict[str, pa.Array] = {"docid": pa.array(docids, pa.string())}
    if isinstance(vectors, SparseVectors):
        _check_impacts(docids, vectors)
        offsets = pa.array(vectors.indptr.astype(np.int32))
        columns["terms"] = pa.ListArray.from_arrays(offsets, pa.array(vectors.terms, pa.int32()))
        columns["impacts"] = pa.ListArray.from_arrays(offsets, pa.array(vectors.impacts, pa.int32()))
    else:
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise GradirError(
                f"document {docids[int(np.argmin(finite))]}: its vector holds NaN or infinity. {_NAN_FIX}"
            )
        offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
        columns["vector"] = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).reshape(-1)))
    table = pa.table(columns).replace_schema_metadata(
        {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True).encode()}
    )
    with new_path(part_path(folder, number)) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)


_NAN_FIX = "Are the model's weights sound? Try --dtype float32"


def _check_impacts(docids: Sequence[str], vectors: SparseVectors) -> None:
    if len(vectors.impacts) and vectors.impacts.min() < 1:
        row = int(np.searchsorted(vectors.indptr, int(np.argmin(vectors.impacts)), side="right")) - 1
        raise GradirError(f"document {docids[row]}: an impact of {vectors.impacts.min()}. Impacts must be above 0.")


class VectorShards:
    """A folder of vector shards, opened for reading; parts are read one at a time.

    Args:
        folder: The folder.

    Raises:
        InputError: No parts, a gap between them, a damaged part, parts of different encoders.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.files = sorted(self.folder.glob("part-*.parquet"))
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
        kind: Kind = self.metadata["kind"]
        return kind

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
    try:
        table = pq.read_table(file).combine_chunks()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(file, f"is damaged or no Parquet file ({error})", "Remove it and encode again") from None
    if "docid" not in table.column_names:
        raise InputError(file, f"has no docid column, only {', '.join(table.column_names)}", "Is it a vector shard?")
    docids = table["docid"].to_pylist()
    if "vector" in table.column_names:
        vector = table["vector"].combine_chunks()
        values = vector.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        return docids, values.reshape(len(docids), -1)
    terms, impacts = table["terms"].combine_chunks(), table["impacts"].combine_chunks()
    indptr = terms.offsets.to_numpy().astype(np.int64)
    return docids, SparseVectors(indptr - indptr[0], terms.flatten().to_numpy(), impacts.flatten().to_numpy())


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """(metadata, rows) of a part, without reading its vectors."""
    try:
        header = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(file, f"is damaged or no Parquet file ({error})", "Remove it and encode again") from None
    metadata = (header.schema_arrow.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        raise InputError(file, "was not written by gradir", "Convert it: the metadata of its encoder is missing")
    return json.loads(metadata), header.metadata.num_rows
