"""Two-step search: exact scores of its candidates, the exact ranking where all are candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_impact_searcher import by_hand, indexed, pairs, sparse

from gradir.data.vectors import VectorShards
from gradir.errors import GradirError
from gradir.index import impact
from gradir.index.prune import Pruning
from gradir.index.source import Source
from gradir.search.impact import TwoStepSearcher


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[str], Path, list[str]]:
    """(impacts, docids, index, vocabulary): the index keeps the four heaviest terms of each document."""
    folder = tmp_path_factory.mktemp("pruned")
    rng = np.random.default_rng(8)
    matrix = rng.integers(1, 90_000, (300, 30)) * (rng.random((300, 30)) < 0.4)
    docids = [str(number) for number in rng.permutation(300)]
    _, vocab = indexed(folder, matrix, docids)
    (folder / "short").mkdir()
    source = Source(VectorShards(folder / "vectors"), prune=Pruning(top_k=4))
    impact.write(source, folder / "short", lambda count: None, forward=True)
    return matrix, docids, folder / "short", vocab


QUERIES = np.random.default_rng(1).integers(0, 50, (8, 30)) * (np.random.default_rng(2).random((8, 30)) < 0.5)


def test_rescoring_every_document_is_exact(pruned: Any) -> None:
    matrix, docids, index, vocab = pruned
    found = TwoStepSearcher(index, vocab, 2, query_terms=2, candidates=0).search(sparse(QUERIES), 50)
    assert pairs(found) == by_hand(matrix, QUERIES, docids, 50)


@pytest.mark.parametrize(("terms", "candidates"), [(0, 40), (3, 40), (1, 5), (3, 1)])
def test_candidates_are_those_of_the_short_vectors_and_scores_those_of_the_whole(
    pruned: Any, terms: int, candidates: int
) -> None:
    matrix, docids, index, vocab = pruned
    hits = 5
    short_documents, short_queries = heaviest(matrix, 4), heaviest(QUERIES, terms) if terms else QUERIES
    first = by_hand(short_documents, short_queries, docids, max(candidates, hits))
    exact = [dict(row) for row in by_hand(matrix, QUERIES, docids, len(docids))]
    wanted = [
        sorted(((docid, scores[docid]) for docid, _ in row), key=lambda hit: (-hit[1], hit[0]))[:hits]
        for row, scores in zip(first, exact, strict=True)
    ]
    found = TwoStepSearcher(index, vocab, 2, terms, candidates).search(sparse(QUERIES), hits)
    assert pairs(found) == wanted


def heaviest(matrix: Any, k: int) -> Any:
    """The k largest numbers of each row, of equal ones the first; the others are 0."""
    kept = np.zeros_like(matrix)
    for row, numbers in enumerate(matrix):
        for column in sorted(range(len(numbers)), key=lambda one: -numbers[one])[:k]:
            kept[row, column] = numbers[column]
    return kept


def test_queries_of_another_vocabulary(pruned: Any) -> None:
    matrix, docids, index, vocab = pruned
    turned = ["unknown", *reversed(vocab)]
    queries = np.hstack([np.ones((8, 1), dtype=int), QUERIES[:, ::-1]])
    found = TwoStepSearcher(index, turned, 1, candidates=0).search(sparse(queries), 20)
    assert pairs(found) == by_hand(matrix, QUERIES, docids, 20)
    some = TwoStepSearcher(index, turned, 1, candidates=300).search(sparse(queries), 20)
    assert {docid for row in pairs(some) for docid, _ in row} <= set(docids)
    assert [score for row in pairs(some) for _, score in row] == [
        dict(exact)[docid]
        for row, exact in zip(pairs(some), by_hand(matrix, QUERIES, docids, 300), strict=True)
        for docid, _ in row
    ]


def test_without_a_forward_index_or_with_another_one(
    pruned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, vocab = indexed(tmp_path / "plain", [[1, 2]], ["a"])
    with pytest.raises(GradirError, match="--forward"):
        TwoStepSearcher(plain, vocab, 1)
    for file in pruned[2].glob("forward.*"):
        (plain / file.name).write_bytes(file.read_bytes())
    with pytest.raises(GradirError, match="300 documents, the index 1"):
        TwoStepSearcher(plain, vocab, 1)
    monkeypatch.setattr("gradir.jvm.helper", lambda name: None)
    with pytest.raises(GradirError, match="Java classes"):
        TwoStepSearcher(pruned[2], pruned[3], 1)
