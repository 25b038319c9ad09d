"""The texts of the documents that an index takes, read beside their vectors: corpus and shards are in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradir.data.corpus import read_corpus
from gradir.data.records import Document
from gradir.errors import InputError

_FIX = "Give the corpus that was encoded, unchanged"


def raw_texts(corpus: str | Path, docids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(docid, raw) of each document, as Anserini stores it: `{"id": …, "contents": …}` is what Pyserini's `doc(docid).raw()` gives.

    Args:
        corpus: As for `matched`.
        docids: As for `matched`.

    Raises:
        InputError: As `matched`.
    """
    for document in matched(corpus, docids):
        yield document.docid, json.dumps({"id": document.docid, "contents": document.contents}, ensure_ascii=False)


def matched(corpus: str | Path, docids: Iterable[str]) -> Iterator[Document]:
    """The documents of a corpus that have vectors, in one pass; one document is in memory at a time.

    Args:
        corpus: What the vectors were made from; documents without a vector are passed over.
        docids: The ids of the vectors, in the order of the corpus.

    Raises:
        InputError: A document is not in the corpus, or stands before the one that it follows in the shards.
    """
    documents = read_corpus(corpus)
    for docid in docids:
        found = next((document for document in documents if document.docid == docid), None)
        if found is None:
            raise _unmatched(corpus, docid)
        yield found


def _unmatched(corpus: str | Path, docid: str) -> InputError:
    """Why the rest of the corpus does not hold a document; looks through all of it again."""
    if any(document.docid == docid for document in read_corpus(corpus)):
        return InputError(corpus, f"has another order than the vectors, document {docid} comes too early", _FIX)
    return InputError(corpus, f"does not hold document {docid}, of which there is a vector", _FIX)
