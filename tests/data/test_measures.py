"""Measures against figures worked out by hand, and against a slow and obvious version."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data import Hit
from gradir.data.measures import DEFAULT_MEASURES, evaluate_run, parse_measures
from gradir.errors import GradirError, InputError

QRELS = {"q1": {"a": 2, "b": 0, "c": 1, "d": -1}, "q2": {"a": 1}}
RUN = [("q1", [Hit("x", 5.0), Hit("a", 4.0), Hit("b", 3.0), Hit("c", 2.0)])]


def test_small_case_by_hand():
    scores = evaluate_run(QRELS, RUN, ["nDCG@10", "nDCG@2", "AP", "RR", "P@2", "R@2", "Success@1", "Rprec", "bpref"])
    found = scores.per_query["q1"]
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert found["nDCG@10"] == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["nDCG@2"] == pytest.approx(2 / math.log2(3) / ideal)
    assert found["AP"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["RR"] == found["P@2"] == found["R@2"] == found["Rprec"] == 0.5
    assert found["Success@1"] == 0
    assert found["bpref"] == pytest.approx((1 + 0) / 2)  # `c` stands below one judged non-relevant document, and M = 1
    assert scores.per_query["q2"] == dict.fromkeys(found, 0.0)
    assert scores.means == {name: pytest.approx(value / 2) for name, value in found.items()}
    assert (scores.missing, scores.unjudged, scores.reordered) == (1, 0, 0)


def test_default_measures_and_order_of_queries():
    scores = evaluate_run({"z": {"a": 1}, "b": {"a": 1}}, [("b", [Hit("a", 1.0)]), ("z", [Hit("a", 1.0)])])
    assert tuple(scores.means) == DEFAULT_MEASURES
    assert list(scores.per_query) == ["z", "b"]
    assert set(scores.means.values()) == {1.0}


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (9, 1 / 9), (10, 0.1), (11, 0.0)])
def test_reciprocal_rank_ends_at_its_cut_off(rank, expected):
    hits = [Hit(f"x{place}", 100.0 - place) for place in range(1, 20)]
    hits[rank - 1] = Hit("good", hits[rank - 1].score)
    scores = evaluate_run({"q": {"good": 1}}, [("q", hits)], ["MRR@10", "RR@10", "mrr@1000", "recip_rank"])
    assert scores.means == {
        "MRR@10": pytest.approx(expected),
        "RR@10": pytest.approx(expected),
        "mrr@1000": pytest.approx(1 / rank),
        "recip_rank": pytest.approx(1 / rank),
    }


@pytest.mark.parametrize("cutoff", [3, 7, 49, 103, 1000])
def test_cut_off_is_exact_at_its_own_rank(cutoff):
    hits = [Hit(f"x{place}", 5000.0 - place) for place in range(cutoff - 1)] + [Hit("good", 1.0)]
    scores = evaluate_run({"q": {"good": 1}}, [("q", hits)], [f"RR@{cutoff}", f"RR@{cutoff - 1}"])
    assert scores.means == {f"RR@{cutoff}": 1 / cutoff, f"RR@{cutoff - 1}": 0.0}


def test_judged_query_without_relevant_documents_counts_as_zero():
    qrels = {"q1": {"a": 1}, "none": {"a": 0}, "negative": {"a": -1}, "below": {"a": -2, "b": -7}}
    run = [(qid, [Hit("a", 1.0), Hit("b", 0.5)]) for qid in qrels]
    scores = evaluate_run(qrels, run, ["nDCG@10", "MAP", "MRR", "R@5", "num_q"])
    assert scores.means == {"nDCG@10": 0.25, "MAP": 0.25, "MRR": 0.25, "R@5": 0.25, "num_q": 4}
    assert scores.missing == 0


def test_ties_go_to_the_higher_docid_and_scores_are_single_precision():
    apart = [Hit("a", 1.00000001), Hit("b", 1.0)]  # `a` is first only in double precision
    first_a = evaluate_run({"q": {"a": 1}}, [("q", apart)], ["MRR"])
    first_b = evaluate_run({"q": {"b": 1}}, [("q", apart)], ["MRR"])
    assert (first_a.means["MRR"], first_b.means["MRR"]) == (0.5, 1.0)
    assert first_a.reordered == first_b.reordered == 1
    assert evaluate_run({"q": {"z": 1}}, [("q", apart)], ["MRR"]).reordered == 0  # neither is judged: nothing changes
    assert evaluate_run({"q": {"a": 1, "b": 1}}, [("q", apart)], ["MRR"]).reordered == 0
    assert evaluate_run({"q": {"a": 1}}, [("q", [Hit("a", 1e300), Hit("b", 1e299)])], ["MRR"]).reordered == 1


def test_minimum_grade_moves_binary_measures_only():
    names = ["nDCG@10", "MAP", "R@10", "num_rel"]
    lenient, strict = (evaluate_run(QRELS, RUN, names, min_grade) for min_grade in (1, 2))
    assert lenient.means["nDCG@10"] == strict.means["nDCG@10"] > 0
    assert (lenient.per_query["q1"]["MAP"], strict.per_query["q1"]["MAP"]) == (0.5, 0.5)
    assert (lenient.per_query["q1"]["num_rel"], strict.per_query["q1"]["num_rel"]) == (2, 1)
    for wrong in (0, -1):
        with pytest.raises(GradirError, match="choose 1 or more"):
            evaluate_run(QRELS, RUN, names, wrong)


def test_unjudged_queries_are_left_out_and_a_foreign_run_is_an_error():
    scores = evaluate_run(QRELS, [*RUN, ("q3", [Hit("a", 1.0)])], ["MRR"])
    assert scores.unjudged == 1
    assert scores.means["MRR"] == 0.25
    with pytest.raises(InputError, match="none of its queries is judged"):
        evaluate_run(QRELS, [("Q1", [Hit("a", 1.0)])], ["MRR"])
    assert evaluate_run(QRELS, [], ["MRR"]).means == {"MRR": 0.0}


def test_qrels_that_would_crash_trec_eval_are_refused():
    with pytest.raises(GradirError, match="a grade of 1700000000"):
        evaluate_run({"q1": {"a": 1_700_000_000}}, RUN)
    with pytest.raises(GradirError, match="no judgements"):
        evaluate_run({}, RUN)


def test_names_of_both_kinds_mean_the_same():
    pairs = [
        ("nDCG@10", "ndcg_cut.10"),
        ("NDCG@5", "ndcg_cut_5"),
        ("nDCG", "ndcg"),
        ("MAP", "map"),
        ("AP@20", "map_cut.20"),
        ("Recall@100", "recall.100"),
        ("R@7", "recall_7"),
        ("RR", "recip_rank"),
        ("p@5", "P.5"),
        ("Success@1", "success.1"),
        ("RPrec", "Rprec"),
        ("Bpref", "bpref"),
        ("IPrec@0.1", "iprec_at_recall.0.10"),
    ]
    for names in pairs:
        ours, theirs = parse_measures(names)
        assert (ours.name, theirs.name) == names
        assert ours.key == theirs.key


def test_one_name_may_stand_for_several_columns():
    assert [column.name for column in parse_measures(["P.10,5", "success", "P_5"])] == [
        *("P_10", "P_5"),
        *("success_1", "success_5", "success_10"),
    ]
    official = {column.name for column in parse_measures(["official"])}
    assert {"map", "P_1000", "iprec_at_recall_0.00", "num_q", "gm_map"} <= official
    assert not {"runid", "relstring"} & {column.name for column in parse_measures(["all_trec"])}
    values = evaluate_run(QRELS, RUN, ["all_trec", "nDCG@3", "P.3"]).means
    assert len(values) > 90
    assert all(map(math.isfinite, values.values()))


def test_all_bad_names_are_reported_at_once():
    bad = [
        "ndgc@10",
        "map.10",
        "P@0",
        "P@1.5",
        "rprec@3",
        "iprec@1.5",
        "set_F.0.5",
        "recal.5",
        "P.5,,6",
        "",
        "runid",
        "@10",
    ]
    with pytest.raises(GradirError) as caught:
        parse_measures(["MAP", *bad])
    lines = str(caught.value).split("\n  ")[1:]
    assert [line.split("' ")[0][1:] for line in lines] == bad
    assert "did you mean 'ndcg@10'?" in lines[0]
    assert "MAP@100" in lines[1]
    assert "did you mean 'recall" in lines[7]
    with pytest.raises(GradirError, match="no measures"):
        parse_measures([])


NAMES = ["nDCG@3", "nDCG", "MAP", "MAP@3", "MRR", "MRR@2", "P@3", "R@3", "Success@2", "Rprec"]
DOCIDS = ["a", "b", "B", "ab", "d10", "d9", "é", "日"]
ids = st.sampled_from(DOCIDS)
judgements = st.dictionaries(st.sampled_from(["1", "2", "10"]), st.dictionaries(ids, st.integers(-3, 4), min_size=1))
values = st.sampled_from([0.0, 1.0, 1.00000001, -2.5, 17.0, 17.000001]) | st.floats(-50, 50, width=32)
rankings = st.dictionaries(st.sampled_from(["1", "2", "10", "unjudged"]), st.dictionaries(ids, values, min_size=1))


def obvious(judged: dict[str, int], scores: dict[str, float], least: int) -> dict[str, float]:
    """NAMES for one query, straight from the definitions."""
    ranked = sorted(scores, key=lambda docid: (array("f", [scores[docid]])[0], docid), reverse=True)
    gains = [max(0, judged.get(docid, 0)) for docid in ranked]
    hit = [judged.get(docid, 0) >= least for docid in ranked]
    total = sum(grade >= least for grade in judged.values())
    best = sorted((max(0, grade) for grade in judged.values()), reverse=True)
    first = next((rank for rank, good in enumerate(hit, 1) if good), math.inf)

    def dcg(grades: list[int]) -> float:
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))

    def ndcg(k: int) -> float:
        return dcg(gains[:k]) / dcg(best[:k]) if dcg(best[:k]) else 0.0

    def ap(k: int) -> float:
        parts = [sum(hit[:rank]) / rank for rank, good in enumerate(hit[:k], 1) if good]
        return sum(parts) / total if total else 0.0

    return {
        "nDCG@3": ndcg(3),
        "nDCG": ndcg(99),
        "MAP": ap(99),
        "MAP@3": ap(3),
        "MRR": 1 / first,
        "MRR@2": 1 / first if first <= 2 else 0.0,
        "P@3": sum(hit[:3]) / 3,
        "R@3": sum(hit[:3]) / total if total else 0.0,
        "Success@2": float(any(hit[:2])),
        "Rprec": sum(hit[:total]) / total if total else 0.0,
    }


@settings(max_examples=300, deadline=None)
@given(judgements.filter(bool), rankings, st.integers(1, 3))
def test_equals_the_obvious_version(qrels, run, least):
    hits = [(qid, [Hit(*item) for item in scores.items()]) for qid, scores in run.items()]
    if run and not set(run) & set(qrels):
        with pytest.raises(InputError):
            evaluate_run(qrels, hits, NAMES, least)
        return
    found = evaluate_run(qrels, hits, NAMES, least)
    expected = {qid: obvious(judged, run.get(qid, {}), least) for qid, judged in qrels.items()}
    assert found.per_query == {qid: pytest.approx(row, abs=1e-9) for qid, row in expected.items()}
    for name in NAMES:
        assert found.means[name] == pytest.approx(sum(row[name] for row in expected.values()) / len(expected), abs=1e-9)
    assert found.missing == len(set(qrels) - set(run))
    assert found.unjudged == len(set(run) - set(qrels))
