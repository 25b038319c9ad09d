"""Query by query: runs and judgements to graded lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradir.data.qrels import read_qrels
from gradir.data.records import GradedDoc, GradedList
from gradir.data.runs import aligned, iter_columns
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError
from gradir.mine.choose import Question, Rules, mined
from gradir.mine.copies import Copies
from gradir.mine.tally import Tally, table

if TYPE_CHECKING:
    from gradir.data.run_reading import QueryColumns

_HITS = 1 << 16  # of queries that are mined together: few enough to stay in a processor's cache


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

    def questions(self) -> Iterator[Question]:
        """The queries of the runs that have positives."""
        paths = [*self.sources.runs, *([self.sources.teacher] if self.sources.teacher else [])]
        for qid, found in _with_bar(aligned([iter_columns(path) for path in paths])):
            teacher = found.pop() if self.sources.teacher else None
            if not any(found):
                continue  # known to the teacher alone
            if qid in self.judged:
                yield self.question(qid, found, teacher)
            else:
                self.tally.unjudged += 1

    def question(self, qid: str, runs: Sequence[QueryColumns | None], teacher: QueryColumns | None = None) -> Question:
        """What is asked about a query with positives.

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
        copies = self._copies.of(self._positives(qid)) if self._copies else ()
        return Question(qid, runs, self.judged[qid], teacher, copies)

    def lists_of(self, questions: Sequence[Question]) -> Iterator[GradedList]:
        """The lists of those queries that have a negative, in their order."""
        found = mined(questions, self.rules, self.sources.teacher is not None)
        positives = [self._positives(one.qid) for one in questions]
        self.tally.add(found, sum(map(len, positives)))
        labels = map(self._labels.__getitem__, found.runs.tolist())
        scores: Iterable[float | None] = found.scores.tolist() if self._scored else repeat(None)
        negatives = list(map(GradedDoc, found.docids, repeat(0), labels, scores))
        for one, good, held, (start, end) in zip(questions, positives, found.held, pairwise(found.bounds), strict=True):
            if end > start:
                docs = [GradedDoc(docid, one.judged[docid], "qrels", held.get(docid)) for docid in good]
                yield GradedList(one.qid, self._queries[one.qid], (*docs, *negatives[start:end]))

    def _positives(self, qid: str) -> list[str]:
        return [docid for docid, grade in self.judged[qid].items() if grade >= self.rules.min_grade]


def graded_lists(sources: Sources, rules: Rules, tally: Tally) -> Iterator[GradedList]:
    """The list of each query that has a negative, in the order of the first run; what is not in it, of the next.

    Runs with the same queries in the same order are read with some queries in memory (`blocks`).

    Args:
        sources: What is mined.
        rules: What makes a negative.
        tally: Counts what becomes of it.

    Raises:
        InputError: A query with positives is not among the topics, or no query of the runs has positives.
        GradirError: No negative is left.
    """
    mining, queries = Mining(sources, rules, tally), 0
    for block in blocks(mining.questions()):
        queries += len(block)
        yield from mining.lists_of(block)
    tally.not_found = len(mining.judged) - queries
    if not queries:
        problem = f"none of its queries has a positive in {sources.qrels} (grade {rules.min_grade} or above)"
        raise InputError(sources.runs[0], problem, "Do run and qrels belong together?")
    if not tally.written:
        raise GradirError(f"no query has a negative left; loosen the rules.\n{table(tally.counts())}")


def blocks(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """Queries that are mined together: so many that their runs and the teacher have some 65,000 hits."""
    block, held = list[Question](), 0
    for one in questions:
        block.append(one)
        held += sum(len(run.scores) for run in (*one.runs, one.teacher) if run is not None)
        if held >= _HITS:
            yield block
            block, held = [], 0
    if block:
        yield block


def _with_positives(qrels: str, min_grade: int) -> dict[str, dict[str, int]]:
    return {qid: of for qid, of in read_qrels(qrels).items() if max(of.values()) >= min_grade}


def _with_bar(queries: Iterator[tuple[str, list[Any]]]) -> Iterator[tuple[str, list[Any]]]:
    from tqdm import tqdm

    yield from tqdm(queries, desc="mine", unit=" queries", leave=False, disable=None)
