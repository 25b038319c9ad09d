"""`gradir search --two-step` and `--tune`: which indexes allow it, and the parameters that dev queries recommend."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradir.command import Outcome
from gradir.data.records import Query
from gradir.errors import GradirError
from gradir.search.indexes import Index

if TYPE_CHECKING:
    from gradir.search.impact import TwoStepSearcher


@dataclass(frozen=True)
class TwoStep:
    """Parameters of two-step search: see `gradir.search.impact.TwoStepSearcher`.

    Attributes:
        query_terms: Terms of a query in the first step; 0 is all.
        candidates: Documents that are rescored, at least as many as hits.
    """

    query_terms: int
    candidates: int

    def check(self, indexes: Sequence[Index]) -> None:
        """Refuse indexes that cannot be searched so.

        Raises:
            GradirError: One is no impact index; numbers out of range.
        """
        if self.query_terms < 0 or self.candidates < 1:
            raise GradirError("--query-terms must be 0 (all) or more, --candidates 1 or more.")
        for index in indexes:
            if index.type != "impact":
                raise GradirError(f"--two-step is for impact indexes, {index.folder} is of type {index.type}.")

    def record(self) -> dict[str, Any]:
        """What a run's manifest says of it."""
        return {"query_terms": self.query_terms, "candidates": self.candidates}

    def open(self, index: Index, vocab: Sequence[str], threads: int) -> TwoStepSearcher:
        """The searcher."""
        from gradir.search.impact import TwoStepSearcher

        return TwoStepSearcher(index.folder, vocab, threads, self.query_terms, self.candidates)


def tuned(
    searcher: TwoStepSearcher,
    index: Index,
    queries: Sequence[Query],
    encoded: Any,
    qrels: Mapping[str, Mapping[str, int]],
    hits: int,
    measure: str,
    max_loss: float,
) -> Outcome:
    """The table of what was tried, and the flags that are recommended.

    Args:
        searcher: Of the index.
        index: For the next command.
        queries: Dev queries, all judged.
        encoded: Their vectors.
        qrels: `{qid: {docid: grade}}`.
        hits: Documents of a query.
        measure: As `gradir evaluate` names it.
        max_loss: Largest loss of it that is allowed.
    """
    from gradir.search.tune import tune

    judged = {query.qid: qrels[query.qid] for query in queries}
    tuning = tune(searcher, queries, encoded, judged, hits, measure, max_loss)
    chosen = tuning.chosen
    flags = ["--two-step", "--query-terms", str(chosen.query_terms), "--candidates", str(chosen.candidates)]
    then = shlex.join(["gradir", "search", "--index", str(index.folder), *flags, "--hits", str(hits)])
    described = f"{len(queries)} queries: {' '.join(flags[1:])} loses {chosen.loss:.4f} of {measure}"
    return Outcome(None, described, f"{then} --topics TOPICS --encoder ENCODER --output RUN", tuning.table())
