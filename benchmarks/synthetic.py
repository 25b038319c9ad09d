"""Sparse vectors of the size and skew of a trained SPLADE's, without a model: terms by Zipf's law, weights log-normal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gradir.data.vectors import SparseVectors, VectorShards, write_part, write_vocab

VOCABULARY, PART = 30_000, 5_000
_METADATA = {"kind": "splade", "encoder": "synthetic"}


def sparse_vectors(rows: int, terms: int, mean: float, seed: int) -> SparseVectors:
    """`rows` vectors of `terms` distinct terms each, impacts of the given mean.

    Args:
        rows: Number of vectors.
        terms: Of each.
        mean: Of the impacts, which are 1 or more.
        seed: Of the draw.
    """
    draw = np.random.default_rng(seed)
    shares = 1 / (
        np.arange(VOCABULARY) + 20.0
    )  # the few commonest words do not drown all others, as SPLADE has no stop words
    ends = np.cumsum(shares / shares.sum())
    names = np.random.default_rng(0).permutation(VOCABULARY)
    kept = []
    for _ in range(rows):
        drawn = np.unique(names[np.searchsorted(ends, draw.random(4 * terms)).clip(max=VOCABULARY - 1)])
        kept.append(np.sort(draw.choice(drawn, terms, replace=False)))
    weights = draw.lognormal(0, 0.8, rows * terms)
    impacts = np.maximum(1, np.rint(weights * mean / np.exp(0.32))).astype(np.int32)
    return SparseVectors(np.arange(rows + 1, dtype=np.int64) * terms, np.concatenate(kept).astype(np.int32), impacts)


def shards(folder: Path, documents: int, mean: float, terms: int = 150) -> VectorShards:
    """Vector shards of synthetic documents; made on first use."""
    target = folder / f"synthetic-{documents}-{mean:g}"
    if not (target / "vocab.txt").exists():
        target.mkdir(parents=True, exist_ok=True)
        for number, first in enumerate(range(0, documents, PART)):
            count = min(PART, documents - first)
            ids = [f"doc{first + i}" for i in range(count)]
            write_part(target, number, ids, sparse_vectors(count, terms, mean, number + 1), _METADATA)
        write_vocab(target, [f"##{number:x}" for number in range(VOCABULARY)])
    return VectorShards(target)


def anserini_json(source: VectorShards, folder: Path, files: int) -> Path:
    """The same documents as JSONL for Anserini's JsonVectorCollection, one file per thread; made on first use."""
    target = folder / f"{source.folder.name}-json-{files}"
    if target.exists():
        return target
    made = target.with_suffix(".partial")
    made.mkdir(parents=True, exist_ok=True)
    vocab = np.array(source.vocab(), dtype=object)
    streams = [(made / f"{number}.jsonl").open("w") for number in range(files)]
    for number, (docids, vectors) in enumerate(source.sparse_parts()):
        for row, docid in enumerate(docids):
            terms, impacts = vectors.row(row)
            vector = dict(zip(vocab[terms].tolist(), impacts.tolist(), strict=True))
            streams[number % files].write(json.dumps({"id": docid, "contents": "", "vector": vector}) + "\n")
    for stream in streams:
        stream.close()
    return made.rename(target)
