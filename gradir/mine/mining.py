"""Query by query: runs and judgements to graded lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.data.qrels import read_qrels
from gradir.data.records import GradedDoc, GradedList
from gradir.data.runs import aligned, iter_columns
from gradir.data.topics import read_topics
from gradir.errors import GradirError, InputError
from gradir.mine.choose import Mined, Rules, Teacher, mined
from gradir.mine.copies import Copies
from gradir.mine.tally import Tally, table


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
    judged = _with_positives(sources.qrels, rules.min_grade)
    queries = {query.qid: query.text for query in read_topics(sources.topics) if query.qid in judged}
    positives = {qid: [docid for docid, grade in of.items() if grade >= rules.min_grade] for qid, of in judged.items()}
    copies = Copies(sources.corpus, {docid for of in positives.values() for docid in of}) if sources.corpus else None
    names, scored = sources.names(), bool(sources.teacher) or len(sources.runs) == 1
    paths = [*sources.runs, *([sources.teacher] if sources.teacher else [])]
    found_queries = 0
    for qid, found in _with_bar(aligned([iter_columns(path) for path in paths])):
        teacher = Teacher(found.pop()) if sources.teacher else None
        if not any(found):
            continue  # known to the teacher alone
        if qid not in judged:
            tally.unjudged += 1
            continue
        if qid not in queries:
            raise InputError(
                sources.topics, f"query {qid} of the run is not in it", "Do run and topics belong together?"
            )
        found_queries += 1
        alike = copies.of(positives[qid]) if copies else ()
        one = mined(qid, found, judged[qid], rules, teacher, alike)
        tally.add(one, len(positives[qid]))
        if one.docids:
            good = [_positive(docid, judged[qid][docid], one, scored) for docid in positives[qid]]
            yield GradedList(qid, queries[qid], (*good, *_negatives(one, names, scored)))
    tally.not_found = len(judged) - found_queries
    if not found_queries:
        problem = f"none of its queries has a positive in {sources.qrels} (grade {rules.min_grade} or above)"
        raise InputError(sources.runs[0], problem, "Do run and qrels belong together?")
    if not tally.written:
        raise GradirError(f"no query has a negative left; loosen the rules.\n{table(tally.counts())}")


def _with_positives(qrels: str, min_grade: int) -> dict[str, dict[str, int]]:
    return {qid: of for qid, of in read_qrels(qrels).items() if max(of.values()) >= min_grade}


def _positive(docid: str, grade: int, one: Mined, scored: bool) -> GradedDoc:
    return GradedDoc(docid, grade, "qrels", one.held.get(docid) if scored else None)


def _negatives(one: Mined, names: Sequence[str], scored: bool) -> Iterator[GradedDoc]:
    for docid, run, score in zip(one.docids, one.runs.tolist(), one.scores.tolist(), strict=True):
        yield GradedDoc(docid, 0, f"run:{names[run]}", score if scored else None)


def _with_bar(queries: Iterator[tuple[str, list[Any]]]) -> Iterator[tuple[str, list[Any]]]:
    from tqdm import tqdm

    yield from tqdm(queries, desc="mine", unit=" queries", leave=False, disable=None)
