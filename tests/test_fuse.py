"""Fusion against pyserini.fusion, against a slow and obvious version, and as a stage."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir import fuse
from gradir.data import Hit, read_run, run_writer
from gradir.errors import GradirError, InputError
from gradir.fuse.__main__ import main
from gradir.fuse.methods import exact_sums

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


def test_equal_documents_are_ordered_by_docid_whatever_the_order_of_runs(tmp_path):
    ranks = {"m": (3, 1, 7), "b": (7, 3, 1), "k": (1, 7, 3)}
    rankings = [[f"x{run}.{rank}" for rank in range(8)] for run in range(3)]
    for docid, places in ranks.items():
        for ranking, place in zip(rankings, places, strict=True):
            ranking[place - 1] = docid
    for number, order in enumerate(permutations(rankings)):
        paths = [write(tmp_path / f"{number}.{place}", {"q": ranking}) for place, ranking in enumerate(order)]
        fuse.run(runs=paths, output=tmp_path / f"{number}.fused", hits=3)
        assert orders(tmp_path / f"{number}.fused") == {"q": ["b", "k", "m"]}


parts_of_documents = st.lists(
    st.dictionaries(st.integers(0, 5), st.one_of(st.floats(-1e6, 1e6), st.integers(1, 50).map(lambda rank: 1 / rank))),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(parts_of_documents, st.randoms())
def test_sums_are_rounded_once(parts, draw):
    """What `math.fsum` gives, for which the order of runs is nothing."""
    draw.shuffle(parts)
    codes = [np.array(list(part), np.int64) for part in parts]
    found = exact_sums(codes, [np.array(list(part.values())) for part in parts], 6)
    # parts far apart in size can differ from it in the last bit
    near = [part for part in parts if all(value == 0 or abs(value) > 1e-6 for value in part.values())]
    if len(near) == len(parts):
        assert found.tolist() == [math.fsum(part.get(document, 0.0) for part in parts) for document in range(6)]


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
    assert main([str(word) for word in words]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("next: gradir evaluate")
    assert lines(tmp_path / "f")[0] == ["q1", "Q0", "c", "1", f"{1 / 8 + 1 / 6:.6f}", "x"]
    assert max(map(len, orders(tmp_path / "f").values())) == 2


def random_runs(folder, count, seed):
    """Runs over 30 topics and 80 documents, none of which has equal scores."""
    draw = random.Random(seed)
    names, paths = [f"d{number}" for number in range(80)], []
    for number in range(count):
        path = folder / f"{number}.trec"
        with run_writer(path, "t") as writer:
            for qid in sorted(draw.sample([f"q{topic}" for topic in range(30)], 25)):
                found = draw.sample(names, draw.randint(1, len(names)))
                scores = draw.sample(range(1, 10**7), len(found))
                writer.write(qid, [Hit(docid, score / 3e5 - 4) for docid, score in zip(found, scores, strict=True)])
        paths.append(path)
    return paths


METHODS = {
    "rrf": (["--rrf.k", "7"], lambda runs, **cut: pyserini_fusion().reciprocal_rank_fusion(runs, rrf_k=7, **cut), 4),
    "interpolation": (
        ["--alpha", "0.3"],
        lambda runs, **cut: pyserini_fusion().interpolation(runs, alpha=0.3, **cut),
        2,
    ),
    "average": ([], lambda runs, **cut: pyserini_fusion().average(runs, **cut), 4),
    "normalize": ([], lambda runs, **cut: pyserini_fusion().normalize(runs, **cut), 4),
}


def pyserini_fusion():
    import pyserini.fusion

    return pyserini.fusion


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("depth", "hits"), [(1000, 1000), (30, 1000), (5, 7)])
def test_equals_pyserini(tmp_path, method, depth, hits):
    from pyserini.trectools import TrecRun

    words, theirs, count = METHODS[method]
    runs = random_runs(tmp_path, count, depth)
    cuts = ["--depth", str(depth), "--k", str(hits)]
    assert main(["--runs", *map(str, runs), "--output", str(tmp_path / "ours"), "--method", method, *words, *cuts]) == 0
    # more than are written: where sums of three and more tie, Pyserini's last bit decides, and it decides who is cut off
    fused = theirs([TrecRun(filepath=str(path)) for path in runs], depth=depth, k=hits + 20)
    expected: dict[str, dict[str, float]] = defaultdict(dict)
    for qid, _, docid, _, score, _ in fused.to_numpy():
        expected[qid][docid] = score
    ours = read_run(tmp_path / "ours")
    assert ours.keys() == expected.keys()
    for qid, written in ours.items():
        best = sorted(expected[qid].values(), reverse=True)[:hits]
        # the score that Pyserini has for the document at each of our ranks: its order, but for the last bit of equal sums
        assert [expected[qid][hit.docid] for hit in written] == pytest.approx(best, rel=1e-12, abs=1e-12)
        assert [hit.score for hit in written] == pytest.approx(best, abs=1e-4)


def fused_scores(folder, one, two, **options):
    """The scores of two runs of one query, fused."""
    for name, hits in (("a", one), ("b", two)):
        with run_writer(folder / name, "t") as writer:
            writer.write("q", [Hit(docid, float(score)) for docid, score in hits.items()])
    fuse.run(runs=[folder / "a", folder / "b"], output=folder / "f", overwrite=True, **options)
    return {hit.docid: hit.score for hit in read_run(folder / "f")["q"]}


ONE, TWO = {"a": 9, "b": 5, "c": 1}, {"b": 0.75, "d": 0.25}


def test_combinations_by_hand(tmp_path):
    assert fused_scores(tmp_path, ONE, TWO, method="combsum") == {"a": 9, "b": 5.75, "c": 1, "d": 0.25}
    assert fused_scores(tmp_path, ONE, TWO, method="combmnz") == {"a": 9, "b": 11.5, "c": 1, "d": 0.25}
    scaled = {"a": 1, "b": 1.5, "c": 0, "d": -0.000001}  # c and d are equal, and separated in writing
    assert fused_scores(tmp_path, ONE, TWO, method="combsum", normalize="min-max") == scaled
    assert fused_scores(tmp_path, ONE, TWO, method="normalize") == scaled
    weighted = fused_scores(tmp_path, ONE, TWO, method="interpolation", weights=[0.5, 2.0], normalize="min-max")
    assert weighted == {"b": 2.25, "a": 0.5, "c": 0, "d": -0.000001}
    deviation = math.sqrt(32 / 3)
    standard = fused_scores(tmp_path, ONE, TWO, method="combsum", normalize="z-score")
    assert standard == pytest.approx({"a": 4 / deviation, "b": 1, "d": -1, "c": -4 / deviation}, abs=1e-6)


def test_equal_scores_are_normalised_without_division_by_zero(tmp_path):
    from pyserini.trectools import RescoreMethod, TrecRun

    # a thousandth apart in the file, of one score for a reader
    (tmp_path / "same").write_text("q Q0 a 1 2.0 t\nq Q0 b 2 2.0 t\n")
    assert list(TrecRun(str(tmp_path / "same")).rescore(RescoreMethod.NORMALIZE).run_data["score"]) == [1.0, 1.0]
    other = write(tmp_path / "other", {"q": ["z"]})
    for normalize, score in (("min-max", 1.0), ("z-score", 0.0)):
        fuse.run([tmp_path / "same", other], tmp_path / "f", "combsum", normalize=normalize, overwrite=True)
        assert {hit.docid: hit.score for hit in read_run(tmp_path / "f")["q"]} == pytest.approx(
            dict.fromkeys("abz", score), abs=3e-6
        )


def test_normalisation_sees_the_whole_list_as_pyserinis_does(tmp_path):
    assert fused_scores(tmp_path, ONE, TWO, method="combsum", normalize="min-max", depth=2) == {
        "b": 1.5,
        "a": 1.0,
        "d": 0.0,
    }


def test_flags_without_effect_are_refused_together(tmp_path):
    runs = [write(tmp_path / name, A) for name in "abc"]
    for options, parts in (
        (
            {"alpha": 0.5, "weights": [1.0], "normalize": "min-max"},
            ("--alpha is for", "1 --weights for 3", "only ranks"),
        ),
        ({"method": "interpolation"}, ("3 runs needs --weights",)),
        ({"method": "interpolation", "alpha": 0.5, "weights": [1.0, math.nan, 1.0]}, ("exclude", "nan is not finite")),
        ({"method": "normalize", "normalize": "z-score"}, ("min-max already",)),
    ):
        with pytest.raises(GradirError) as caught:
            fuse.run(runs=runs, output=tmp_path / "f", **options)
        for part in parts:
            assert part in str(caught.value)


def test_a_document_twice_is_told_with_its_line(tmp_path):
    path = write(tmp_path / "a", A)
    (tmp_path / "b").write_text("q2 Q0 a 1 3 t\nq1 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq1 Q0 a 3 1 t\n")
    with pytest.raises(InputError, match=r"b:4: document a twice for query q1"):
        fuse.run(runs=[path, tmp_path / "b"], output=tmp_path / "f")
    assert not (tmp_path / "f").exists()


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
