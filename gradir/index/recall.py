"""What an approximate index finds of the exact answers, on a sample."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gradir.data.vectors import SparseVectors, Vectors, VectorShards, concatenate_sparse
from gradir.errors import InputError
from gradir.index.source import Source

_TOPICS = 1000


def recall(source: Source, folder: Path, topics: Vectors | None, lucene: bool = False) -> dict[str, Any]:
    """`recall@10`, `recall@100`, and in words the `sample` that they are of.

    Args:
        source: What was indexed, pruned or dense; it is read again.
        folder: Of the index.
        topics: The queries; documents are if not given.
        lucene: Dense vectors are in a Lucene index, not in a FAISS one.
    """
    found: dict[str, Any] = {}
    if source.kind == "splade" and source.prune:
        from gradir.index import pruning_recall

        found |= pruning_recall.recall(source, source.prune, topics)  # type: ignore[arg-type]
    elif lucene:
        from gradir.index import lucene_recall

        found |= lucene_recall.recall(folder, source, topics)  # type: ignore[arg-type]
    else:
        from gradir.index import faiss_recall

        found |= faiss_recall.recall(folder, source, topics)  # type: ignore[arg-type]
    return found | {"sample": "documents as queries" if topics is None else f"{len(topics)} topics"}


def read_topics(source: Source, folder: Path) -> Vectors:
    """The first 1,000 queries of vector shards.

    Args:
        source: The documents that they shall be asked of.
        folder: Of the shards.

    Raises:
        InputError: They are of another kind, vocabulary or size than the documents.
    """
    shards = VectorShards(folder)
    fix = "Give topics of the same encoder: gradir encode --topics … --encoder …"
    if shards.kind != source.kind:
        raise InputError(folder, f"holds {shards.kind} vectors, the documents are {source.kind}", fix)
    if source.kind == "splade" and shards.vocab() != source.vocab():
        raise InputError(folder, "has another vocabulary than the documents", fix)
    parts, missing = list[Any](), _TOPICS
    for _, vectors in shards.parts():
        rows = slice(0, min(missing, len(vectors)))
        parts.append(vectors.rows(rows) if isinstance(vectors, SparseVectors) else vectors[rows])
        missing -= len(parts[-1])
        if not missing:
            break
    if source.kind == "splade":
        return concatenate_sparse(parts)
    size = parts[0].shape[1]
    for _, _, vectors in islice(source.dense(), 1):
        if vectors.shape[1] != size:
            raise InputError(folder, f"holds vectors of {size} numbers, the documents have {vectors.shape[1]}", fix)
    return np.concatenate(parts)
