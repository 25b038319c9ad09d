"""What is to be reranked: the queries of a run, their texts, and the texts of the documents at its top."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from gradir.data.corpus import count_documents, read_corpus
from gradir.data.runs import iter_rankings
from gradir.data.topics import read_topics
from gradir.errors import InputError
from gradir.rerank.ordering import Candidates

WINDOW = 32  # queries whose texts are sorted by length together; what a kill can cost

Windows = Iterator[tuple[int, list[tuple[str, Sequence[str]]]]]


def windows(run: Path) -> Windows:
    """(number, [(qid, docids best first), …]) of the run's queries, in file order, `WINDOW` at a time."""
    queries = ((qid, ranking.docids) for qid, ranking in iter_rankings(run))
    return enumerate(iter(lambda: list(islice(queries, WINDOW)), []))


class Texts:
    """The texts that a run asks for. The corpus is read once; only those of its documents that are needed are kept.

    Args:
        run: The run.
        corpus: Where the documents are.
        topics: Where the queries are.
        hits: How many of a query's documents are reranked.
        done: The windows that need no texts any more.

    Raises:
        InputError: A query or document of the run is not there.
    """

    def __init__(self, run: Path, corpus: str, topics: str, hits: int, done: Collection[int]):
        self._hits = hits
        wanted: dict[str, str] = {}  # docid: a query that found it
        qids: list[str] = []
        for number, window in windows(run):
            if number not in done:
                qids += [qid for qid, _ in window]
                wanted |= {docid: qid for qid, docids in window for docid in docids[:hits]}
        asked = set(qids)
        self._queries = {query.qid: query.text for query in read_topics(topics) if query.qid in asked}
        self._check(run, topics, "query", [qid for qid in qids if qid not in self._queries])
        self._documents = dict(_found(corpus, wanted))
        missing = [f"{docid} of query {qid}" for docid, qid in wanted.items() if docid not in self._documents]
        self._check(run, corpus, "document", missing)

    @staticmethod
    def _check(run: Path, place: str, what: str, missing: Sequence[str]) -> None:
        if missing:
            problem = f"{what} {missing[0]} is not in {place}"
            more = f" (nor are {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(run, problem + more, "Do run, corpus and topics belong together?")

    def candidates(self, window: Sequence[tuple[str, Sequence[str]]]) -> list[Candidates]:
        """The queries of a window with their texts."""
        return [
            Candidates(qid, self._queries[qid], docids, [self._documents[docid] for docid in docids[: self._hits]])
            for qid, docids in window
        ]


def _found(corpus: str, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    from tqdm import tqdm

    documents = tqdm(
        read_corpus(corpus),
        desc="read corpus",
        total=count_documents(corpus),
        unit=" documents",
        leave=False,
        disable=None,
    )
    return ((document.docid, document.contents) for document in documents if document.docid in wanted)
