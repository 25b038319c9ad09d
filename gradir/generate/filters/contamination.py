"""Texts that give away what a test will ask: generated data is compared with the queries and documents of test collections.

Two rules. n-grams: a text shares a run of n words with a test text (13 words: Brown et al., arXiv 2005.14165, appendix C); a test
text of fewer words must be the whole text. Near duplicates: Jaccard's similarity of runs of five characters (`similar`) reaches a
threshold. Queries are compared with test queries, generated documents with test documents. Documents that queries were made from
are not looked at: they come from the corpus that is searched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradir.data.corpus import read_corpus
from gradir.data.qrels import read_qrels
from gradir.data.texts import Texts
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.generate.filters import Drop, Filter, Items
from gradir.generate.filters.similar import Signatures
from gradir.generate.filters.words import words
from gradir.generate.generated import Generated, Item

_BLOCK = 1 << 20


class HeldOut(NamedTuple):
    """A collection to be kept out of the data.

    Attributes:
        folder: BEIR folder.
        split: The queries judged in qrels/SPLIT.tsv and the documents judged relevant to them; None: all.
    """

    folder: Path
    split: str | None

    def files(self) -> list[Path]:
        """What is read of it."""
        found = [self.folder / "queries.jsonl", self.folder / "corpus.jsonl"]
        return found if self.split is None else [*found, self.folder / "qrels" / f"{self.split}.tsv"]

    def problems(self) -> list[str]:
        """What is wrong with it."""
        missing = [file for file in self.files() if not file.is_file()]
        splits = sorted(file.stem for file in (self.folder / "qrels").glob("*.tsv"))
        there = f" (there are: {', '.join([*splits, 'all'])})" if splits else ""
        return [
            f"--against {self.folder}: no {file.relative_to(self.folder)}{there if file.suffix == '.tsv' else ''}"
            for file in missing
        ]

    def queries(self) -> Iterator[tuple[str, str]]:
        """(id, text) of its queries."""
        asked = None if self.split is None else read_qrels(self.files()[2])
        found = ((query.qid, query.text) for query in read_topics(self.folder) if asked is None or query.qid in asked)
        yield from self._some(found, "queries")

    def documents(self) -> Iterator[tuple[str, str]]:
        """(id, title and text) of its documents."""
        asked = None if self.split is None else read_qrels(self.files()[2])
        relevant = {docid for grades in (asked or {}).values() for docid, grade in grades.items() if grade > 0}
        documents = read_corpus(self.folder)
        found = ((one.docid, one.contents) for one in documents if asked is None or one.docid in relevant)
        yield from self._some(found, "documents")

    def _some(self, texts: Iterable[tuple[str, str]], what: str) -> Iterator[tuple[str, str]]:
        empty = True
        for one in texts:
            empty = False
            yield one
        if empty:
            raise InputError(self.folder, f"holds no {what} of the split {self.split}", "Give --against-split all")


def held_out(folders: Iterable[str | Path], split: str) -> list[HeldOut]:
    """Collections to be kept out; the split `all` means all queries and documents."""
    return [HeldOut(Path(folder), None if split == "all" else split) for folder in folders]


class Runs:
    """The runs of n words of many texts, as 64-bit hashes: eight bytes each."""

    def __init__(self, n: int, texts: Iterable[str]):
        self.n = n
        blocks, newest = [np.zeros(0, np.uint64)], list[int]()
        for text in texts:
            newest += map(_hashed, self._of(words(text)))
            if len(newest) >= _BLOCK:
                blocks, newest = [*blocks, np.array(newest, np.uint64)], []
        self._hashes = np.unique(np.concatenate([*blocks, np.array(newest, np.uint64)]))

    def shared(self, text: str) -> str | None:
        """The first run of words that a text shares with one of the many."""
        found = list(self._of(words(text)))
        if not found or not len(self._hashes):
            return None
        keys = np.array(list(map(_hashed, found)), np.uint64)
        places = np.searchsorted(self._hashes, keys).clip(max=len(self._hashes) - 1)
        hit = np.flatnonzero(self._hashes[places] == keys)
        return found[hit[0]].strip() if len(hit) else None

    def _of(self, text: list[str]) -> Iterator[str]:
        """The runs of a text; a shorter one counts as a whole, marked so that it is no part of a longer one."""
        if 0 < len(text) < self.n:
            yield f" {' '.join(text)} "
        for place in range(len(text) - self.n + 1):
            yield " ".join(text[place : place + self.n])


def _hashed(run: str) -> int:
    return int.from_bytes(hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class _Side(NamedTuple):
    """Queries or documents: what is compared with what."""

    name: str
    id_of: Callable[[Item | _Ids], str]
    text_of: Callable[[Generated, str], str]
    held_out: Callable[[HeldOut], Iterator[tuple[str, str]]]
    file: Callable[[HeldOut], Path]


class _Ids(NamedTuple):
    """A record without its content."""

    number: int
    qid: str
    docid: str


_QUERIES = _Side("query", lambda one: one.qid, Generated.query, HeldOut.queries, lambda one: one.files()[0])
_DOCUMENTS = _Side("document", lambda one: one.docid, Generated.document, HeldOut.documents, lambda one: one.files()[1])


def _sides(source: Generated) -> list[_Side]:
    return [_QUERIES, _DOCUMENTS] if source.kind == "documents" else [_QUERIES]


def shares_words(source: Generated, against: list[HeldOut], n: int) -> Filter:
    """Drop records that share a run of n words with a test text."""

    def drop(items: Items) -> Iterator[Drop]:
        known = [
            (side, Runs(n, (text for one in against for _, text in side.held_out(one)))) for side in _sides(source)
        ]
        for item in items:
            for side, runs in known:
                shared = runs.shared(side.text_of(source, side.id_of(item)))
                if shared is not None:
                    yield Drop(item.number, f"test_{side.name}", shared)
                    break

    return drop


def resembles(source: Generated, against: list[HeldOut], threshold: float) -> Filter:
    """Drop records that are nearly the same as a test text."""

    def drop(items: Items) -> Iterator[Drop]:
        records = [_Ids(item.number, item.qid, item.docid) for item in items]
        for side in _sides(source):
            near = _alike(source, side, dict.fromkeys(map(side.id_of, records)), against, threshold)
            left = []
            for one in records:
                found = near.get(side.id_of(one))
                if found is None:
                    left.append(one)
                else:
                    yield Drop(one.number, f"near_test_{side.name}", found)
            records = left

    return drop


def _alike(
    source: Generated, side: _Side, ids: Iterable[str], against: list[HeldOut], threshold: float
) -> dict[str, dict[str, Any]]:
    """Of each text that is like a test text: which, and how similar."""
    signatures, held_out = Signatures(threshold), list[tuple[int, str]]()
    for number, one in enumerate(against):
        for name, text in side.held_out(one):
            signatures.add(text)
            held_out.append((number, name))
    own, first = list(ids), len(held_out)
    for name in own:
        signatures.add(side.text_of(source, name))
    with ExitStack() as stack:
        texts = [stack.enter_context(Texts(side.file(one))) for one in against]

        def text_of(row: int) -> str:
            if row >= first:
                return side.text_of(source, own[row - first])
            number, name = held_out[row]
            return texts[number].contents(name)

        near = signatures.near(range(first, first + len(own)), text_of, fixed=first)
        return {
            own[row - first]: {"of": held_out[other][1], "similarity": round(similarity, 6)}
            for row, other, similarity in near
        }
