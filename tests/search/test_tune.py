"""Tuning two-step search: every choice is measured, and the fastest within the allowed loss is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_impact_searcher import by_hand, indexed, sparse

from gradir.data.measures import evaluate_run
from gradir.data.records import Hit, Query
from gradir.data.vectors import VectorShards
from gradir.errors import GradirError
from gradir.index import impact
from gradir.index.prune import Pruning
from gradir.index.source import Source
from gradir.search.impact import TwoStepSearcher
from gradir.search.tune import QUERY_TERMS, Trial, tune


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(searcher, queries, vectors, qrels, exact measure) where two heavy terms of a document say little of the rest."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(4)
    matrix = rng.integers(1, 100, (200, 40)) * (rng.random((200, 40)) < 0.5)
    docids = [f"d{i}" for i in range(200)]
    _, vocab = indexed(folder, matrix, docids)
    (folder / "short").mkdir()
    impact.write(
        Source(VectorShards(folder / "vectors"), prune=Pruning(top_k=2)), folder / "short", lambda n: None, forward=True
    )
    vectors = rng.integers(0, 60, (12, 40)) * (rng.random((12, 40)) < 0.4)
    queries = [Query(f"q{i}", "") for i in range(12)]
    exact = by_hand(matrix, vectors, docids, 10)
    qrels = {query.qid: {row[0][0]: 2, row[4][0]: 1} for query, row in zip(queries, exact, strict=True)}
    run = [(query.qid, [Hit(*hit) for hit in row]) for query, row in zip(queries, exact, strict=True)]
    measured = evaluate_run(qrels, run, ["nDCG@10"]).means["nDCG@10"]
    return TwoStepSearcher(folder / "short", vocab, 1), queries, sparse(vectors), qrels, measured


def test_the_exact_measure_and_the_losses(case: Any) -> None:
    searcher, queries, vectors, qrels, exact = case
    tuning = tune(searcher, queries, vectors, qrels, 10, "nDCG@10", max_loss=0.2)
    assert tuning.exact == pytest.approx(exact)
    assert len(tuning.trials) == 5 * len(QUERY_TERMS)
    assert all(trial.loss == pytest.approx(exact - trial.value) for trial in tuning.trials)
    by_choice = {(trial.query_terms, trial.candidates): trial.value for trial in tuning.trials}
    assert by_choice[4, 10] < by_choice[0, 250] <= exact
    allowed = [trial for trial in tuning.trials if trial.loss <= 0.2]
    assert tuning.chosen.queries_per_second == max(trial.queries_per_second for trial in allowed)
    assert tuning.chosen in allowed
    lines = tuning.table().splitlines()
    assert [line[0] for line in lines].count("*") == 1
    assert f"{exact:.4f}" in lines[0]


def test_nothing_loses_so_little(case: Any) -> None:
    searcher, queries, vectors, qrels, _ = case
    with pytest.raises(GradirError, match=r"within -1.*--top-k.*--max-loss"):
        tune(searcher, queries, vectors, qrels, 10, "nDCG@10", max_loss=-1)


def test_a_trial_is_plain_data(tmp_path: Path) -> None:
    assert Trial(4, 10, 0.5, 0.1, 100.0).candidates == 10
