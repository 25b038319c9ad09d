"""Query by query: runs and judgements to graded lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.data.qrels import read_qrels
from gradir.data.records import GradedDoc, GradedList
from gradir.data.runs import aligned, iter_columns
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError
from gradir.mine.choose import Rules, Teacher, mined
from gradir.mine.copies import Copies
from gradir.mine.tally import Tally, table

if TYPE_CHECKING:
    from gradir.data.run_reading import QueryColumns


@dataclass(frozen=True)
class Sources:
    """What is mined.

    Attributes:
        runs: Run files.
        qrels: The judgements.
        topics: The queries' texts.
        teacher: A run whose scores stand in for those of the runs.
        corpus: Where copies of positives are looked for; None: nowhere.
    """

    runs: Sequence[Path]
    qrels: str
    topics: str
    teacher: Path | None = None
    corpus: str | None = None

    def names(self) -> list[str]:
        """What the runs are called: the names of their files, or their paths where two have one name."""
        stems = [path.stem for path in self.runs]
        return stems if len(set(stems)) == len(stems) else [str(path) for path in self.runs]


class Mining:
    """What is known of the queries, held in memory, and the rules.

    Args:
        sources: What is mined.
        rules: What makes a negative.
        tally: Counts what becomes of it.
    """

    def __init__(self, sources: Sources, rules: Rules, tally: Tally):
        self.sources, self.rules, self.tally = sources, rules, tally
        self.judged = _with_positives(sources.qrels, rules.min_grade)
        self._queries = {query.qid: query.text for query in read_topics(sources.topics) if query.qid in self.judged}
        self._copies: Copies | None = None
        if sources.corpus:
            self._copies = Copies(sources.corpus, {docid for qid in self.judged for docid in self._positives(qid)})
        self._labels = [f"run:{name}" for name in sources.names()]
        self._scored = bool(sources.teacher) or len(sources.runs) == 1  # on one scale

    def list_of(
        self, qid: str, runs: Sequence[QueryColumns | None], teacher: Teacher | None = None
    ) -> GradedList | None:
        """The graded list of a query with positives; None where it has no negative.

        Args:
            qid: The query.
            runs: Its documents in each run, best first.
            teacher: Its scores that stand in for theirs.

        Raises:
            InputError: It is not among the topics.
        """
        if qid not in self._queries:
            problem = f"query {qid} of the run is not in it"
            raise InputError(self.sources.topics, problem, "Do run and topics belong together?")
        judged, positives = self.judged[qid], self._positives(qid)
        copies = self._copies.of(positives) if self._copies else ()
        found = mined(qid, runs, judged, self.rules, teacher, copies)
        self.tally.add(found, len(positives))
        if not found.docids:
            return None
        nothing: list[Any] = [None] * len(found.docids)
        held, scores = (found.held, found.scores) if self._scored else ({}, nothing)
        docs = [GradedDoc(docid, judged[docid], "qrels", held.get(docid)) for docid in positives]
        labels = [self._labels[run] for run in found.runs]
        docs += map(GradedDoc, found.docids, repeat(0), labels, scores)
        return GradedList(qid, self._queries[qid], tuple(docs))

    def _positives(self, qid: str) -> list[str]:
        return [docid for docid, grade in self.judged[qid].items() if grade >= self.rules.min_grade]


def graded_lists(sources: Sources, rules: Rules, tally: Tally) -> Iterator[GradedList]:
    """The list of each query that has a negative, in the order of the first run; what is not in it, of the next.

    Runs with the same queries in the same order are read with one query in memory.

    Args:
        sources: What is mined.
        rules: What makes a negative.
        tally: Counts what becomes of it.

    Raises:
        InputError: A query with positives is not among the topics, or no query of the runs has positives.
        GradirError: No negative is left.
    """
    mining, queries = Mining(sources, rules, tally), 0
    paths = [*sources.runs, *([sources.teacher] if sources.teacher else [])]
    for qid, found in _with_bar(aligned([iter_columns(path) for path in paths])):
        teacher = Teacher(found.pop()) if sources.teacher else None
        if not any(found):
            continue  # known to the teacher alone
        if qid not in mining.judged:
            tally.unjudged += 1
            continue
        queries += 1
        one = mining.list_of(qid, found, teacher)
        if one:
            yield one
    tally.not_found = len(mining.judged) - queries
    if not queries:
        problem = f"none of its queries has a positive in {sources.qrels} (grade {rules.min_grade} or above)"
        raise InputError(sources.runs[0], problem, "Do run and qrels belong together?")
    if not tally.written:
        raise GradirError(f"no query has a negative left; loosen the rules.\n{table(tally.counts())}")


def _with_positives(qrels: str, min_grade: int) -> dict[str, dict[str, int]]:
    return {qid: of for qid, of in read_qrels(qrels).items() if max(of.values()) >= min_grade}


def _with_bar(queries: Iterator[tuple[str, list[Any]]]) -> Iterator[tuple[str, list[Any]]]:
    from tqdm import tqdm

    yield from tqdm(queries, desc="mine", unit=" queries", leave=False, disable=None)
