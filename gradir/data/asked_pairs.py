"""Which (query, document) pairs are scored: those of graded lists, of runs, and judged ones, each once; and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gradir.data.lists import read_lists
from gradir.data.qrels import read_qrels
from gradir.data.runs import aligned, iter_columns
from gradir.data.topics import read_topics
from gradir.errors import InputError

if TYPE_CHECKING:
    from gradir.data.texts import Texts


class Asked(NamedTuple):
    """One query and the documents that are scored for it.

    Attributes:
        qid: Its id.
        query: Its text, where the source has it.
        docids: The documents, in the order of the sources.
        texts: {docid: text} of those whose source has it.
    """

    qid: str
    query: str | None
    docids: list[str]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Pairs:
    """All pairs, streamed anew each time: the queries of the first source in its order, then those of the next.

    Attributes:
        lists: Graded lists.
        runs: Run files.
        qrels: Judgements: all judged documents.
        hits: Documents taken from each run per query; None takes all.
    """

    lists: Path | None = None
    runs: Sequence[Path] = ()
    qrels: str | None = None
    hits: int | None = None

    def __iter__(self) -> Iterator[Asked]:
        for qid, found in aligned(list(self._streams())):
            known = [one for one in found if one]
            docids = list(dict.fromkeys(docid for one in known for docid in one.docids))
            texts = {docid: text for one in known for docid, text in one.texts.items()}
            yield Asked(qid, next((one.query for one in known if one.query is not None), None), docids, texts)

    def _streams(self) -> Iterator[Iterator[tuple[str, Asked]]]:
        if self.lists:
            yield _of_lists(self.lists)
        for path in self.runs:
            yield _of_run(path, self.hits)
        if self.qrels:
            yield ((qid, Asked(qid, None, list(of), {})) for qid, of in read_qrels(self.qrels).items())

    def windows(self, size: int) -> Iterator[tuple[int, list[Asked]]]:
        """(number, so many queries) until there are no more."""
        queries = iter(self)
        return enumerate(iter(lambda: list(islice(queries, size)), []))


def _of_lists(path: Path) -> Iterator[tuple[str, Asked]]:
    for one in read_lists(path):
        texts = {doc.docid: doc.text for doc in one.docs if doc.text is not None}
        yield one.qid, Asked(one.qid, one.query, [doc.docid for doc in one.docs], texts)


def _of_run(path: Path, hits: int | None) -> Iterator[tuple[str, Asked]]:
    for qid, columns in iter_columns(path):
        yield qid, Asked(qid, None, columns.docids[:hits].to_pylist(), {})


@dataclass
class TextsOfPairs:
    """The texts of queries and documents by id.

    Attributes:
        topics: Where the queries are; those that their source has need none.
        documents: Where the documents are, likewise.
    """

    topics: str | None
    documents: Texts | None
    _queries: dict[str, str] = field(default_factory=dict)

    def check(self, pairs: Iterable[Asked]) -> tuple[int, int]:
        """Read the queries; (queries, pairs).

        Raises:
            InputError: A query or document is nowhere.
        """
        known = {query.qid: query.text for query in read_topics(self.topics)} if self.topics else {}
        lost_queries: list[str] = []
        lost: list[str] = []
        queries = number = 0
        for one in pairs:
            queries, number = queries + 1, number + len(one.docids)
            text = known.get(one.qid, one.query)
            if text is None:
                lost_queries.append(one.qid)
            else:
                self._queries[one.qid] = text
            lost += self._lost(one)
        _refuse("query", lost_queries, self.topics or "--topics")
        _refuse("document", lost, ", ".join(self.documents.corpora) if self.documents else "--corpus")
        return queries, number

    def _lost(self, one: Asked) -> list[str]:
        wanted = [docid for docid in one.docids if docid not in one.texts]
        if self.documents is None or not wanted:
            return wanted
        return [wanted[i] for i in np.flatnonzero(self.documents.rows(wanted) < 0).tolist()]

    def query(self, one: Asked) -> str:
        """The text of a query that was checked."""
        return self._queries[one.qid]

    def document(self, one: Asked, docid: str) -> str:
        """The text of a document that was checked."""
        text = one.texts.get(docid)
        if text is None:
            if self.documents is None:
                raise RuntimeError(f"document {docid} before check()")
            text = self.documents.contents(docid)
        return text


def _refuse(what: str, lost: Sequence[str], place: str) -> None:
    if not lost:
        return
    more = f" (nor are {len(lost) - 1} more)" if len(lost) > 1 else ""
    if place.startswith("--"):
        raise InputError(f"{what} {lost[0]}", f"its text is nowhere{more}", f"Give {place}")
    raise InputError(place, f"{what} {lost[0]} is not in it{more}", "Do the files belong together?")
