"""A Lucene impact index, inverted back: the documents of its postings, by ranges of documents that fit in memory.

Impact indexes have no term vectors as a rule, so the terms of a document are found by walking every term's postings. Each
range of documents walks all terms once and passes over the postings before it by skipping.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradir import jvm
from gradir.convert.foreign import Block, Foreign, term_id
from gradir.data.vectors import SparseVectors
from gradir.errors import InputError

_FIELD = "contents"
_POSTINGS = 1 << 22  # in memory at a time, on average; some 100 MB while they are sorted
_LEAST_DOCUMENTS = 4096


def open_index(path: Path) -> Foreign:
    """Open an index.

    Raises:
        InputError: It is damaged, or has no terms in the field `contents`.
        MissingDependency: No Java, or no Pyserini.
    """
    jvm.ensure()
    from jnius import autoclass

    with _java_errors(path):
        directory = autoclass("org.apache.lucene.store.FSDirectory").open(
            autoclass("java.nio.file.Paths").get(str(path))
        )
        reader = autoclass("org.apache.lucene.index.DirectoryReader").open(directory)
        documents, postings = reader.numDocs(), reader.getSumDocFreq(_FIELD)
    if not documents or postings < 1:
        raise InputError(path, f"has no documents with terms in the field `{_FIELD}`", "Is it an impact index?")
    size = max(_LEAST_DOCUMENTS, _POSTINGS * reader.maxDoc() // postings)
    inputs = sorted(file for file in path.iterdir() if file.is_file() and file.name != "write.lock")
    return Foreign(
        "Lucene index",
        "splade",
        documents,
        inputs,
        lambda: _terms(path, reader),
        lambda ids: _blocks(path, reader, ids, size),
    )


def _terms(path: Path, reader: Any) -> Iterator[str]:
    for leaf in _leaves(reader):
        yield from _leaf_terms(path, leaf)


def _leaves(reader: Any) -> Iterator[Any]:
    """The segments, in the order of their documents."""
    leaves = reader.leaves()
    for number in range(leaves.size()):
        yield leaves.get(number).reader()


def _leaf_terms(path: Path, leaf: Any) -> Iterator[str]:
    with _java_errors(path):
        for each in _walk(leaf):
            yield each.term().utf8ToString()


def _walk(leaf: Any) -> Iterator[Any]:
    """The enumeration of a segment's terms, standing on each of them in turn."""
    terms = leaf.terms(_FIELD)
    if terms is None:
        return
    each = terms.iterator()
    while each.next() is not None:
        yield each


def _blocks(path: Path, reader: Any, ids: Mapping[str, int], size: int) -> Iterator[Block]:
    for leaf in _leaves(reader):
        numbers = array("i", (term_id(ids, term, path) for term in _leaf_terms(path, leaf)))
        for start in range(0, leaf.maxDoc(), size):
            stop = min(start + size, leaf.maxDoc())
            with _java_errors(path):
                vectors = _invert(leaf, np.array(numbers, np.int32), start, stop)
                kept = _not_deleted(leaf, start, stop)
                docids = _docids(path, leaf, kept + start)
            yield docids, vectors if len(kept) == len(vectors) else vectors.take(kept)


def _invert(leaf: Any, numbers: NDArray[np.int32], start: int, stop: int) -> SparseVectors:
    """The terms of the documents of a range.

    Args:
        leaf: A segment.
        numbers: The id of each of its terms, in its order.
        start: First document.
        stop: The document behind the last.
    """
    from jnius import autoclass

    frequencies = autoclass("org.apache.lucene.index.PostingsEnum").FREQS
    documents, impacts, counts = array("i"), array("i"), array("q")
    postings: Any = None
    for each in _walk(leaf):
        postings = each.postings(postings, frequencies)
        document, follow, frequency = postings.advance(start), postings.nextDoc, postings.freq
        before = len(documents)
        while document < stop:  # NO_MORE_DOCS is above every document
            documents.append(document)
            impacts.append(frequency())
            document = follow()
        counts.append(len(documents) - before)
    rows = np.array(documents, np.int32) - start
    terms = np.repeat(numbers, np.array(counts, np.int64))
    order = np.lexsort((terms, rows))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=stop - start))]).astype(np.int64)
    return SparseVectors(indptr, terms[order], np.array(impacts, np.int32)[order])


def _not_deleted(leaf: Any, start: int, stop: int) -> NDArray[np.int64]:
    """Which documents of a range are there still, counted from its start."""
    live = leaf.getLiveDocs()  # none: all are
    places = range(stop - start)
    return np.array([i for i in places if live is None or live.get(start + i)], dtype=np.int64)


def _docids(path: Path, leaf: Any, documents: NDArray[np.int64]) -> list[str]:
    stored, docids = leaf.storedFields(), []
    for document in documents.tolist():
        docid = stored.document(document).get("id")
        if docid is None:
            raise InputError(path, f"document {document} has no stored field `id`", "Anserini's indexes have one")
        docids.append(docid)
    return docids


@contextmanager
def _java_errors(path: Path) -> Iterator[None]:
    """What Lucene throws, as our error."""
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        cause = str(error).splitlines()[0].partition(": ")[2]
        raise InputError(path, f"Lucene could not read it ({cause})", "Is it a whole Lucene index?") from None
