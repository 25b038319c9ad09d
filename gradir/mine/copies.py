"""Documents that say the same as another one: equal but for case, white space and the way characters are composed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from gradir.data.corpus import count_documents, read_corpus
from gradir.data.records import Document
from gradir.data.same_text import same_text
from gradir.errors import InputError


class Copies:
    """The documents of a corpus with the text of a positive.

    The corpus is read twice: for the texts of the positives, then for what has one of them. Only positives and their copies stay
    in memory.

    Args:
        corpus: Where the documents are.
        positives: The ids of all queries' positives.

    Raises:
        InputError: The corpus holds no positive.
    """

    def __init__(self, corpus: str, positives: Collection[str]):
        self._digests = {
            document.docid: _digest(document)
            for document in _read(corpus, "read positives")
            if document.docid in positives
        }
        if not self._digests:
            raise InputError(corpus, "holds no positive of the qrels", "Do qrels and corpus belong together?")
        found: dict[bytes, list[str]] = {digest: [] for digest in self._digests.values()}
        for document in _read(corpus, "find copies"):
            group = found.get(_digest(document))
            if group is not None:
                group.append(document.docid)
        self._found: Mapping[bytes, list[str]] = {digest: docids for digest, docids in found.items() if len(docids) > 1}

    def of(self, positives: Collection[str]) -> set[str]:
        """The documents that say the same as one of these positives, themselves among them."""
        digests = (self._digests.get(docid, b"") for docid in positives)
        return set(chain.from_iterable(self._found.get(digest, ()) for digest in digests))


def _digest(document: Document) -> bytes:
    return hashlib.blake2b(same_text(document.contents).encode(), digest_size=16).digest()


def _read(corpus: str, what: str) -> Iterator[Document]:
    from tqdm import tqdm

    documents = read_corpus(corpus)
    yield from tqdm(documents, desc=what, total=count_documents(corpus), unit=" documents", leave=False, disable=None)
