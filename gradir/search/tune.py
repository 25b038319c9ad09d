"""The parameters of two-step search, chosen on queries with known answers: the fastest that lose no more than was allowed.

Measure with dev queries, never with those that results will be reported for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from gradir.data.measures import evaluate_run
from gradir.data.records import Query
from gradir.data.vectors import SparseVectors
from gradir.errors import GradirError

if TYPE_CHECKING:
    from gradir.search.impact import TwoStepSearcher

_ROUNDS, _WARM_UP = 3, 5
QUERY_TERMS = (4, 6, 8, 12, 16, 24, 0)  # 0: all of them
_CANDIDATES = (1, 2, 5, 10, 25)  # times the hits


@dataclass(frozen=True)
class Trial:
    """One choice of parameters.

    Attributes:
        query_terms: Terms of a query in the first step; 0 is all.
        candidates: Documents rescored.
        value: The measure, mean over the judged queries.
        loss: How far that is below exact search.
        queries_per_second: All queries in one batch, all threads, without encoding.
    """

    query_terms: int
    candidates: int
    value: float
    loss: float
    queries_per_second: float


@dataclass(frozen=True)
class Tuning:
    """What was tried.

    Attributes:
        measure: Its name.
        exact: The measure of exact search.
        trials: Every choice that was tried.
        chosen: The fastest within the allowed loss.
    """

    measure: str
    exact: float
    trials: Sequence[Trial]
    chosen: Trial

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)

    def table(self) -> str:
        """The trials, a line each; `*` marks the chosen one."""
        lines = [f"exact: {self.measure} {self.exact:.4f}", "  query terms  candidates  measure    loss  queries/s"]
        for trial in self.trials:
            terms = "all" if not trial.query_terms else str(trial.query_terms)
            mark = "*" if trial is self.chosen else " "
            numbers = f"{trial.value:>7.4f} {trial.loss:>7.4f} {trial.queries_per_second:>10.0f}"
            lines.append(f"{mark} {terms:>11} {trial.candidates:>11}  {numbers}")
        return "\n".join(lines)


def tune(
    searcher: TwoStepSearcher,
    queries: Sequence[Query],
    encoded: SparseVectors,
    qrels: Mapping[str, Mapping[str, int]],
    hits: int,
    measure: str,
    max_loss: float,
) -> Tuning:
    """Try a grid of parameters on judged queries.

    Args:
        searcher: Of the index; its parameters are changed.
        queries: Q judged queries.
        encoded: Their vectors, Q rows.
        qrels: `{qid: {docid: grade}}`.
        hits: Documents of a query.
        measure: As `gradir evaluate` names it.
        max_loss: Largest loss of the measure that is allowed.

    Raises:
        GradirError: No choice loses so little.
    """
    for _ in range(_WARM_UP):  # Java compiles what runs often, and the first choices would look slow
        searcher.search(encoded, hits)
    exact = _measured(searcher, 0, 0, queries, encoded, qrels, hits, measure)[0]
    trials = []
    for terms, candidates in _grid(hits):
        value, seconds = _measured(searcher, terms, candidates, queries, encoded, qrels, hits, measure)
        trials.append(Trial(terms, candidates, value, exact - value, len(queries) / seconds))
    fit = [trial for trial in trials if trial.loss <= max_loss]
    if not fit:
        least = min(trial.loss for trial in trials)
        raise GradirError(
            f"no choice keeps the loss of {measure} within {max_loss}; the least is {least:.4f}. Index with more terms of "
            "each document (--top-k), or allow more (--max-loss)."
        )
    return Tuning(measure, exact, trials, max(fit, key=lambda trial: trial.queries_per_second))


def _grid(hits: int) -> Iterator[tuple[int, int]]:
    for terms in QUERY_TERMS:
        for times in _CANDIDATES:
            yield terms, times * hits


def _measured(
    searcher: TwoStepSearcher,
    terms: int,
    candidates: int,
    queries: Sequence[Query],
    encoded: SparseVectors,
    qrels: Mapping[str, Mapping[str, int]],
    hits: int,
    measure: str,
) -> tuple[float, float]:
    """(the measure, seconds): the median of some rounds, but one round of exact search, which nobody asks the time of."""
    searcher.query_terms, searcher.candidates = terms, candidates
    seconds = []
    for _ in range(_ROUNDS if candidates else 1):
        started = time.perf_counter()
        found = searcher.search(encoded, hits)
        seconds.append(time.perf_counter() - started)
    run = ((query.qid, ranking.hits()) for query, ranking in zip(queries, found, strict=True))
    return evaluate_run(qrels, run, [measure]).means[measure], median(seconds)
