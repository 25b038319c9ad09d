"""What is chosen, against a slow version over dicts on random runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.run_reading import QueryColumns
from gradir.mine.choose import REASONS, Question, Rules, mined
from gradir.mine.limits import Limits

Hits = list[tuple[str, float]]


def columns(hits: Hits | None) -> QueryColumns | None:
    if hits is None:
        return None
    return QueryColumns(pa.array([docid for docid, _ in hits], pa.string()), np.array([score for _, score in hits]))


def reference(held: list[float], positives: int, hits: Hits, limits: Limits) -> float | None:
    if limits.missing == "lowest" and hits:
        held = held + [min(score for _, score in hits)] * (positives - len(held))
    if not held:
        return None
    return {"highest": max, "lowest": min, "mean": lambda x: sum(x) / len(x)}[limits.against](held)


def broken(score: float, positive: float | None, limits: Limits) -> set[str]:
    found = set()
    if positive is not None and limits.margin is not None and score >= positive - (1 - limits.margin) * abs(positive):
        found.add("margin")
    if positive is not None and limits.absolute_margin is not None and score > positive - limits.absolute_margin:
        found.add("absolute_margin")
    if limits.max_score is not None and score > limits.max_score:
        found.add("max_score")
    if limits.min_score is not None and score < limits.min_score:
        found.add("min_score")
    return found


def slow(
    runs: list[Hits | None], judged: dict[str, int], rules: Rules, teacher: Hits | None, taught: bool, copies: set[str]
) -> tuple[list[tuple[str, int, int, float]], dict[str, int], int]:
    """([(docid, rank, run, score) that may be picked, in order], dropped by reason, candidates)."""
    limits, relevant = rules.limits, {docid for docid, grade in judged.items() if grade >= rules.min_grade}

    def positive(hits: Hits) -> float | None:
        return reference([score for docid, score in hits if docid in relevant], len(relevant), hits, limits)

    skips = limits.missing == "skip" and (limits.margin is not None or limits.absolute_margin is not None)
    kept = [(i, hits) for i, hits in enumerate(runs) if hits is not None]
    if skips and taught:
        kept = kept if teacher is not None and positive(teacher) is not None else []
    elif skips:
        kept = [(i, hits) for i, hits in kept if positive(hits) is not None]
    best: dict[str, tuple[int, int, float]] = {}
    for i, hits in kept:
        for rank, (docid, score) in enumerate(hits, 1):
            best[docid] = min(best.get(docid, (10**9, 0, 0.0)), (rank, i, score))
    why: Counter[str] = Counter()
    left, candidates = [], 0
    for docid, (rank, i, score) in sorted(best.items(), key=lambda item: item[1][:2]):
        if not rules.first <= rank <= rules.last:
            continue
        candidates += 1
        found = {"relevant"} if docid in relevant else set()
        found |= {"judged"} if docid in judged and rules.drop_judged else set()
        found |= {"copy"} if docid in copies else set()
        if taught:
            known = dict(teacher or [])
            score = known.get(docid, float("nan"))
            found |= set() if docid in known else {"no_teacher_score"}
            found |= broken(score, positive(teacher) if teacher else None, limits) if docid in known else set()
        else:
            for _, hits in kept:
                found |= broken(dict(hits)[docid], positive(hits), limits) if docid in dict(hits) else set()
        if found:
            why[next(reason for reason in REASONS if reason in found)] += 1
        else:
            left.append((docid, rank, i, score))
    return left, dict(why), candidates


def assert_same(questions: list[Question], expected: list[Any], rules: Rules, taught: bool) -> None:
    """Mined together, they are what the slow version finds one by one."""
    found = mined(questions, rules, taught)
    assert found.candidates == sum(candidates for _, _, candidates in expected)
    dropped = {reason: count for reason, count in zip(REASONS, found.dropped.tolist(), strict=True) if count}
    more = sum(len(left) - min(rules.k, len(left)) for left, _, _ in expected)
    why = sum((Counter(why) for _, why, _ in expected), Counter[str]())
    assert dropped == {**why, **({"not_picked": more} if more else {})}
    chosen = list(zip(found.docids, found.ranks.tolist(), found.runs.tolist(), found.scores.tolist(), strict=True))
    assert (found.bounds[0], found.bounds[-1]) == (0, len(chosen))
    for (start, end), (left, _, _) in zip(pairwise(found.bounds), expected, strict=True):
        rows = chosen[start:end]
        if rules.pick == "top":
            assert rows == left[: rules.k]
        else:
            assert len(rows) == min(rules.k, len(left))
            places = [left.index(row) for row in rows]
            assert places == sorted(set(places))
    for one, held, missing in zip(questions, found.held, found.missing.tolist(), strict=True):
        deciding = [one.teacher] if taught else [run for run in one.runs if run is not None]
        known = [positives_of(columns, one.judged, rules) for columns in deciding]
        if taught or len(one.runs) == 1:
            assert held == (known[0] if known else {})
        else:
            assert held == {}
        lowest = rules.limits.missing == "lowest"  # what a run lacks counts with its lowest score
        assert missing == any(
            not of and not (lowest and run is not None) for run, of in zip(deciding, known, strict=True)
        )


def positives_of(run: QueryColumns | None, judged: Mapping[str, int], rules: Rules) -> dict[str, float]:
    hits = {} if run is None else dict(zip(run.docids.to_pylist(), run.scores.tolist(), strict=True))
    return {docid: hits[docid] for docid, grade in judged.items() if grade >= rules.min_grade and docid in hits}


# Scores of few values, so that borders are met, and documents of few names, so that runs share them.
scores = st.sampled_from([-20.0, -10.5, -10.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.9, 2.0, 7.6, 8.0, 9.5, 10.0])
docids = st.sampled_from([f"d{i}" for i in range(9)])


def best_first(hits: dict[str, float]) -> Hits:
    return sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)


hits = st.dictionaries(docids, scores, min_size=1).map(best_first)
maybe = st.none() | scores.map(abs)
limits = st.builds(
    Limits,
    st.sampled_from([None, 0.5, 0.95, 1.0]),
    maybe,
    st.none() | scores,
    st.none() | scores,
    st.sampled_from(["highest", "lowest", "mean"]),
    st.sampled_from(["skip", "keep", "lowest"]),
)
rules_of = st.builds(
    Rules,
    k=st.integers(1, 6),
    first=st.integers(1, 3),
    last=st.integers(3, 9),
    pick=st.sampled_from(["top", "random"]),
    min_grade=st.integers(1, 2),
    drop_judged=st.booleans(),
    limits=limits,
)
judgements = st.dictionaries(docids, st.integers(-1, 3)).map(lambda judged: {**judged, "d0": 3})


@st.composite
def cases(draw: Any, taught: bool) -> list[tuple[Any, Any, Any, set[str]]]:
    """(runs, judged, teacher, copies) of some queries; they share the names of documents."""
    number = draw(st.integers(1, 3))
    runs = st.lists(st.none() | hits, min_size=number, max_size=number)
    teacher = st.none() | hits if taught else st.none()
    return draw(st.lists(st.tuples(runs, judgements, teacher, st.sets(docids)), min_size=1, max_size=4))


def check(found: list[tuple[Any, Any, Any, set[str]]], rules: Rules, taught: bool) -> None:
    questions = [
        Question(f"q{i}", [columns(one) for one in runs], judged, columns(teacher), copies)
        for i, (runs, judged, teacher, copies) in enumerate(found)
    ]
    expected = [slow(runs, judged, rules, teacher, taught, copies) for runs, judged, teacher, copies in found]
    assert_same(questions, expected, rules, taught)


@settings(max_examples=400, deadline=None)
@given(cases(taught=False), rules_of)
def test_from_the_runs_own_scores(found: Any, rules: Rules) -> None:
    check(found, rules, False)


@settings(max_examples=300, deadline=None)
@given(cases(taught=True), rules_of)
def test_from_a_teachers_scores(found: Any, rules: Rules) -> None:
    check(found, rules, True)


def test_a_random_pick_depends_on_the_seed_and_the_query_alone() -> None:
    runs, judged = [columns([(f"d{i}", 100.0 - i) for i in range(80)])], {"d0": 1}

    def picked(seed: int, *qids: str) -> list[list[str]]:
        found = mined([Question(qid, runs, judged) for qid in qids], Rules(k=5, pick="random", seed=seed))
        return [found.docids[start:end] for start, end in pairwise(found.bounds)]

    random.seed(3)
    np.random.seed(3)
    [first] = picked(1, "q1")
    assert [first] == picked(1, "q1")
    [second] = picked(1, "q2")
    assert picked(1, "q2", "q1") == [second, first]
    assert len({tuple(first), tuple(picked(2, "q1")[0]), tuple(second)}) == 3


def test_a_random_pick_is_even() -> None:
    run = columns([(f"d{i}", 100.0 - i) for i in range(11)])
    rules = Rules(k=3, pick="random", limits=Limits(None))
    times = Counter(mined([Question(f"q{i}", [run], {"d0": 1}) for i in range(2000)], rules).docids)
    assert set(times) == {f"d{i}" for i in range(1, 11)}
    # 600 each, binomially: six standard deviations are 123
    assert all(abs(count - 600) < 123 for count in times.values())


@pytest.mark.parametrize("runs", [[None], [None, None]])
def test_a_query_that_no_run_has(runs: Any) -> None:
    found = mined([Question("q", runs, {"d0": 1})], Rules())
    assert (found.docids, found.bounds, found.candidates) == ([], [0, 0], 0)
