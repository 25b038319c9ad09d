"""Which documents of a corpus the model gets to see: drawn by seed, within bounds of length, evenly over strata if wished.

A document's place in the draw is a hash of seed and id (bottom-k sampling): it depends neither on the order of the corpus nor on
how many are drawn, so that a draw of 2,000 begins with the draw of 1,000. No text stays in memory, and only documents that come
up are measured.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradir.data import named
from gradir.data.corpus import corpus_files, read_corpus
from gradir.data.jsonl import read_objects
from gradir.data.list_order import mixed, salt
from gradir.data.records import Document
from gradir.data.text import suffix
from gradir.data.texts import Texts
from gradir.errors import InputError

Unit = Literal["characters", "tokens"]
_QUARTERS = 4
_BLOCK = 1 << 12
_ID = ("_id", "id", "docid")


@dataclass(frozen=True)
class Bounds:
    """How long a document may be, both ends inclusive.

    Attributes:
        shortest: Characters or tokens of its contents (title and text); blank documents are never drawn.
        longest: As well; None: any.
        unit: What is counted; tokens are the model's.
    """

    shortest: int = 1
    longest: int | None = None
    unit: Unit = "characters"

    def problems(self) -> list[str]:
        """What is wrong with them."""
        if self.shortest < 0:
            return [f"--min-length {self.shortest} is below 0"]
        if self.longest is not None and self.longest < max(1, self.shortest):
            return [f"--max-length {self.longest} is below --min-length {self.shortest}"]
        return []

    def reason(self, text: str, count: Callable[[str], int]) -> str | None:
        """Why a text is not taken: blank, too_short, too_long; None where it is.

        Args:
            text: Of a document.
            count: Its tokens; asked only where they are the unit.
        """
        if not text.strip():
            return "blank"
        length = len(text) if self.unit == "characters" else count(text)
        if length < self.shortest:
            return "too_short"
        return "too_long" if self.longest is not None and length > self.longest else None


class Draw:
    """Documents as they come up in a draw.

    Args:
        texts: The corpus.
        number: How many; 0: all, in the order of the corpus.
        seed: Of the draw.
        reason: Why a text is not taken, or None: `Bounds.reason`.
        leave_out: Ids that are not drawn: those of the examples.
        strata: Draw from all strata in turn; where one is exhausted the others make up for it.

    Attributes:
        left_out: Documents that came up and were left out, by reason.
        drawn: Documents drawn from each stratum.
    """

    def __init__(
        self,
        texts: Texts,
        number: int,
        seed: int,
        reason: Callable[[str], str | None],
        leave_out: Collection[str] = (),
        strata: Strata | None = None,
    ):
        self._texts, self._number, self._seed = texts, number, seed
        self._reason = reason
        self._leave_out, self._strata = frozenset(leave_out), strata
        self.left_out: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Document]:
        queues = [self._good(rows, name) for name, rows in self._orders()]
        yield from islice(_in_turn(queues), self._number or None)

    def _orders(self) -> list[tuple[str, NDArray[np.int64]]]:
        """The rows of each stratum in the order in which they come up."""
        if not self._number:
            return [("", self._texts.in_order())]
        keys = mixed(self._texts.hashes ^ np.uint64(salt(self._seed, "documents")))
        order = np.argsort(keys, kind="stable")
        if self._strata is None:
            return [("", order)]
        of = self._strata.of[order]
        return [(name, order[of == number]) for number, name in enumerate(self._strata.names)]

    def _good(self, rows: NDArray[np.int64], name: str) -> Iterator[Document]:
        for row in rows:
            document = self._texts.at(int(row))
            reason = self._why_not(document)
            if reason is None:
                self.drawn[name] += 1
                yield document
            else:
                self.left_out[reason] += 1

    def _why_not(self, document: Document) -> str | None:
        if document.docid in self._leave_out:
            return "example"
        return self._reason(document.contents)


def _in_turn(queues: Sequence[Iterator[Document]]) -> Iterator[Document]:
    """One of each, again and again; those that are empty drop out."""
    left = list(queues)
    while left:
        still = []
        for queue in left:
            found = next(queue, None)
            if found is not None:
                yield found
                still.append(queue)
        left = still


class Strata(NamedTuple):
    """The stratum of each row of a corpus, and what the strata are called."""

    of: NDArray[np.int64]
    names: list[str]


def strata(texts: Texts, corpus: str, by: str) -> Strata:
    """The strata of a corpus.

    Args:
        texts: The corpus, opened.
        corpus: The same, by name.
        by: `length` (quarters by characters), `file` (of a folder), or `field:NAME`, a key of the JSON lines (`metadata.year`
            for one inside another); documents without it are a stratum of their own.

    Raises:
        InputError: The corpus has no such field, or no files.
    """
    if by == "length":
        return _quarters(texts)
    if named.is_ir_datasets(corpus):
        raise InputError(corpus, f"has no files to stratify by {by}", "Take --stratify length")
    labels = _files(corpus) if by == "file" else _fields(corpus, by.partition(":")[2])
    rows_of = np.zeros(len(texts), np.int64)
    known: dict[str, int] = {}
    while block := list(islice(labels, _BLOCK)):
        numbers = [known.setdefault(label, len(known)) for _, label in block]
        rows_of[texts.rows([docid for docid, _ in block])] = numbers
    return Strata(rows_of, list(known))


def _quarters(texts: Texts) -> Strata:
    lengths = np.empty(len(texts), np.int64)
    for row in texts.in_order():
        lengths[row] = len(texts.at(int(row)).contents)
    edges = np.quantile(lengths, np.arange(1, _QUARTERS) / _QUARTERS, method="inverted_cdf").astype(np.int64)
    ends = [0, *edges.tolist(), int(lengths.max())]
    names = [f"{low}-{high} characters" for low, high in pairwise(ends)]
    return Strata(np.searchsorted(edges, lengths, side="left"), names)


def _files(corpus: str) -> Iterator[tuple[str, str]]:
    for path in corpus_files(corpus):
        for document in read_corpus(path):
            yield document.docid, path.name


def _fields(corpus: str, name: str) -> Iterator[tuple[str, str]]:
    """(docid, the value of a field) of each document."""
    found = False
    for path in corpus_files(corpus):
        if suffix(path) == ".tsv":
            raise InputError(path, f"has no field {name}: it is a TSV file", "Take --stratify length or file")
        for _, value in read_objects(path):
            inner = _inner(value, name)
            found = found or inner is not None
            docid = next(value[key] for key in _ID if key in value)
            yield str(docid), inner if isinstance(inner, str) else json.dumps(inner, sort_keys=True)
    if not found:
        raise InputError(corpus, f"no document has a field `{name}`", "Look at a line of the corpus")


def _inner(value: Any, name: str) -> Any:
    """`value["a"]["b"]` for `a.b`; None where there is none."""
    for key in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
