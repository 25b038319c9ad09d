"""Texts of documents by id, read from the corpora themselves when they are asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data import named
from gradir.data.corpus import corpus_files, read_corpus
from gradir.data.ids import check_id
from gradir.data.jsonl import text_field
from gradir.data.list_bytes import LineFile
from gradir.data.list_order import mixed
from gradir.data.records import Document
from gradir.data.text import suffix
from gradir.errors import InputError

_ID = ("_id", "id", "docid")
_IDS = tuple(f'"{name}"'.encode() for name in _ID)
# An id of printable ASCII without escapes, or a whole number, that is the first key. What differs goes through the JSON parser.
_VALUE = rb' ?(?:"([!#-\[\]-~]+)"|(0|[1-9]\d{0,17})) ?[,}]'
_FIRST = re.compile(rb'\{"_id":' + _VALUE).match
_OTHER = re.compile(rb'\{"(?:id|docid)":' + _VALUE).match
_PLAIN = re.compile(rb"[!-~]+").fullmatch
_OFFSET_BITS = 44  # of a place: files up to 16 TiB, half a million of them
_BLOCK = 1 << 15
_LONG = 64  # bytes of an id


class _File(NamedTuple):
    lines: LineFile
    tsv: bool
    corpus: int  # which of the corpora it belongs to


class Texts:
    """The documents of one or several corpora by id. Holds 16 bytes a document, and no text.

    Plain files are memory-mapped where they lie; compressed ones and `ir_datasets:NAME` are unpacked once to temporary files
    (`LineFile`). What is kept is a sorted 64-bit hash of each id and its place; ids are compared with the parsed line, so that
    two ids of equal hash are told apart. Can be pickled and used in forked processes; files must not change meanwhile.

    Args:
        corpora: What `read_corpus` reads: one, or several.

    Raises:
        InputError: A line without an id, an id twice in a corpus, one in two corpora with different contents (the error names
            both files and lines), no documents at all, no such file. Other malformed lines are found when they are read.
    """

    def __init__(self, corpora: str | Path | Sequence[str | Path]):
        several = [corpora] if isinstance(corpora, (str, Path)) else list(corpora)
        self.corpora = tuple(dict.fromkeys(map(str, several)))
        self._files = [file for number, corpus in enumerate(self.corpora) for file in _files(corpus, number)]
        self.hashes, self._places = self._indexed()

    def __len__(self) -> int:
        return len(self.hashes)

    def __contains__(self, docid: object) -> bool:
        return isinstance(docid, str) and self._find(docid) is not None

    def __enter__(self) -> Texts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the files; temporary ones are removed."""
        for file in self._files:
            file.lines.close()

    def contents(self, docid: str) -> str:
        """`Document.contents` of a document.

        Raises:
            InputError: There is none of this id, or its line is malformed.
        """
        return self.document(docid).contents

    def document(self, docid: str) -> Document:
        """A document by its id.

        Raises:
            InputError: As `contents`.
        """
        found = self._find(docid)
        if found is None:
            raise InputError(", ".join(self.corpora), f"holds no document {docid}", "Name the corpus that it is in")
        return found

    def at(self, row: int) -> Document:
        """The document of a row, from 0; rows are in the order of the ids' hashes, the same on every machine."""
        return self._read(int(self._places[row]))

    def in_order(self) -> NDArray[np.int64]:
        """The rows of all documents in the order of the corpora, [N]."""
        return np.argsort(self._places, kind="stable")

    def rows(self, docids: Sequence[str]) -> NDArray[np.int64]:
        """The rows [k] of some ids; of one that is not here, -1.

        No text is read: an unknown id whose hash is that of a document is taken for it (a chance of one in a trillion for ten
        million documents).
        """
        keys = _hashed([docid.encode("utf-8", "surrogatepass") for docid in docids])
        order = np.argsort(keys)  # neighbours are looked for in the same part of the hashes, which is then in the cache
        found = np.empty(len(keys), np.int64)
        found[order] = np.searchsorted(self.hashes, keys[order])
        known = found < len(self.hashes)
        known[known] = self.hashes[found[known]] == keys[known]
        rows = np.where(known, found, -1)
        twin = np.flatnonzero(known & (found + 1 < len(self.hashes)))
        for one in twin[self.hashes[found[twin] + 1] == keys[twin]]:
            rows[one] = next((row for row in self._rows_of(keys[one]) if self.at(row).docid == docids[one]), -1)
        return rows

    def _find(self, docid: str) -> Document | None:
        key = _hashed([docid.encode("utf-8", "surrogatepass")])[0]
        return next((found for row in self._rows_of(key) if (found := self.at(row)).docid == docid), None)

    def _rows_of(self, key: np.uint64) -> Iterator[int]:
        """The rows whose hash is `key`."""
        row = int(np.searchsorted(self.hashes, key))
        while row < len(self.hashes) and self.hashes[row] == key:
            yield row
            row += 1

    def _read(self, place: int) -> Document:
        file, offset = self._files[place >> _OFFSET_BITS], place & ((1 << _OFFSET_BITS) - 1)
        return _parsed(file, offset, file.lines.text(offset))

    def _place(self, place: int) -> str:
        return self._files[place >> _OFFSET_BITS].lines.place(place & ((1 << _OFFSET_BITS) - 1))

    def _indexed(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(hashes, places) of all documents, by hash."""
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, file in enumerate(self._files):
            for keys, offsets in _scan(file):
                hashes.append(keys)
                places.append(offsets | (number << _OFFSET_BITS))
        keys, where = np.concatenate(hashes), np.concatenate(places)
        if not len(keys):
            raise InputError(", ".join(self.corpora), "holds no documents", "Is it the right file?")
        order = np.argsort(keys, kind="stable")
        keys, where = keys[order], where[order]
        again = self._repeated(keys, where)
        return (np.delete(keys, again), np.delete(where, again)) if again else (keys, where)

    def _repeated(self, keys: NDArray[np.uint64], places: NDArray[np.int64]) -> list[int]:
        """The rows of documents that came before, with equal contents, in another corpus."""
        again: list[int] = []
        equal = np.flatnonzero(keys[1:] == keys[:-1])
        for _, group in groupby(sorted({*equal.tolist(), *(equal + 1).tolist()}), key=lambda row: keys[row]):
            seen: dict[str, tuple[int, Document]] = {}
            for row in group:
                place = int(places[row])
                document = self._read(place)
                if document.docid not in seen:
                    seen[document.docid] = place, document
                    continue
                self._check_equal(seen[document.docid], (place, document))
                again.append(row)
        return again

    def _check_equal(self, first: tuple[int, Document], second: tuple[int, Document]) -> None:
        files = [self._files[place >> _OFFSET_BITS] for place, _ in (first, second)]
        offset = second[0] & ((1 << _OFFSET_BITS) - 1)
        docid, before = first[1].docid, self._place(first[0])
        if files[0].corpus == files[1].corpus:
            raise files[1].lines.fail(
                offset, f"document id {docid!r} was used before, at {before}", "Ids must be unique"
            )
        if first[1].contents != second[1].contents:
            problem = f"document {docid!r} has another text than at {before}"
            raise files[1].lines.fail(
                offset, problem, "Rename the ids of one corpus, or put the two in entries of their own"
            )


def _files(corpus: str, number: int) -> Iterator[_File]:
    if named.is_ir_datasets(corpus):
        documents = (json.dumps({"_id": d.docid, "title": d.title, "text": d.text}) for d in read_corpus(corpus))
        yield _File(LineFile(corpus, documents), False, number)
        return
    for path in corpus_files(corpus):
        yield _File(LineFile(path), suffix(path) == ".tsv", number)


def _scan(file: _File) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """(hashes of ids, offsets of lines) of the documents of a file, a block at a time."""
    offset, ids, offsets = 0, [], []
    id_of = _tsv_id if file.tsv else _json_id
    for raw in file.lines:
        found = None if file.tsv else _FIRST(raw)
        docid = id_of(file, offset, raw) if found is None else found[1] or found[2]
        if docid is not None:
            ids.append(docid)
            offsets.append(offset)
        offset += len(raw)
        if len(ids) == _BLOCK:
            yield _hashed(ids), np.array(offsets, np.int64)
            ids, offsets = [], []
    yield _hashed(ids), np.array(offsets, np.int64)


def _tsv_id(file: _File, offset: int, raw: bytes) -> bytes | None:
    docid, tab, _ = raw.partition(b"\t")
    return docid if tab and _PLAIN(docid) else _slow_id(file, offset, raw)


def _json_id(file: _File, offset: int, raw: bytes) -> bytes | None:
    found = _OTHER(raw)
    if found and sum(raw.count(name) for name in _IDS) == 1:  # else another key may go before the first
        return bytes(found[1] or found[2])
    return _slow_id(file, offset, raw)


def _slow_id(file: _File, offset: int, raw: bytes) -> bytes | None:
    """The id of any line; None of a blank one."""
    text = file.lines.decoded(raw, offset)
    if not (text if file.tsv else text.strip()):
        return None
    docid = _parsed(file, offset, text).docid
    if docid.split() != [docid] or "\0" in docid:
        check_id(file.lines.name, file.lines.number(offset), docid, "document id")
    return docid.encode()


def _hashed(ids: Sequence[bytes]) -> NDArray[np.uint64]:
    """64 bits of each id that are the same in every process, unlike Python's own hash: [k]."""
    if any(len(one) > _LONG for one in ids):
        ids = [one if len(one) <= _LONG else hashlib.blake2b(one, digest_size=16).digest() for one in ids]
    lengths = np.fromiter(map(len, ids), np.uint64, len(ids))
    width = -(-int(lengths.max(initial=1)) // 8) * 8
    words = np.array(ids, f"S{width}").view("<u8").reshape(len(ids), width // 8)  # [k, words of eight bytes]
    found = lengths
    for place in range(words.shape[1]):
        has = lengths > 8 * place  # what an id becomes must not depend on the longest one beside it
        found = np.where(has, mixed(found ^ words[:, place]), found)
    return found


def _parsed(file: _File, offset: int, text: str) -> Document:
    """The document of a line, as `read_corpus` reads it."""
    if file.tsv:
        columns = text.split("\t")
        if len(columns) not in (2, 3):
            problem = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise file.lines.fail(offset, problem, "Expected docid<TAB>text or docid<TAB>title<TAB>text")
        return Document(columns[0], columns[-1], columns[1] if len(columns) == 3 else "")
    value = file.lines.json(offset, text)
    try:
        return _document(file.lines.name, None, value)
    except InputError:
        return _document(file.lines.name, file.lines.number(offset), value)


def _document(name: str, number: int | None, value: dict[str, Any]) -> Document:
    docid = text_field(name, number, value, _ID)
    text = text_field(name, number, value, ("text", "contents"))
    return Document(docid, text, text_field(name, number, value, ("title",), default=""))
