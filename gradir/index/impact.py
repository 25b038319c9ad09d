"""Sparse vector shards to a Lucene impact index: the impact of a term is its term frequency.

A score is the sum over terms of query impact times document impact. Lucene adds in double precision and returns single:
sums are exact up to 2**24 = 16,777,216 and within one part in 2**24 beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradir import jvm
from gradir.data.ids import Duplicates
from gradir.errors import GradirError, InputError
from gradir.index.docids import check_docids
from gradir.index.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gradir.index.source import Source

_POSTING_BYTES = 32  # of memory for a posting on its way: in Python, in Java, and inverted
_CHUNK_DOCUMENTS = 1 << 15


def write(
    source: Source,
    folder: Path,
    progress: Callable[[int], object],
    *,
    memory_mib: int = 64,
    optimize: bool = True,
    raw: Iterator[tuple[str, str]] | None = None,
    docvectors: bool = False,
    forward: bool = False,
) -> dict[str, Any]:
    """Write the index; returns its counts.

    Args:
        source: Sparse vectors.
        folder: An empty folder.
        progress: Called with the number of documents done.
        memory_mib: Memory for the postings that are being inverted, MiB.
        optimize: One segment. It is free where gradir's Java classes write; Lucene's own writer has to merge for it.
        raw: (docid, text to be stored) of each document, in the order of the source.
        docvectors: Store each document's vector in Lucene's form, which Pyserini's Rocchio needs.
        forward: Keep the whole vectors beside the index, for two-step search and for feedback.

    Raises:
        InputError: A document holds a term that Lucene would cut or split, or that the vocabulary lacks; the impacts of a
            document sum to 2**31 or more; an id is used twice; no document has a term; texts of other documents.
        GradirError: Lucene could not write.
    """
    vocabulary, seen = Vocabulary(source.folder / "vocab.txt", source.vocab()), Duplicates("document id")
    postings = empty = 0
    used = np.zeros(len(vocabulary.terms), dtype=bool)
    with _open(folder, vocabulary.terms, docvectors, raw is not None, optimize) as writer:
        for part, docids, vectors in source.sparse():
            check_docids(part, docids, seen)
            vocabulary.check(part, docids, vectors)
            for chunk in _chunks(vectors.indptr, memory_mib * 2**20 // _POSTING_BYTES):
                ids = docids[chunk]
                writer.add(ids, vectors.rows(chunk), _texts(part, ids, raw) if raw else None)
                progress(len(ids))
            used[vectors.terms] = True
            postings += len(vectors.terms)
            empty += int((np.diff(vectors.indptr) == 0).sum())
        seen.finish()
        if not postings:
            raise InputError(source.folder, "no document has a term", "Nothing could be found: check the encoder")
    _check_count(folder, writer.documents)
    if forward:
        _write_forward(source, folder, vocabulary.terms)
    return {"documents": writer.documents, "postings": postings, "terms": int(used.sum()), "empty": empty}


def _open(folder: Path, terms: list[str], docvectors: bool, raw: bool, optimize: bool) -> Any:
    """The fastest writer that works here."""
    jvm.ensure(lean=True)
    java = jvm.helper("ImpactWriter")
    if java is not None:
        from gradir.index.segment_writer import SegmentWriter

        return SegmentWriter(java, folder, terms, docvectors, raw)
    from gradir.index.token_writer import TokenWriter

    return TokenWriter(folder, terms, docvectors, raw, optimize)


def _chunks(indptr: NDArray[np.int64], postings: int) -> Iterator[slice]:
    """Runs of documents with a bounded number of postings; one document may exceed it alone."""
    start, documents = 0, len(indptr) - 1
    while start < documents:
        full = int(np.searchsorted(indptr, indptr[start] + postings, side="right")) - 1
        stop = max(start + 1, min(full, start + _CHUNK_DOCUMENTS, documents))
        yield slice(start, stop)
        start = stop


def _texts(part: Path, docids: list[str], raw: Iterator[tuple[str, str]]) -> list[str]:
    """The texts to be stored with some documents: the next ones."""
    texts = list(islice(raw, len(docids)))
    if [docid for docid, _ in texts] != docids:
        raise InputError(part, "the texts to be stored are those of other documents", "Give the corpus it was made of")
    return [text for _, text in texts]


def _write_forward(source: Source, folder: Path, terms: list[str]) -> None:
    """The vectors before pruning; document numbers are the order of the source, because the index has one segment."""
    from gradir.data.forward import ForwardWriter

    if jvm.helper("ImpactWriter") is None:
        raise GradirError("--forward needs gradir's Java classes and Lucene 9.9.1. Leave it out.")
    with ForwardWriter(folder, terms) as writer:
        for _, _, vectors in source.unpruned().sparse():
            writer.add(vectors)


def _check_count(folder: Path, documents: int) -> None:
    """Count the documents as a searcher would."""
    with jvm.errors(folder, "read the index"), jvm.lucene_reader(folder) as reader:
        found = reader.numDocs()
    if found != documents:
        raise InputError(folder, f"the index holds {found} of {documents} documents", "Index again")
