"""Sparse vector shards to a Lucene impact index: the impact of a term is its term frequency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradir import jvm
from gradir.data.vectors import SparseVectors, VectorShards
from gradir.errors import GradirError

# Between a term and its impact. Control pictures stand in no tokenizer's vocabulary; `|`, Lucene's default, stands in BERT's.
_DELIMITER = "\u241f"
_CHUNK = 2048  # documents whose strings are in memory at a time
_LONGEST_TERM = 255  # Lucene's whitespace tokenizer cuts longer tokens in two


def write(shards: VectorShards, folder: Path, progress: Callable[[int], object]) -> dict[str, Any]:
    """Write the index; returns its counts.

    Args:
        shards: Sparse vector shards.
        folder: An empty folder.
        progress: Called with the number of documents done.

    Raises:
        GradirError: A term that Lucene would cut or split.
    """
    jvm.ensure()
    from jnius import autoclass

    from gradir.index.lucene_writer import LuceneWriter

    terms = _term_prefixes(shards.vocab())
    similarity = autoclass("io.anserini.search.similarity.ImpactSimilarity")()
    documents = postings = empty = 0
    with LuceneWriter(folder, _analyzer(), similarity, term_frequencies_only=True) as writer:
        for docids, vectors in shards.sparse_parts():
            for start in range(0, len(docids), _CHUNK):
                chunk = slice(start, min(start + _CHUNK, len(docids)))
                writer.add(zip(docids[chunk], contents(terms, vectors, chunk), strict=True))
                progress(chunk.stop - chunk.start)
            documents += len(docids)
            postings += len(vectors.terms)
            empty += int((np.diff(vectors.indptr) == 0).sum())
    return {"documents": documents, "postings": postings, "empty": empty}


def contents(terms: pa.Array, vectors: SparseVectors, chunk: slice) -> list[str]:
    """What the analyzer reads, `term␟impact term␟impact …`, of the documents of a chunk.

    All strings of the chunk are built as one buffer; each document is a slice of it.

    Args:
        terms: Each term with the delimiter behind it.
        vectors: The vectors of a part.
        chunk: Which rows of them.
    """
    indptr = vectors.indptr[chunk.start : chunk.stop + 1]
    span = slice(indptr[0], indptr[-1])
    impacts = pc.cast(pa.array(vectors.impacts[span]), pa.string())
    tokens = pc.binary_join_element_wise(pc.take(terms, pa.array(vectors.terms[span])), impacts, pa.scalar(" "), "")
    if not len(tokens):
        return [""] * (len(indptr) - 1)
    ends = np.frombuffer(tokens.buffers()[1], dtype=np.int32)[: len(tokens) + 1]
    offsets = ends[indptr - indptr[0]].astype(np.int32)
    joined = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.tobytes()), tokens.buffers()[2])
    texts: list[str] = joined.to_pylist()
    return texts


def _term_prefixes(vocab: list[str]) -> pa.Array:
    for number, term in enumerate(vocab):
        if not term or term.split() != [term] or _DELIMITER in term:
            raise GradirError(
                f"vocab.txt:{number + 1}: term {term!r} is empty or holds white space. Use another tokenizer."
            )
        if len(term) > _LONGEST_TERM:
            raise GradirError(
                f"vocab.txt:{number + 1}: a term of {len(term)} characters, Lucene takes {_LONGEST_TERM}."
            )
    return pa.array([term + _DELIMITER for term in vocab], pa.string())


def _analyzer() -> Any:
    """Splits at white space and takes the number behind the delimiter as the term's frequency."""
    from jnius import autoclass

    hash_map = autoclass("java.util.HashMap")
    options = hash_map()
    options.put("delimiter", _DELIMITER)
    builder = autoclass("org.apache.lucene.analysis.custom.CustomAnalyzer").builder()
    return builder.withTokenizer("whitespace", hash_map()).addTokenFilter("delimitedTermFrequency", options).build()
