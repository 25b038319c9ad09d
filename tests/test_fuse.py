"""Fusion against pyserini.fusion, against a slow and obvious version, and as a stage."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir import fuse
from gradir.data import Hit, read_run, run_writer
from gradir.errors import GradirError, InputError

A = {"q1": ["a", "b", "c"], "q2": ["a"], "q3": ["x", "y"]}
B = {"q1": ["c", "d"], "q4": ["z"], "q2": ["b", "a"]}


def write(path: Path, rankings: dict[str, list[str]]) -> Path:
    with run_writer(path, "t") as writer:
        for qid, docids in rankings.items():
            writer.write(qid, [Hit(docid, 100.0 - rank) for rank, docid in enumerate(docids)])
    return path


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def orders(path: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for qid, _, docid, *_ in lines(path):
        table.setdefault(qid, []).append(docid)
    return table


def test_small_case_by_hand(tmp_path):
    runs = [write(tmp_path / "a", A), write(tmp_path / "b", B)]
    outcome = fuse.run(runs=runs, output=tmp_path / "f", tag="mine")
    assert lines(tmp_path / "f")[:4] == [
        ["q1", "Q0", "c", "1", f"{1 / 63 + 1 / 61:.6f}", "mine"],
        ["q1", "Q0", "a", "2", f"{1 / 61:.6f}", "mine"],
        ["q1", "Q0", "b", "3", f"{1 / 62:.6f}", "mine"],
        ["q1", "Q0", "d", "4", f"{1 / 62 - 1e-6:.6f}", "mine"],  # a tie with `b`, separated in writing
    ]
    assert list(orders(tmp_path / "f")) == ["q1", "q2", "q3", "q4"]  # the first run's queries, then new ones
    assert outcome.next_command == f"gradir evaluate --qrels QRELS --run {tmp_path / 'f'}"
    assert "4 queries, 9 hits of 2 runs" in outcome.message


def test_depth_hits_and_k(tmp_path):
    runs = [write(tmp_path / "a", A), write(tmp_path / "b", B)]
    fuse.run(runs=runs, output=tmp_path / "f", depth=2, hits=3, rrf_k=0)
    assert orders(tmp_path / "f")["q1"] == ["a", "c", "b"]
    assert lines(tmp_path / "f")[0][4] == "1.000000"


def test_equal_documents_are_ordered_by_docid_whatever_the_order_of_runs():
    ranks = {"m": (3, 1, 7), "b": (7, 3, 1), "k": (1, 7, 3)}
    rankings = [[Hit(f"x{run}.{rank}", 0.0) for rank in range(8)] for run in range(3)]
    for docid, places in ranks.items():
        for ranking, place in zip(rankings, places, strict=True):
            ranking[place - 1] = Hit(docid, 0.0)
    scores = dict(fuse.reciprocal_rank(rankings))
    assert scores["m"] == scores["b"] == scores["k"] == math.fsum([1 / 61, 1 / 63, 1 / 67])


def test_ranks_are_trec_evals_not_the_columns(tmp_path):
    (tmp_path / "a").write_text("q Q0 a 1 1.0 t\nq Q0 b 2 1.0 t\nq Q0 c 3 5.0 t\n")
    runs = [tmp_path / "a", write(tmp_path / "b", {"p": ["z"]})]
    fuse.run(runs=runs, output=tmp_path / "f")
    assert orders(tmp_path / "f") == {"q": ["c", "b", "a"], "p": ["z"]}


def test_a_stage_keeps_the_rules_of_artefacts(tmp_path):
    runs, output = [write(tmp_path / "a", A), write(tmp_path / "b", B)], tmp_path / "new" / "f.trec"
    fuse.run(runs=runs, output=output)
    manifest = json.loads((tmp_path / "new" / "f.trec.manifest.json").read_text())
    assert manifest["command"] == "gradir fuse"
    assert manifest["counts"] == {"runs": 2, "queries": 4, "hits": 9}
    before, tag = output.stat().st_mtime_ns, lines(output)[0][5]
    assert tag.startswith("gradir.fuse.")
    assert len(tag) == len("gradir.fuse.") + 8
    assert "nothing to do" in fuse.run(runs=runs, output=output).message
    assert output.stat().st_mtime_ns == before
    with pytest.raises(GradirError, match=r"rrf_k: 60 -> 10[\s\S]*--overwrite"):
        fuse.run(runs=runs, output=output, rrf_k=10)
    fuse.run(runs=runs, output=output, rrf_k=10, overwrite=True)
    assert lines(output)[0][5] != tag
    write(runs[0], B)
    with pytest.raises(GradirError, match="other content"):
        fuse.run(runs=runs, output=output, rrf_k=10)


def test_all_problems_at_once_and_inputs_are_safe(tmp_path):
    path = write(tmp_path / "a", A)
    with pytest.raises(GradirError) as caught:
        fuse.run(runs=[path], output=path, rrf_k=-1, depth=0, hits=0, overwrite=True)
    for part in ("two runs or more", "is one of the runs", "--rrf-k -1", "--depth 0", "--hits 0"):
        assert part in str(caught.value)
    assert orders(path) == A
    with pytest.raises(GradirError, match="none: no such file"):
        fuse.run(runs=[path, tmp_path / "none"], output=tmp_path / "f")
    (tmp_path / "bad").write_text("q1 Q0 a 1 high t\n")
    with pytest.raises(InputError, match="bad:1: score 'high'"):
        fuse.run(runs=[path, tmp_path / "bad"], output=tmp_path / "f")
    assert not list(tmp_path.glob("*f*"))


def test_command_with_pyserinis_flags(tmp_path, capsys):
    runs = [write(tmp_path / "a", A), write(tmp_path / "b", B)]
    words = ["--runs", *runs, "--output", tmp_path / "f", "--method", "rrf", "--rrf.k", 5, "--k", 2, "--runtag", "x"]
    assert fuse.main([str(word) for word in words]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("next: gradir evaluate")
    assert lines(tmp_path / "f")[0] == ["q1", "Q0", "c", "1", f"{1 / 8 + 1 / 6:.6f}", "x"]
    assert max(map(len, orders(tmp_path / "f").values())) == 2


@pytest.mark.parametrize(("depth", "hits", "k", "count"), [(1000, 1000, 60, 2), (5, 7, 1, 2), (30, 1000, 60, 4)])
def test_equals_pyserini(tmp_path, depth, hits, k, count):
    from pyserini.fusion import reciprocal_rank_fusion
    from pyserini.trectools import TrecRun

    draw = random.Random(depth * count)
    names = [f"d{number}" for number in range(80)]
    runs = []
    for number in range(count):
        topics = draw.sample([f"q{topic}" for topic in range(30)], 25)
        rankings = {qid: draw.sample(names, draw.randint(1, len(names))) for qid in topics}
        runs.append(write(tmp_path / f"{number}.trec", rankings))
    fuse.run(runs=runs, output=tmp_path / "ours", depth=depth, hits=hits, rrf_k=k)
    theirs = reciprocal_rank_fusion([TrecRun(filepath=str(path)) for path in runs], rrf_k=k, depth=depth, k=hits)
    expected: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for qid, _, docid, _, score, _ in theirs.to_numpy():
        # Pyserini's sums of three and more differ in the last bit with the order of the runs, which parts equal documents.
        expected[qid].append((-round(score, 12), docid))
    ours = orders(tmp_path / "ours")
    if hits >= 80:
        assert ours == {qid: [docid for _, docid in sorted(pairs)] for qid, pairs in expected.items()}
    else:  # with two runs the sums do not depend on the order, so the cut falls at the same place
        assert ours == {qid: [docid for _, docid in pairs] for qid, pairs in expected.items()}
    for qid, written in read_run(tmp_path / "ours").items():
        assert [hit.score for hit in written] == pytest.approx([-score for score, _ in sorted(expected[qid])], abs=1e-4)


DOCIDS = st.lists(st.sampled_from([f"d{number}" for number in range(12)]), unique=True, min_size=1, max_size=12)
RUNS = st.lists(st.dictionaries(st.sampled_from("pqrst"), DOCIDS, min_size=1), min_size=2, max_size=4)


@settings(max_examples=100, deadline=None)
@given(RUNS, st.integers(1, 8), st.integers(1, 8), st.integers(0, 100))
def test_equals_the_obvious_version(tmp_path_factory, rankings, depth, hits, k):
    folder = tmp_path_factory.mktemp("fuse")
    paths = [write(folder / str(number), ranking) for number, ranking in enumerate(rankings)]
    fuse.run(runs=paths, output=folder / "f", depth=depth, hits=hits, rrf_k=k)
    expected: dict[str, list[str]] = {}
    for qid in dict.fromkeys(qid for ranking in rankings for qid in ranking):
        places = [ranking[qid][:depth] for ranking in rankings if qid in ranking]
        score = {
            docid: math.fsum(1 / (k + 1 + listed.index(docid)) for listed in places if docid in listed)
            for docid in {docid for listed in places for docid in listed}
        }
        expected[qid] = sorted(score, key=lambda docid: (-score[docid], docid))[:hits]
    assert orders(folder / "f") == expected
    assert list(orders(folder / "f")) == list(expected)
    assert orders(folder / "f") == {qid: [hit.docid for hit in found] for qid, found in read_run(folder / "f").items()}
