"""Composed lists against a slow composition with dictionaries, and what mixing and drawing promise."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import GradedDoc, GradedList, list_pools, list_runs, read_lists, write_lists
from gradir.data import texts as texts_module
from gradir.data.composition import FromSources, Take, parse_composition
from gradir.data.graded import GradedLists
from gradir.data.list_order import Mix, walk
from gradir.data.pairs import PAIRS
from gradir.errors import InputError
from gradir.mine import negatives

DOCIDS = [f"d{i}" for i in range(8)]
QIDS = [f"q{i}" for i in range(4)]


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def corpus(path: Path, docids: list[str]) -> str:
    rows = ({"_id": one, "title": "T", "text": f"text of {one}"} for one in docids)
    return put(path, "".join(json.dumps(row) + "\n" for row in rows))


def topics(path: Path, qids: list[str]) -> str:
    return put(path, "".join(json.dumps({"_id": one, "text": f"query {one}"}) + "\n" for one in qids))


def qrels(path: Path, *lines: tuple[str, str, int]) -> str:
    return put(path, "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in lines))


def run(path: Path, scores: dict[str, dict[str, float]]) -> str:
    lines = (f"{q} Q0 {d} 0 {s} tag\n" for q, found in scores.items() for d, s in found.items())
    return put(path, "".join(lines))


# --- the oracle -------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """What the files say, in Python."""

    corpus: set[str]
    queries: list[str]
    qrels: dict[str, list[tuple[str, str, int]]]
    runs: dict[str, dict[str, dict[str, float]]]
    entry: FromSources

    def relevant(self, qid: str) -> set[str]:
        files = {take.file for take in self.entry.take if not take.run}
        return {d for file in files for q, d, grade in self.qrels[file] if q == qid and grade >= 1}

    def offered(self, take: Take, qid: str) -> list[tuple[str, int]]:
        """(docid, grade) in the order of picking, for the picks that leave nothing to chance."""
        if not take.run:
            low, high = take.grade
            lines = [(d, grade) for q, d, grade in self.qrels[take.file] if q == qid and d in self.corpus]
            lines = [
                (d, grade) for d, grade in lines if (low is None or grade >= low) and (high is None or grade <= high)
            ]
            if take.pick == "top":
                lines = sorted(lines, key=lambda line: -line[1])
            if take.pick == "bottom":
                lines = sorted(lines, key=lambda line: line[1])
            return [
                (d, take.set[grade] if isinstance(take.set, dict) else self.constant(take, grade)) for d, grade in lines
            ]
        scores = self.runs[take.file].get(qid, {})
        ranked = sorted(scores, key=lambda d: (scores[d], d), reverse=True)
        positive = [scores[d] for d in ranked if d in self.relevant(qid) and d in self.corpus]
        found = []
        for rank, docid in enumerate(ranked, 1):
            inside = (take.rank[0] or 1) <= rank and (take.rank[1] is None or rank <= take.rank[1])
            if not inside or docid not in self.corpus or (docid in self.relevant(qid) and not take.judged):
                continue
            if take.margin is not None:
                best = max(positive, default=None)
                if best is None or scores[docid] >= best - (1 - take.margin) * abs(best):
                    continue
            found.append((docid, int(str(take.set))))
        return found[::-1] if take.pick == "bottom" else found

    @staticmethod
    def constant(take: Take, grade: int) -> int:
        return grade if take.set is None else int(str(take.set))


def check_list(world: World, drawn: GradedList) -> None:
    """Whether a list can be: exactly what the rules say where nothing is left to chance."""
    docs = list(drawn.docs)
    assert drawn.query == f"query {drawn.qid}"
    assert len({doc.docid for doc in docs}) == len(docs)
    taken: set[str] = set()
    for take in world.entry.take:
        free = [(d, grade) for d, grade in world.offered(take, drawn.qid) if d not in taken]
        size = len(free) if take.k is None else min(take.k, len(free))
        part, docs = docs[:size], docs[size:]
        assert {doc.source for doc in part} <= {take.source}
        pairs = [(doc.docid, doc.grade) for doc in part]
        if take.pick == "random" and take.k:
            assert set(pairs) <= set(free)
            assert len(pairs) == size
        else:
            assert pairs == free[:size]
        taken |= {doc.docid for doc in part}
        assert all(doc.text == f"T text of {doc.docid}" for doc in part)
    assert not docs


def check_counts(world: World, lists: GradedLists, positive_grade: int, require: bool) -> list[str]:
    """Whether the statistics are right; returns the queries that have a list."""
    (found,) = lists.statistics()["entries"]
    pools = {qid: [world.offered(take, qid) for take in world.entry.take] for qid in world.queries}
    everything = {qid: [pair for pool in pools[qid] for pair in pool] for qid in pools}
    empty = [qid for qid in pools if not everything[qid]]
    positive = {qid for qid in pools if any(grade >= positive_grade for _, grade in everything[qid])}
    kept = [qid for qid in pools if everything[qid] and (qid in positive or not require)]
    one = [
        qid
        for qid in kept
        if len({d for d, _ in everything[qid]}) == 1
        or sum(min(len(pool), take.k or 99) for pool, take in zip(pools[qid], world.entry.take, strict=True)) == 1
    ]
    equal = [qid for qid in kept if qid not in one and len({grade for _, grade in everything[qid]}) == 1]
    assert found["queries"] == len(world.queries)
    assert found["dropped"]["no_documents"] == len(empty)
    assert found["dropped"].get("no_positive", 0) == len(pools) - len(empty) - len(kept)
    assert found["without_positive"] == len([qid for qid in kept if qid not in positive])
    assert (found["lists"], found["one_document"], found["equal_grades"]) == (len(kept), len(one), len(equal))
    for place, (take, counted) in enumerate(zip(world.entry.take, found["take"], strict=True)):
        assert counted["source"] == take.source
        assert counted["candidates"] == sum(len(pools[qid][place]) for qid in pools)
        # each line, or hit of a known query, is either offered or left out for one reason
        if take.run:
            lines = sum(len(hits) for qid, hits in world.runs[take.file].items() if qid in pools)
            reasons = {key: n for key, n in counted["left_out"].items() if not key.startswith(("unknown_q", "queries"))}
            unknown = len(set(world.runs[take.file]) - set(pools))
        else:
            lines, reasons = len(world.qrels[take.file]), counted["left_out"]
            unknown = sum(q not in pools for q, _, _ in world.qrels[take.file])
        assert lines == counted["candidates"] + sum(reasons.values())
        assert counted["left_out"]["unknown_queries"] == unknown
    return kept


grades = st.integers(-1, 3)
bound = st.none() | st.integers(-1, 3)
k = st.none() | st.integers(1, 4)
some_qids, some_docids = [*QIDS, "other"], [*DOCIDS, "unknown"]
judgements = st.dictionaries(
    st.tuples(st.sampled_from(some_qids), st.sampled_from(some_docids)), grades, min_size=1, max_size=20
)
rankings = st.dictionaries(
    st.sampled_from(some_qids),
    st.dictionaries(st.sampled_from(some_docids), st.integers(-6, 6).map(lambda n: n / 2), min_size=1),
    min_size=1,
)


def ordered(ends: tuple[int | None, int | None]) -> list[int | None]:
    low, high = ends
    return [low, high] if low is None or high is None else sorted([low, high])  # type: ignore[type-var]


@st.composite
def judged_takes(draw: Any) -> dict[str, Any]:
    new = st.none() | st.integers(0, 5) | st.fixed_dictionaries({grade: st.integers(0, 5) for grade in range(-1, 4)})
    take = {"grade": ordered(draw(st.tuples(bound, bound))), "set": draw(new), "k": draw(k)}
    return take | ({"pick": draw(st.sampled_from(["random", "top", "bottom", "first"]))} if take["k"] else {})


@st.composite
def run_takes(draw: Any, margin: bool) -> dict[str, Any]:
    rank = st.none() | st.integers(1, 6)
    take = {"rank": ordered(draw(st.tuples(rank, rank))), "set": draw(st.none() | grades), "k": draw(k)}
    take["judged"] = draw(st.booleans())
    take["margin"] = draw(st.none() | st.sampled_from([0.5, 0.95, 1.0])) if margin else None
    return take | ({"pick": draw(st.sampled_from(["random", "top", "bottom", "first"]))} if take["k"] else {})


@st.composite
def worlds(draw: Any) -> Any:
    """(judgements, runs, takes by what they are from) of up to four sources in any order."""
    files = draw(st.lists(judgements, max_size=2))
    runs = draw(st.lists(rankings, min_size=0 if files else 1, max_size=2))
    takes = [
        (("qrels", place), draw(judged_takes())) for place in range(len(files)) for _ in range(draw(st.integers(1, 2)))
    ]
    takes += [(("run", place), draw(run_takes(bool(files)))) for place in range(len(runs))]
    return files, runs, draw(st.permutations(takes))


def build(folder: Path, files: Any, runs: Any, takes: Any) -> tuple[World, dict[str, Any]]:
    """The world on disk, and its composition."""
    lines = [[(q, d, grade) for (q, d), grade in judged.items()] for judged in files]
    names = {("qrels", i): qrels(folder / f"j{i}.tsv", *judged) for i, judged in enumerate(lines)}
    names |= {("run", i): run(folder / f"r{i}.trec", scores) for i, scores in enumerate(runs)}
    both = [corpus(folder / "one.jsonl", DOCIDS[:5]), corpus(folder / "two.jsonl", DOCIDS[3:])]
    value = {
        "queries": topics(folder / "queries.jsonl", QIDS),
        "corpus": both,
        "take": [{"from": names[source], "source": f"s{i}"} | take for i, (source, take) in enumerate(takes)],
    }
    (entry,) = parse_composition({"lists": [value]}).entries
    assert isinstance(entry, FromSources)
    world = World(
        set(DOCIDS),
        QIDS,
        {names["qrels", i]: one for i, one in enumerate(lines)},
        {names["run", i]: one for i, one in enumerate(runs)},
        entry,
    )
    return world, value


@given(worlds(), st.integers(0, 3), st.booleans(), st.sampled_from([2, 5, 1 << 16]))
def test_lists_against_the_oracle(tmp_path_factory, made, positive_grade, require, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_pools, "_LINES", block)
        patch.setattr(list_runs, "_HITS", block)
        check_world(tmp_path_factory, made, positive_grade, require)


def check_world(tmp_path_factory: Any, made: Any, positive_grade: int, require: bool) -> None:
    """Compose a world and compare it with the oracle."""
    world, value = build(tmp_path_factory.mktemp("g"), *made)
    refused = hopeless(world, positive_grade, require)
    if refused:
        with pytest.raises(InputError, match=refused):
            GradedLists([value], 5, positive_grade, require)
        return
    lists = GradedLists([value], 5, positive_grade, require)
    with lists:
        kept = check_counts(world, lists, positive_grade, require)
        assert len(lists) == len(kept)
        for epoch in range(3):
            assert [lists.draw(index, epoch).qid for index in range(len(lists))] == kept
            for index in range(len(lists)):
                check_list(world, lists.draw(index, epoch))


def hopeless(world: World, positive_grade: int, require: bool) -> str:
    """What the error says where a file names no document that is known, or no query has a list."""
    for take in world.entry.take:
        if named_documents(world, take) == {"unknown"}:
            return "names no document"
    offered = [grade for qid in QIDS for take in world.entry.take for _, grade in world.offered(take, qid)]
    return "" if any(not require or grade >= positive_grade for grade in offered) else "no query has a list"


def named_documents(world: World, take: Take) -> set[str]:
    """The documents that a source names for queries that are asked about, as deep as it is read."""
    if not take.run:
        return {d for q, d, _ in world.qrels[take.file] if q in QIDS}
    named: set[str] = set()
    for q, scores in world.runs[take.file].items():
        ranked = sorted(scores, key=lambda d: (scores[d], d), reverse=True)
        named |= set(ranked[: None if take.margin else take.rank[1]]) if q in QIDS else set()
    return named


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path) -> dict[str, str]:
    """Two queries, ten documents; q1 has d1 (3) and d2 (1), q2 has d3 (2); a run of all documents for q1."""
    return {
        "queries": topics(tmp_path / "queries.jsonl", ["q1", "q2"]),
        "corpus": corpus(tmp_path / "corpus.jsonl", [f"d{i}" for i in range(1, 11)]),
        "qrels": qrels(tmp_path / "train.tsv", ("q1", "d1", 3), ("q1", "d2", 1), ("q2", "d3", 2)),
        "run": run(tmp_path / "bm25.trec", {"q1": {f"d{i}": 20.0 - i for i in range(1, 11)}}),
    }


def entry(small: dict[str, str], *takes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"queries": small["queries"], "corpus": small["corpus"], "take": list(takes), **more}


def docids(drawn: GradedList) -> list[str]:
    return [doc.docid for doc in drawn.docs]


def test_judged_relevant_documents_are_no_negatives(small):
    """Also where their grade was not taken: d2, of grade 1, is left out of the run though only grade 3 is asked for."""
    positives = {"from": small["qrels"], "grade": [3, None]}
    lists = GradedLists([entry(small, positives, {"from": small["run"], "rank": [None, 4]})])
    assert [(doc.docid, doc.grade, doc.source) for doc in lists.draw(0, 0).docs] == [
        ("d1", 3, "qrels:train"),
        ("d3", 0, "run:bm25"),
        ("d4", 0, "run:bm25"),
    ]
    judged = GradedLists([entry(small, positives, {"from": small["run"], "rank": [None, 4], "judged": True})])
    assert docids(judged.draw(0, 0)) == ["d1", "d2", "d3", "d4"]  # and d1 comes once


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({"d1": 10.0, "d3": 12.0, "d4": 9.5, "d5": 9.4}, ["d5"]),  # 9.5 is not below 95% of 10
        ({"d2": 10.0, "d1": 5.0, "d3": 9.4, "d4": 4.7}, ["d3", "d4"]),  # the best of two relevant documents counts
        ({"d1": -10.0, "d3": -9.0, "d4": -10.4, "d5": -10.6}, ["d5"]),  # the limit is -10.5, below the positive
        ({"d1": 0.0, "d3": 0.0, "d4": -0.1}, ["d4"]),
        ({"d3": 12.0, "d4": 9.5}, []),  # no relevant document: both outdo it
    ],
)
def test_margins(tmp_path, small, scores, kept):
    source = {"from": run(tmp_path / "m.trec", {"q1": scores}), "margin": 0.95}
    lists = GradedLists([entry(small, {"from": small["qrels"]}, source)])
    assert docids(lists.draw(0, 0))[2:] == kept
    left_out = lists.statistics()["entries"][0]["take"][1]["left_out"]
    judged = sum(docid in scores for docid in ("d1", "d2"))
    reason, other = ("above_margin", "run_lacks_positive") if judged else ("run_lacks_positive", "above_margin")
    assert left_out["queries_without_margin"] == (judged == 0)
    assert (left_out[reason], left_out[other]) == (len(scores) - judged - len(kept), 0)


def test_a_run_without_the_positive_gives_no_negatives_here_nor_in_mining(tmp_path, small):
    """By default, and with the same margin, `gradir mine negatives` takes the same documents of the same run."""
    scores = {"q1": {"d3": 12.0, "d4": 9.5}, "q2": {"d5": 12.0, "d3": 10.0, "d6": 9.5, "d7": 9.4}}
    mixed = run(tmp_path / "m.trec", scores)
    lists = GradedLists([entry(small, {"from": small["qrels"]}, {"from": mixed, "margin": 0.95})])
    taken = {one.qid: [doc.docid for doc in one.docs if doc.grade == 0] for one in (lists.draw(0, 0), lists.draw(1, 0))}
    assert taken == {"q1": [], "q2": ["d7"]}
    negatives([Path(mixed)], small["qrels"], small["queries"], tmp_path / "mined.jsonl", margin=0.95)
    mined = {one.qid: [doc.docid for doc in one.docs if doc.grade == 0] for one in read_lists(tmp_path / "mined.jsonl")}
    assert mined == {"q2": ["d7"]}  # a query without negatives is left out


def test_a_mapping_must_name_all_grades(small, refuses):
    with refuses(small["qrels"], "grades 2, 3", "Name them"):
        GradedLists([entry(small, {"from": small["qrels"], "set": {1: 1}})])
    mapped = GradedLists([entry(small, {"from": small["qrels"], "grade": [2, None], "set": {2: 1, 3: 0}})])
    assert [mapped.draw(0, 0).docs[0].grade] == [1]  # q1 has no positive any more
    assert mapped.draw(0, 0).qid == "q2"


def test_what_is_drawn_at_random_goes_around_before_it_repeats(small):
    lists = GradedLists([entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3})])
    epochs = [docids(lists.draw(0, epoch))[2:] for epoch in range(8)]
    assert all(len(set(one)) == 3 for one in epochs)
    flat = [docid for one in epochs for docid in one]
    for first in range(0, 24, 8):  # eight documents are offered
        assert set(flat[first : first + 8]) == {f"d{i}" for i in range(3, 11)}
    other = GradedLists([entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3})], seed=14)
    assert [docids(other.draw(0, epoch))[2:] for epoch in range(8)] != epochs


def test_draws_depend_on_seed_epoch_and_query_alone(small, tmp_path):
    source = entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3})
    lists, again = GradedLists([source]), GradedLists([source])
    forward = {(index, epoch): lists.draw(index, epoch) for epoch in range(3) for index in range(2)}
    backward = {key: again.draw(*key) for key in reversed(list(forward))}
    assert forward == backward
    # the same where the corpus has more documents, in another order
    more = corpus(tmp_path / "more.jsonl", [f"x{i}" for i in range(50)] + [f"d{i}" for i in range(10, 0, -1)])
    grown = GradedLists([source | {"corpus": more}])
    assert {key: grown.draw(*key) for key in forward} == forward


def test_both_seeds_are_the_composition_s(small):
    source = entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3})
    a = GradedLists({"seed": 1, "lists": [source]})
    b = GradedLists([source], seed=1)
    assert [a.draw(0, e) for e in range(4)] == [b.draw(0, e) for e in range(4)]


def test_the_teacher_s_scores(tmp_path, small):
    teacher = run(
        tmp_path / "t.trec", {"q2": {"d3": 0.25, "d4": 9}, "q1": {"d4": -1.5, "d1": 2, "zz": 1}, "q9": {"d1": 1}}
    )
    source = entry(small, {"from": small["qrels"]}, {"from": small["run"], "rank": [3, 5]}, teacher=teacher)
    lists = GradedLists([source])
    scores = [{doc.docid: doc.score for doc in lists.draw(i, 0).docs} for i in range(2)]
    assert scores == [{"d1": 2.0, "d2": None, "d3": None, "d4": -1.5, "d5": None}, {"d3": 0.25}]
    found = lists.statistics()["entries"][0]["teacher"]
    assert lists.scored
    assert not GradedLists([entry(small, {"from": small["qrels"]})]).scored
    assert found == {"unknown_queries": 1, "candidates_without_score": 3}


@given(judgements, rankings)
def test_the_teacher_against_a_dictionary(tmp_path_factory, judged, scores):
    folder = tmp_path_factory.mktemp("t")
    judged = judged | {("q0", "d0"): 1}
    _, value = build(folder, [judged], [], [(("qrels", 0), {})])
    lists = GradedLists([value | {"teacher": run(folder / "t.trec", scores)}], require_positive=False)
    for index in range(len(lists)):
        drawn = lists.draw(index, 0)
        for doc in drawn.docs:
            assert doc.score == scores.get(drawn.qid, {}).get(doc.docid)  # halves are exact in float32


def test_lists_that_cannot_train_are_counted(tmp_path, small):
    judged = qrels(
        tmp_path / "j.tsv",
        ("q1", "d1", 3),
        ("q2", "d1", 0),
        ("q2", "d2", 0),
        ("q3", "d1", 2),
        ("q3", "d2", 2),
        ("q4", "zz", 2),
    )
    small["queries"] = topics(tmp_path / "q.jsonl", [f"q{i}" for i in range(1, 6)])
    counts = GradedLists([entry(small, {"from": judged})]).statistics()["entries"][0]
    assert counts["dropped"] == {"no_documents": 2, "no_positive": 1}
    assert (counts["lists"], counts["one_document"], counts["equal_grades"]) == (2, 1, 1)
    kept = GradedLists([entry(small, {"from": judged})], require_positive=False).statistics()["entries"][0]
    assert kept["dropped"] == {"no_documents": 2}
    assert (kept["lists"], kept["without_positive"], kept["equal_grades"]) == (3, 1, 2)
    assert GradedLists([entry(small, {"from": judged})], positive_grade=3).statistics()["lists"] == 1
    json.dumps(counts)


# --- several entries --------------------------------------------------------------------------------------------------


def test_equal_ids_of_different_entries_are_told_apart(tmp_path, small):
    other = {
        "queries": put(tmp_path / "o.tsv", "q1\tanother question\n"),
        "corpus": put(tmp_path / "o.jsonl", '{"_id": "d1", "text": "another text"}\n'),
        "take": [{"from": small["qrels"]}],
        "name": "other",
    }
    lists = GradedLists([entry(small, {"from": small["qrels"]}), other])
    drawn = [lists.draw(index, 0) for index in range(len(lists))]
    assert [(one.qid, one.query, one.docs[0].text) for one in drawn] == [
        ("1:q1", "query q1", "T text of d1"),
        ("1:q2", "query q2", "T text of d3"),
        ("other:q1", "another question", "another text"),
    ]


def counts_of(mix: Mix, epochs: int) -> list[Counter[int]]:
    return [Counter(mix.coming(epoch).tolist()) for epoch in range(epochs)]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1, 2, 3])), min_size=1, max_size=3),
    st.integers(-5, 5),
)
def test_mixing_by_weight(entries, seed):
    sizes, weights = zip(*entries, strict=True)
    mix = Mix(sizes, weights, seed)
    epochs = counts_of(mix, 40)
    highest = max(weights)
    first = 0
    for place, (size, weight) in enumerate(entries):
        mine = range(first, first + size)
        first += size
        times = [sum(epoch[index] for epoch in epochs) for index in mine]
        assert max(times) - min(times) <= 1  # all come before one comes again
        assert abs(sum(times) - 40 * size * weight / highest) < 1.001
        for number, index in enumerate(mine):
            before = 0
            for epoch, counted in enumerate(epochs):
                assert counted[index] <= 1  # never twice in one epoch
                assert mix.earlier(place, number, epoch) == before
                before += counted[index]
        if weight == highest:
            assert times == [40] * size


def test_an_epoch_of_equal_weights_is_every_list_once_in_an_order_of_its_own(small):
    lists = GradedLists(
        [entry(small, {"from": small["qrels"]}, weight=0.3), entry(small, {"from": small["qrels"]}, weight=0.3)]
    )
    orders = [lists.coming(epoch).tolist() for epoch in range(20)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len({tuple(order) for order in orders}) > 5
    assert lists.coming(3).tolist() == orders[3]


def test_lists_that_come_seldom_draw_on_where_they_stopped(small, tmp_path):
    """Weight a half: q1 comes every second epoch and draws all its documents all the same."""
    seldom = entry(small, {"from": small["qrels"], "k": 1, "pick": "top"}, {"from": small["run"], "k": 1}, weight=0.5)
    lists = GradedLists([entry(small, {"from": small["qrels"]}), seldom])
    index = next(i for i in range(len(lists)) if lists.draw(i, 0).qid == "2:q1")
    drawn = [docids(lists.draw(index, epoch))[1] for epoch in range(16) if index in lists.coming(epoch)]
    assert sorted(drawn) == sorted(f"d{i}" for i in range(3, 11))


def test_walks_pass_all_places(monkeypatch):
    keys = np.random.default_rng(1).integers(0, 2**64, 10, dtype=np.uint64)
    first = walk(keys, 7, 0, 4)
    assert sorted(first.tolist()) == list(range(10))
    assert walk(keys, 7, 1, 4).tolist() == np.roll(first, -4).tolist()
    assert walk(keys, 8, 0, 4).tolist() != first.tolist()
    # each candidate comes first about as often as any other
    tops = Counter(int(walk(keys, salt, 0, 1)[0]) for salt in range(5000))
    assert len(tops) == 10
    assert all(400 < count < 600 for count in tops.values())


# --- ready-made lists and pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_ready_made_lists(tmp_path, small, packed):
    made = [
        GradedList("a", "one", (GradedDoc("d1", 3, "x", 1.5), GradedDoc("g", 0, "llm", None, "made up"))),
        GradedList("b", "two", (GradedDoc("zz", 3, "x"), GradedDoc("d2", 1, "x"))),
        GradedList("c", "three", (GradedDoc("zz", 3, "x"),)),
        GradedList("d", "four", (GradedDoc("d1", 0, "x"),)),
        GradedList("e", "five\u2028x", (GradedDoc("d1", 2, "x"), GradedDoc("d2", 2, "y"))),
    ]
    path = tmp_path / "lists.jsonl"
    write_lists(path, made)
    if packed:
        import gzip

        data, path = path.read_bytes(), tmp_path / "lists.jsonl.gz"
        path.write_bytes(gzip.compress(data))
    lists = GradedLists([{"lists": str(path), "corpus": small["corpus"]}])
    one, two = "T text of d1", "T text of d2"
    assert [lists.draw(index, 4) for index in range(len(lists))] == [
        GradedList("a", "one", (GradedDoc("d1", 3, "x", 1.5, one), GradedDoc("g", 0, "llm", None, "made up"))),
        GradedList("b", "two", (GradedDoc("d2", 1, "x", None, two),)),
        GradedList("e", "five\u2028x", (GradedDoc("d1", 2, "x", None, one), GradedDoc("d2", 2, "y", None, two))),
    ]
    (found,) = lists.statistics()["entries"]
    assert found == {
        "name": "1",
        "weight": 1.0,
        "queries": 5,
        "lists": 3,
        "dropped": {"no_documents": 1, "no_positive": 1},
        "without_positive": 0,
        "one_document": 1,
        "equal_grades": 1,
        "unknown_documents": 2,
    }
    lists.close()


def test_blank_lines_in_ready_made_lists(tmp_path):
    made = [GradedList(qid, "x", (GradedDoc("d", 1, "s", None, qid),)) for qid in "ab"]
    write_lists(tmp_path / "l.jsonl", made)
    lines = (tmp_path / "l.jsonl").read_text().replace("\n", "\r\n\n  \n")
    path = put(tmp_path / "blank.jsonl", "\ufeff" + lines)
    lists = GradedLists([{"lists": path}])
    assert [lists.draw(index, 0) for index in range(len(lists))] == made == list(read_lists(path))


def test_ready_made_lists_that_lack_texts(tmp_path, refuses, small):
    path = tmp_path / "l.jsonl"
    write_lists(
        path,
        [GradedList("a", "x", (GradedDoc("d1", 1, "x", None, "t"),)), GradedList("b", "x", (GradedDoc("d2", 1, "x"),))],
    )
    with refuses(f"{path}:2", "d2", "no text", "`corpus`"):
        GradedLists([{"lists": str(path)}])
    put(
        path,
        '{"format": 1, "qid": "a", "query": "x", "docs": []}\n{"format": 1, "qid": "a", "query": "x", "docs": []}\n',
    )
    with refuses(f"{path}:2", "'a'", f"{path}:1"):
        GradedLists([{"lists": str(path)}])
    put(path, '{"format": 1, "qid": "a", "query": "x", "docs": []}\n')
    with refuses(str(path), "no list that can be used", "no_documents: 1"):
        GradedLists([{"lists": str(path)}])
    write_lists(path, [GradedList("a", "x", (GradedDoc("d1", 0, "x", None, "t"),))])
    with refuses(str(path), "no_positive: 1", "graded 1 or higher", "`positive_grade`"):
        GradedLists([{"lists": str(path)}])
    write_lists(path, [GradedList("a", "x", (GradedDoc("d1", 300, "x", None, "t"),))])
    with refuses(f"{path}:1", "grade 300", "from -128 to 127"):
        GradedLists([{"lists": str(path)}])
    put(path, "")
    with refuses(str(path), "no list"):
        GradedLists([{"lists": str(path)}])


def test_pairs(tmp_path, refuses):
    rows = [("a", "A title", "some body"), ("b", "", "no title here"), ("c", "C", "more")]
    path = put(tmp_path / "c.jsonl", "".join(json.dumps({"_id": i, "title": t, "text": x}) + "\n" for i, t, x in rows))
    lists = GradedLists([{"corpus": path, "pairs": "title"}])
    assert [lists.draw(index, 0) for index in range(len(lists))] == [
        GradedList("a", "A title", (GradedDoc("a", 3, "pairs:title", None, "some body"),)),
        GradedList("c", "C", (GradedDoc("c", 3, "pairs:title", None, "more"),)),
    ]
    assert lists.statistics()["entries"][0]["dropped"] == {"no_documents": 1}
    with refuses(path, "no document gives a pair"):
        GradedLists([{"corpus": path, "pairs": "crop"}])


def test_pairs_change_by_epoch_and_not_by_the_order_of_calls(tmp_path):
    words = " ".join(f"w{i}" for i in range(60))
    path = put(tmp_path / "c.jsonl", "".join(json.dumps({"_id": f"d{i}", "text": words}) + "\n" for i in range(3)))
    lists, again = (GradedLists([{"corpus": path, "pairs": "crop"}]) for _ in range(2))
    keys = [(index, epoch) for epoch in range(4) for index in range(3)]
    drawn = {key: lists.draw(*key) for key in keys}
    assert {key: again.draw(*key) for key in reversed(keys)} == drawn
    assert len({one.query for one in drawn.values()}) > 9
    assert all(one.query in words and one.docs[0].text in words for one in drawn.values())


def test_documents_that_give_a_pair_only_sometimes(tmp_path, monkeypatch):
    """Which documents have a list is decided once; where chance gives no pair later, the first one comes again."""
    monkeypatch.setitem(
        PAIRS, "crop", lambda doc, chance: (doc.docid, str(x)) if (x := chance.random()) < 0.5 else None
    )
    path = put(tmp_path / "c.jsonl", "".join(json.dumps({"_id": f"d{i}", "text": ""}) + "\n" for i in range(40)))
    lists = GradedLists([{"corpus": path, "pairs": "crop"}])
    assert 5 < len(lists) < 35
    for index in range(len(lists)):
        found = [lists.draw(index, epoch).docs[0].text for epoch in range(20)]
        assert len(set(found)) > 1
        assert all(found.count(text) == 1 for text in set(found) - {found[0]})
        assert found.count(found[0]) > 1


# --- files, processes, memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [True, False])
def test_what_is_written_reads_back(tmp_path, small, texts):
    path = put(tmp_path / "p.jsonl", '{"_id": "p", "title": "A title", "text": "body"}\n')
    sources = [
        entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3}, teacher=small["run"]),
        {"corpus": path, "pairs": "title", "weight": 0.5},
    ]
    lists = GradedLists(sources)
    assert lists.write(tmp_path / "lists.jsonl", epoch=3, texts=texts) == 3
    expected = [lists.draw(index, 3) for index in sorted(lists.coming(3))]
    if not texts:  # but that of the pair, which no corpus holds
        expected[:2] = [one._replace(docs=tuple(doc._replace(text=None) for doc in one.docs)) for one in expected[:2]]
    assert list(read_lists(tmp_path / "lists.jsonl")) == expected
    # and is a source again
    again = GradedLists([{"lists": str(tmp_path / "lists.jsonl"), "corpus": [small["corpus"], path]}])
    assert [again.draw(index, 0) for index in range(3)] == [lists.draw(index, 3) for index in range(3)]


def test_reading_lists_stays_a_stream(tmp_path):
    one = GradedList("q", "x", (GradedDoc("d", 1, "s", None, "word " * 2000),))
    write_lists(tmp_path / "l.jsonl", (one._replace(qid=f"q{i}") for i in range(300)))  # 3 MB
    tracemalloc.start()
    assert sum(1 for _ in read_lists(tmp_path / "l.jsonl")) == 300
    assert tracemalloc.get_traced_memory()[1] < 600_000
    tracemalloc.stop()


_OTHER_PROCESSES = """
import multiprocessing, pickle, sys
if __name__ == "__main__":
    lists, keys, expected = pickle.load(sys.stdin.buffer)
    assert [lists.draw(*key) for key in keys] == expected
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.starmap(lists.draw, keys) == expected
"""


def test_other_processes_draw_the_same(small, tmp_path):
    """In a process of its own: one that has run FAISS, Java and torch before it forks may wait for a lock that nobody holds."""
    lists = GradedLists([entry(small, {"from": small["qrels"]}, {"from": small["run"], "k": 3})])
    keys = [(index, epoch) for epoch in range(3) for index in range(2)]
    told, script = pickle.dumps((lists, keys, [lists.draw(*key) for key in keys])), tmp_path / "script.py"
    script.write_text(_OTHER_PROCESSES)
    subprocess.run([sys.executable, script], input=told, check=True, timeout=120)


def test_indices(small):
    lists = GradedLists([entry(small, {"from": small["qrels"]})])
    with pytest.raises(IndexError):
        lists.draw(2, 0)
    with pytest.raises(IndexError):
        lists.draw(-1, 0)


def test_two_hundred_thousand_documents_are_not_held(tmp_path):
    """60 MB of text; what Python and NumPy hold of it and of 200,000 candidates stays far below."""
    body = "word " * 55
    with (tmp_path / "corpus.jsonl").open("w") as stream:
        stream.writelines(f'{{"_id": "d{i}", "title": "", "text": "{body}{i}"}}\n' for i in range(200_000))
    qids = [f"q{i}" for i in range(2000)]
    with (tmp_path / "deep.trec").open("w") as stream:
        stream.writelines(
            f"{qid} Q0 d{number * 100 + rank} {rank + 1} {300 - rank} x\n"
            for number, qid in enumerate(qids[:1998])
            for rank in range(100)
        )
    value = {
        "queries": topics(tmp_path / "q.jsonl", qids),
        "corpus": str(tmp_path / "corpus.jsonl"),
        "take": [
            {"from": qrels(tmp_path / "j.tsv", *((qid, f"d{i}", 1) for i, qid in enumerate(qids)))},
            {"from": str(tmp_path / "deep.trec"), "k": 8},
        ],
    }
    tracemalloc.start()
    lists = GradedLists([value])
    held, peak = tracemalloc.get_traced_memory()
    assert held < 200_000 * 16 + 200_000 * 4 + 1_500_000
    assert peak < 30_000_000  # while it is built, by blocks
    tracemalloc.reset_peak()
    drawn = 0
    for index in lists.coming(0)[:300]:
        docs = lists.draw(int(index), 0).docs
        assert all(doc.text == f"{body}{doc.docid[1:]}" for doc in docs)
        drawn += len(docs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert drawn == 300 * 9
    assert peak - held < 200_000


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_sources(tmp_path, small, refuses):
    with refuses("other.tsv", "names no document", small["corpus"]):
        GradedLists([entry(small, {"from": qrels(tmp_path / "other.tsv", ("q1", "x1", 1), ("q2", "x2", 1))})])
    with refuses("other.trec", "names no document"):
        other = {"from": run(tmp_path / "other.trec", {"q1": {"x1": 1.0}})}
        GradedLists([entry(small, {"from": small["qrels"]}, other)])
    with refuses(small["queries"], "no query has a list", "no_documents: 2"):
        GradedLists([entry(small, {"from": qrels(tmp_path / "q.tsv", ("q8", "d1", 1))})])
    with refuses(small["queries"], "no query has a list", "no_positive: 1"):
        GradedLists([entry(small, {"from": qrels(tmp_path / "n.tsv", ("q1", "d1", 0))})])
    with refuses("c.tsv:3", "q1", "grades 1 and 2"):
        GradedLists([entry(small, {"from": qrels(tmp_path / "c.tsv", ("q1", "d1", 1), ("q1", "d1", 2))})])
    with refuses("h.tsv", "grade 300", "-128 to 127"):
        GradedLists([entry(small, {"from": qrels(tmp_path / "h.tsv", ("q1", "d1", 300))})])
    with refuses("nan.trec:1", "not a finite number"):
        teacher = run(tmp_path / "nan.trec", {"q1": {"d1": float("nan")}})
        GradedLists([entry(small, {"from": small["qrels"]}, teacher=teacher)])


def test_a_judgement_twice_counts_once(tmp_path, small):
    lists = GradedLists([entry(small, {"from": qrels(tmp_path / "c.tsv", ("q1", "d1", 1), ("q1", "d1", 1))})])
    assert docids(lists.draw(0, 0)) == ["d1"]


def test_nothing_temporary_stays_where_building_fails(tmp_path, small, monkeypatch, refuses):
    import gzip
    import tempfile

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(small["corpus"]).read_bytes()))
    with refuses("no query has a list"):
        GradedLists([entry(small, {"from": qrels(tmp_path / "n.tsv", ("q1", "d1", 0))}, corpus=str(packed))])
    assert not list((tmp_path / "tmp").iterdir())


def test_ids_of_equal_hash_in_sources(tmp_path, small, monkeypatch):
    monkeypatch.setattr(texts_module, "_hashed", lambda ids: np.array([len(one) % 2 for one in ids], np.uint64))
    lists = GradedLists([entry(small, {"from": small["qrels"]}, {"from": small["run"], "rank": [3, 5]})])
    assert docids(lists.draw(0, 0)) == ["d1", "d2", "d3", "d4", "d5"]
