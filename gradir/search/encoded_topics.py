"""Topics that were encoded before: vector shards, Pyserini's `queries.jsonl`, or queries written as tokens. Held in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir.data.ids import Duplicates, check_id
from gradir.data.jsonl import read_objects, text_field
from gradir.data.records import Query
from gradir.data.text import suffix
from gradir.data.topics import read_topics
from gradir.data.vectors import SparseVectors, Vectors, VectorShards, concatenate_sparse
from gradir.errors import InputError

_LARGEST = 2**31 - 1  # a query impact, as one of a document


@dataclass(frozen=True)
class EncodedTopics:
    """Queries and their vectors.

    Attributes:
        queries: In the order of the file; vector shards have no texts.
        vectors: Sparse, or float32 [N, D].
        vocab: The terms of sparse vectors by id.
        description: What made them, where that is known.
    """

    queries: list[Query]
    vectors: Vectors
    vocab: list[str]
    description: dict[str, Any] | None

    @property
    def kind(self) -> str:
        """`dense` or `splade`."""
        return "splade" if isinstance(self.vectors, SparseVectors) else "dense"


def read_encoded_topics(topics: str) -> EncodedTopics:
    """Read encoded topics of any form.

    Args:
        topics: Vector shards (`gradir encode --topics`); JSON Lines with `id` and `vector`, an object of impacts by term or a
            list of numbers; or topics whose texts are tokens between spaces, each as often as its impact (a TSV file, or a
            name that Pyserini knows).

    Raises:
        InputError: It is none of these, a query comes twice, a vector is unsound.
    """
    path = Path(topics)
    if path.is_dir():
        if not any(path.glob("part-*.parquet")) and (path / "embedding.pkl").exists():
            path = path / "embedding.pkl"
        else:
            return _from_shards(VectorShards(path))
    if path.suffix in (".pkl", ".pickle"):
        fix = "Give Pyserini's queries.jsonl, or encode the topics again: gradir encode --topics"
        raise InputError(path, "is a pickle, which gradir never reads: it could run any program", fix)
    if suffix(path) == ".jsonl" and "vector" in next(read_objects(path), (0, {}))[1]:
        return _from_json(path)
    return _from_tokens(topics)


def _from_shards(shards: VectorShards) -> EncodedTopics:
    parts = list(shards.parts())
    queries = [Query(qid, "") for qids, _ in parts for qid in qids]
    _check_qids(shards.folder, enumerate((query.qid for query in queries), 1))
    if shards.kind == "splade":
        sparse = [vectors for _, vectors in parts if isinstance(vectors, SparseVectors)]
        return EncodedTopics(queries, concatenate_sparse(sparse), shards.vocab(), shards.metadata)
    dense = [vectors for _, vectors in parts if not isinstance(vectors, SparseVectors)]
    return EncodedTopics(queries, np.concatenate(dense), [], shards.metadata)


def _from_json(path: Path) -> EncodedTopics:
    """Pyserini's form, `{"id": …, "contents": …, "vector": …}`, all of one kind."""
    rows = list(read_objects(path))
    names = ("id", "_id", "qid", "docid")
    queries = [
        Query(text_field(path, line, row, names), text_field(path, line, row, ("contents", "text"), default=""))
        for line, row in rows
    ]
    _check_qids(path, ((line, query.qid) for (line, _), query in zip(rows, queries, strict=True)))
    if isinstance(rows[0][1]["vector"], dict):
        return EncodedTopics(queries, *_sparse(path, ((line, _impacts(path, line, row)) for line, row in rows)), None)
    vectors = [_numbers(path, line, row) for line, row in rows]
    for (line, _), vector in zip(rows, vectors, strict=True):
        if len(vector) != len(vectors[0]):
            problem = f"a vector of {len(vector)} numbers, the first has {len(vectors[0])}"
            raise InputError(path, problem, "Encode the topics again", line)
    return EncodedTopics(queries, np.stack(vectors), [], None)


def _from_tokens(topics: str) -> EncodedTopics:
    """A query is its tokens, each repeated as often as its impact says: what Pyserini takes without an encoder."""
    queries = list(read_topics(topics))
    counted = ((number, Counter(query.text.split())) for number, query in enumerate(queries, 1))
    return EncodedTopics(queries, *_sparse(Path(topics), counted), None)


def _sparse(path: Path, rows: Iterator[tuple[int, Mapping[str, int]]]) -> tuple[SparseVectors, list[str]]:
    """(vectors, the terms by id): ids are given in the order in which terms come."""
    ids: dict[str, int] = {}
    indptr, terms, impacts = [0], list[int](), list[int]()
    for line, row in rows:
        found = sorted((ids.setdefault(term, len(ids)), impact) for term, impact in row.items() if impact)
        for _, impact in found:
            if not 0 < impact <= _LARGEST:
                raise InputError(path, f"an impact of {impact}", "Impacts are above 0 and below 2**31", line)
        terms += [term for term, _ in found]
        impacts += [impact for _, impact in found]
        indptr.append(len(terms))
    vectors = SparseVectors(np.array(indptr, np.int64), np.array(terms, np.int32), np.array(impacts, np.int32))
    return vectors, list(ids)


def _impacts(path: Path, line: int, row: Mapping[str, Any]) -> dict[str, int]:
    vector = row.get("vector")
    if not isinstance(vector, dict):
        raise InputError(
            path, "`vector` is no object of impacts, as in the first line", "Encode the topics again", line
        )
    for term, impact in vector.items():
        if not isinstance(impact, int) or isinstance(impact, bool):
            problem = f"the impact of term {term!r} is {impact!r}, not a whole number"
            raise InputError(path, problem, "Multiply by the impact scale and round", line)
    return vector


def _numbers(path: Path, line: int, row: Mapping[str, Any]) -> NDArray[np.float32]:
    """The vector of a line, float32 [D]."""
    fix = "Encode the topics again"
    try:
        vector = np.asarray(row.get("vector"), dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(path, "`vector` is no list of numbers", fix, line) from None
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise InputError(path, "`vector` is no list of finite numbers", fix, line)
    return vector


def _check_qids(path: Path, numbered: Iterator[tuple[int, str]]) -> None:
    seen = Duplicates("query id")
    for line, qid in numbered:
        seen.add(path, line, check_id(path, line, qid, "query id"))
    seen.finish()
