"""Static pruning against a slow, obvious version."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.pruning import top_k
from gradir.data.vectors import SparseVectors
from gradir.index.prune import Pruning, term_thresholds

VOCABULARY = 7
Rows = list[dict[int, int]]

rows = st.lists(
    st.dictionaries(
        st.integers(0, VOCABULARY - 1), st.one_of(st.integers(1, 4), st.just(2**31 - 1)), max_size=VOCABULARY
    ),
    max_size=25,
)


def vectors(documents: Rows) -> SparseVectors:
    postings = [sorted(document.items()) for document in documents]
    indptr = np.cumsum([0, *map(len, postings)]).astype(np.int64)
    flat = np.array([pair for document in postings for pair in document], dtype=np.int32).reshape(-1, 2)
    return SparseVectors(indptr, flat[:, 0].copy(), flat[:, 1].copy())


def as_rows(found: SparseVectors) -> Rows:
    return [dict(zip(*(half.tolist() for half in found.row(i)), strict=True)) for i in range(len(found))]


def slow_top_k(documents: Rows, k: int) -> Rows:
    best = [sorted(document.items(), key=lambda posting: (-posting[1], posting[0]))[:k] for document in documents]
    return [dict(sorted(document)) for document in best]


def slow_thresholds(documents: Rows, percent: int) -> dict[int, int]:
    impacts = defaultdict(list)
    for document in documents:
        for term, impact in document.items():
            impacts[term].append(impact)
    return {term: sorted(found)[percent * len(found) // 100] for term, found in impacts.items()}


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(1, VOCABULARY + 1))
def test_top_k_keeps_the_largest_and_of_equal_ones_the_first(documents: Rows, k: int) -> None:
    assert as_rows(top_k(vectors(documents), k)) == slow_top_k(documents, k)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(1, 99), st.integers(1, 6))
def test_thresholds_are_the_quantiles_of_each_term(documents: Rows, percent: int, size: int) -> None:
    parts = [vectors(documents[start : start + size]) for start in range(0, len(documents), size)]
    found = term_thresholds(parts, VOCABULARY, percent / 100)
    expected = slow_thresholds(documents, percent)
    assert found.tolist() == [expected.get(term, 0) for term in range(VOCABULARY)]


@settings(max_examples=150, deadline=None)
@given(
    rows,
    st.none() | st.integers(1, VOCABULARY),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 99),
)
def test_all_rules_together(documents: Rows, k: int | None, least: int | None, percent: int | None) -> None:
    whole = vectors(documents)
    limits = None if percent is None else term_thresholds([whole], VOCABULARY, percent / 100)
    slow = {} if percent is None else slow_thresholds(documents, percent)
    expected = [
        {term: impact for term, impact in document.items() if impact >= max(least or 0, slow.get(term, 0))}
        for document in documents
    ]
    assert as_rows(Pruning(k, least, limits)(whole)) == slow_top_k(expected, VOCABULARY if k is None else k)


def test_postings_at_the_threshold_are_kept() -> None:
    documents = [{0: impact} for impact in (1, 2, 2, 2, 3)]
    for quantile, kept in ((0.1, 5), (0.2, 4), (0.4, 4), (0.79, 4), (0.8, 1), (0.99, 1)):
        limits = term_thresholds([vectors(documents)], 1, quantile)
        assert len(Pruning(None, None, limits)(vectors(documents)).terms) == kept, quantile


def test_a_quantile_that_is_no_exact_number() -> None:
    # 0.29 * 100 is 28.999…, and 29 postings may be dropped
    assert term_thresholds([vectors([{0: impact} for impact in range(1, 101)])], 1, 0.29).tolist() == [30]


def _manifest(folder: Any) -> Any:
    from gradir.data.manifest import read_manifest

    return read_manifest(folder)


@pytest.fixture
def collection(sparse_shards: Any) -> tuple[Any, np.ndarray, list[str]]:
    rng = np.random.default_rng(5)
    matrix = rng.integers(1, 200, (60, 20)) * (rng.random((60, 20)) < 0.6)
    matrix[4] = 0
    vocab = [f"t{i}" for i in range(20)]
    return sparse_shards(matrix, vocab, parts=4), matrix, vocab


def test_a_pruned_index_has_the_scores_of_the_pruned_vectors(
    collection: Any, impact_search: Any, by_hand: Any, tmp_path: Any
) -> None:
    from gradir import index

    shards, matrix, vocab = collection
    outcome = index.run(shards, tmp_path / "index", "impact", top_k=6, min_impact=20, term_quantile=0.3)
    documents = [{term: int(impact) for term, impact in enumerate(row) if impact} for row in matrix]
    limits = slow_thresholds(documents, 30)
    kept = [{t: i for t, i in document.items() if i >= max(20, limits[t])} for document in documents]
    pruned = np.zeros_like(matrix)
    for row, document in enumerate(slow_top_k(kept, 6)):
        pruned[row, list(document)] = list(document.values())
    rng = np.random.default_rng(6)
    queries = [{vocab[t]: int(rng.integers(1, 50)) for t in rng.choice(20, 5, replace=False)} for _ in range(5)]
    found = impact_search(tmp_path / "index", queries, 60)
    rounded = [[(docid, round(score)) for docid, score in hits] for hits in found]
    assert rounded == by_hand(pruned, vocab, queries, 60)
    manifest = _manifest(tmp_path / "index")
    assert {name: manifest["config"][name] for name in ("top_k", "min_impact", "term_quantile")} == {
        "top_k": 6,
        "min_impact": 20,
        "term_quantile": 0.3,
    }
    assert manifest["counts"]["postings"] == (pruned > 0).sum()
    assert manifest["counts"]["postings_before_pruning"] == (matrix > 0).sum()
    assert f"{(pruned > 0).sum()} postings of {(matrix > 0).sum()}" in outcome.message


def test_shards_are_pruned_as_the_whole_collection_is(collection: Any, impact_search: Any, tmp_path: Any) -> None:
    from gradir import index

    shards, _, vocab = collection
    index.run(shards, tmp_path / "whole", "impact", term_quantile=0.5)
    for shard_id in range(3):
        index.run(shards, tmp_path / str(shard_id), "impact", term_quantile=0.5, shard_id=shard_id, shard_num=3)
        assert _manifest(tmp_path / str(shard_id))["config"]["shard_id"] == shard_id
    queries = [{term: 1} for term in vocab]
    whole = impact_search(tmp_path / "whole", queries, 60)
    parts = [impact_search(tmp_path / str(shard_id), queries, 60) for shard_id in range(3)]
    for number in range(len(queries)):
        merged = [(docid, round(score)) for part in parts for docid, score in part[number]]
        assert sorted(merged) == sorted((docid, round(score)) for docid, score in whole[number])


def slow_recall(matrix: np.ndarray, pruned: np.ndarray, queries: np.ndarray, own: Any, depth: int) -> float:
    shares = []
    for number, query in enumerate(queries):
        tops = []
        for documents in (matrix, pruned):
            scores = documents @ query
            order = [
                row for row in np.argsort(-scores, kind="stable") if scores[row] and (own is None or row != own[number])
            ]
            tops.append(set(order[:depth]))
        if tops[0]:
            shares.append(len(tops[0] & tops[1]) / len(tops[0]))
    return float(np.mean(shares))


@pytest.mark.parametrize("topics", [False, True])
def test_recall_of_a_pruned_index(
    collection: Any, sparse_shards: Any, tmp_path: Any, topics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradir import index

    monkeypatch.setattr("gradir.index.pruning_recall._SCORES", 7 * 11)
    shards, matrix, vocab = collection
    rng = np.random.default_rng(8)
    asked = rng.integers(0, 9, (11, 20)) * (rng.random((11, 20)) < 0.2)
    sample = sparse_shards(asked, vocab, parts=2, to="topics") if topics else None
    outcome = index.run(shards, tmp_path / "index", "impact", top_k=4, sample_queries=sample)
    documents = [{term: int(impact) for term, impact in enumerate(row) if impact} for row in matrix]
    pruned = np.zeros_like(matrix)
    for row, document in enumerate(slow_top_k(documents, 4)):
        pruned[row, list(document)] = list(document.values())
    # 60 documents are fewer than the sample takes: all are asked
    queries, own = (asked, None) if topics else (matrix, np.arange(60))
    measured = _manifest(tmp_path / "index")["measured"]
    for depth in (10, 100):
        assert measured[f"recall@{depth}"] == pytest.approx(slow_recall(matrix, pruned, queries, own, depth), abs=1e-4)
    assert 0.3 < measured["recall@10"] < 0.99
    assert f"on {'11 topics' if topics else 'documents as queries'}" in outcome.message


def test_topics_of_another_encoder_measure_nothing(
    collection: Any, sparse_shards: Any, raises_error: Any, tmp_path: Any
) -> None:
    from gradir import index

    topics = sparse_shards(np.eye(2, dtype=int), ["x", "y"], to="topics")
    with raises_error("topics", "another vocabulary"):
        index.run(collection[0], tmp_path / "index", "impact", top_k=3, sample_queries=topics)
