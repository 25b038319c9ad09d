"""`gradir generate audit`: its measures against scipy, scikit-learn and formulas written out, its page against hostile text."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.schemas import load as schema
from gradir.errors import GradirError
from gradir.generate.audit import page
from gradir.generate.audit.bm25 import BM25
from gradir.generate.audit.monotone import monotone
from gradir.generate.audit.orders import auc, grouped, over_all, within
from gradir.generate.audit_stage import audit
from tests.generate import made

SUBJECTS = ("wing", "spar", "rib", "harbour", "market", "kinase", "yeast", "nozzle")
OTHERS = "the of a in was measured depends on pressure described by grows slowly winter improves dose"


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 queries, documents at four grades; the higher, the more of the query's words, and all of about the same length."""
    draw = random.Random(3)
    queries, texts = {}, {}
    for number in range(40):
        asked = draw.sample(SUBJECTS, 4)
        queries[f"q{number}"] = "what is the " + " ".join(asked)
        for grade in (3, 2, 1, 0):
            said = asked[:grade] + draw.choices(OTHERS.split(), k=draw.randint(18, 22) - grade)
            draw.shuffle(said)
            texts[f"q{number}", grade] = " ".join(said)
    texts["q7", 0] = "As an AI language model, I write nothing."
    texts["q9", 1] = texts["q8", 1]
    return made.documents_folder(tmp_path_factory.mktemp("audit") / "graded", queries, texts)


def audited(folder: Path, output: Path, **flags: Any) -> dict[str, Any]:
    audit(folder, output, **flags)
    found: dict[str, Any] = json.loads((output / "audit.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema("audit"))
    return found


# measures

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=40)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(rows)
    return table[:, 0], table[:, 1], table[:, 2].astype(float)


@settings(deadline=None)
@given(ROWS)
def test_over_all_is_scipys_tau_b_and_scikit_learns_auc(rows: list[tuple[int, int, int]]) -> None:
    from scipy.stats import kendalltau
    from sklearn.metrics import roc_auc_score

    groups, grades, values = columns(rows)
    found = over_all(groups, grades, values)
    tau = kendalltau(grades, values).statistic
    assert (found["tau_b"] is None) if np.isnan(tau) else found["tau_b"] == pytest.approx(tau, abs=1e-4)
    relevant = grades >= 2
    if relevant.any() and not relevant.all():
        area = roc_auc_score(relevant, values)
        assert found["auc"]["value"] == pytest.approx(area, abs=1e-4)
        low, high = found["auc"]["low"], found["auc"]["high"]
        assert low is None or low - 1e-4 <= area <= high + 1e-4
    else:
        assert found["auc"]["value"] is None


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_within_groups_are_the_pairs_of_a_query_alone(rows: list[tuple[int, int, int]]) -> None:
    groups, grades, values = columns(rows)
    same = different_grades = different_values = 0
    right = []
    for (g, a, x), (h, b, y) in combinations(rows, 2):
        if g != h:
            continue
        same += (a > b) * (x > y) + (a < b) * (x < y) - (a > b) * (x < y) - (a < b) * (x > y)
        different_grades += a != b
        different_values += x != y
        if (a >= 2) != (b >= 2):
            high, low = (x, y) if a >= 2 else (y, x)
            right.append(1.0 if high > low else 0.5 if high == low else 0.0)
    found = within(groups, grades, values, 1)
    root = math.sqrt(different_grades * different_values)
    expected = same / root if root else None
    assert found["tau_b"]["value"] == (None if expected is None else pytest.approx(expected, abs=1e-4))
    assert found["auc"]["value"] == (pytest.approx(np.mean(right), abs=1e-4) if right else None)
    assert within(groups, grades, values, 1) == found  # the same seed, the same interval


def test_within_one_query_is_scipys_tau_b() -> None:
    from scipy.stats import kendalltau

    draw = np.random.default_rng(2)
    grades, values = draw.integers(0, 4, 30), draw.integers(0, 9, 30).astype(float)
    found = within(np.zeros(30, np.int64), grades, values, 1)
    assert found["tau_b"]["value"] == pytest.approx(kendalltau(grades, values).statistic, abs=1e-4)


def test_intervals_hold_what_they_promise() -> None:
    """Of 200 samples with dependent documents, the intervals must hold the true AUC about 190 times."""
    from scipy.stats import norm

    draw = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), 4)
    relevant = np.tile([True, True, False, False], 60)
    truth = norm.cdf(0.8 / math.sqrt(2 * (1 + 1)))  # difference of two values of different queries
    held = plain = 0
    for _ in range(200):
        values = 0.8 * relevant + draw.normal(size=60).repeat(4) + draw.normal(size=240)
        _, low, high = auc(groups, relevant, values)
        held += low <= truth <= high
        _, low, high = auc(np.arange(240), relevant, values)  # as if documents were independent
        plain += low <= truth <= high
    assert 180 <= held <= 199
    assert plain > held  # the queries' own level adds nothing to a difference within: independence would be too wide


def test_groups_come_whole_and_in_order() -> None:
    groups, values = np.array([2, 0, 2, 1, 0]), np.arange(5)
    assert [of.tolist() for (of,) in grouped(groups, values)] == [[1, 4], [3], [0, 2]]


def test_bm25_is_lucenes_formula() -> None:
    documents = [text.lower().replace(".", "").split() for text in (made.SPAR, made.RIB, made.TOWN, "wing wing")]
    scorer = BM25(documents, {"wing", "spar", "load", "coast", "absent"})
    mean = sum(map(len, documents)) / 4
    for document in documents:
        for query in (["wing", "load"], ["wing", "wing"], ["absent"], ["coast", "spar"], []):
            expected = 0.0
            for word in query:
                df, tf = sum(word in one for one in documents), document.count(word)
                idf = math.log(1 + (4 - df + 0.5) / (df + 0.5))
                expected += idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * len(document) / mean))
            assert scorer.score(query, document) == pytest.approx(expected)
    assert BM25([], set()).score(["a"], ["a"]) >= 0


def test_monotone_counts_pairs_and_tests_queries() -> None:
    from scipy.stats import binomtest

    draw = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 5)
    grades = draw.integers(0, 4, 150)
    scores = grades + 2.0 * draw.normal(size=150)
    scores[::17] = np.nan
    found = monotone(groups, grades, scores)
    right: dict[tuple[int, int], list[int]] = {}
    votes: dict[int, int] = {}
    wrong: set[int] = set()
    for i, j in combinations(range(150), 2):
        if groups[i] != groups[j] or grades[i] == grades[j] or math.isnan(scores[i]) or math.isnan(scores[j]):
            continue
        low, high = (i, j) if grades[i] < grades[j] else (j, i)
        good = scores[high] > scores[low]
        right.setdefault((int(grades[low]), int(grades[high])), []).append(good)
        votes[int(groups[i])] = votes.get(int(groups[i]), 0) + (1 if good else -1)
        wrong |= set() if good else {int(groups[i])}
    pairs = [one for of in right.values() for one in of]
    assert (found["all"]["pairs"], found["all"]["right"]) == (len(pairs), sum(pairs))
    better, worse = sum(v > 0 for v in votes.values()), sum(v < 0 for v in votes.values())
    assert (found["all"]["better"], found["all"]["worse"]) == (better, worse)
    assert found["all"]["p"] == pytest.approx(binomtest(better, better + worse, alternative="greater").pvalue)
    assert found["queries_in_order"] == {"queries": len(votes), "in_order": len(votes) - len(wrong)}
    for one in found["levels"]:
        of = right[one["low"], one["high"]]
        assert (one["pairs"], one["right"], one["share"]) == (len(of), sum(of), round(sum(of) / len(of), 4))
        assert one["adjacent"] == (one["high"] - one["low"] == 1)
    assert found["scored"] == int((~np.isnan(scores)).sum())


def test_equal_scores_are_no_order() -> None:
    found = monotone(np.zeros(3, np.int64), np.array([0, 1, 2]), np.array([1.0, 1.0, 1.0]))
    assert (found["all"]["share"], found["all"]["p"], found["queries_in_order"]["in_order"]) == (0.5, None, 0)


# the command


def test_an_audit_of_graded_documents(graded: Path, tmp_path: Path) -> None:
    hits: dict[str, list[tuple[str, float]]] = {}
    for number in range(40):
        noise = random.Random(number)
        hits[f"q{number}"] = [(f"q{number}-g{grade}", grade + noise.gauss(0, 0.5)) for grade in (3, 2, 1, 0)]
    scores = made.run(tmp_path / "scores.trec", hits)
    found = audited(graded, tmp_path / "audit", scores=scores)
    assert (found["records"], found["queries"], found["documents"]) == (160, 40, 160)
    assert found["grades"] == {"0": 40, "1": 40, "2": 40, "3": 40}
    shares = [found["by_grade"]["overlap"][str(grade)]["mean"] for grade in (0, 1, 2, 3)]
    assert shares == sorted(shares)
    lengths = [len(row["text"].split()) for row in made.read(graded / "corpus.jsonl") if row["_id"].endswith("g3")]
    assert found["by_grade"]["document_words"]["3"]["p50"] == np.percentile(lengths, 50)
    assert found["defects"] == {"refusal": {"records": 1, "examples": ["q7-g0"]}}
    assert found["duplicates"]["exact_examples"] == [["q9-g1", "q8-g1"]]
    assert found["duplicates"]["near"] >= 1
    assert found["language"]["expected"] == "en"
    assert found["leak"]["bm25"]["within"]["auc"]["value"] > 0.9
    low, high = (found["leak"]["document_words"]["within"]["auc"][name] for name in ("low", "high"))
    assert low < 0.5 < high
    assert found["monotone"]["all"]["p"] < 0.01
    assert found["monotone"]["by"] == str(scores)
    assert "1 of 160 (0.6%) texts: refusal." in found["findings"]
    for name in ("grades", "lengths", "overlap", "bm25", "reranker", "monotone"):
        assert (tmp_path / "audit" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "nothing to do" in audit(graded, tmp_path / "audit", scores=scores).message


def test_lengths_that_give_the_grade_away_are_called_a_leak(tmp_path: Path) -> None:
    texts = {(f"q{i}", grade): "word " * (5 + 5 * grade + i % 3) for i in range(20) for grade in (3, 2, 1, 0)}
    folder = made.documents_folder(tmp_path / "d", {f"q{i}": "which one" for i in range(20)}, texts)
    found = audited(folder, tmp_path / "audit", duplicates=float("inf"))
    assert found["leak"]["document_words"]["within"]["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "Length alone tells the grade: the relevant text is longer in 100.0% of the pairs." in found["findings"]
    assert "near" not in found["duplicates"]


def test_what_falls_and_what_was_cut_off_is_said(tmp_path: Path) -> None:
    texts = {("q1", 3): made.SPAR, ("q1", 2): "what is a spar, of what is it made", ("q1", 0): made.TOWN}
    folder = made.documents_folder(tmp_path / "d", {"q1": "what is a spar"}, texts)
    records = made.read(folder / "records.jsonl")
    made.lines(folder / "records.jsonl", [records[0], *({**one, "finish": "length"} for one in records[1:])])
    found = audited(folder, tmp_path / "audit")
    assert found["cut_off"] == {"records": 2, "examples": ["q1-g2", "q1-g0"]}
    assert "2 of 3 (66.7%) texts were cut off at --max-tokens." in found["findings"]
    assert "The share of query words in the document falls from grade 2 (1.00) to grade 3 (0.50)." in found["findings"]
    assert "cut off at" in (tmp_path / "audit" / "audit.md").read_text()


def test_an_audit_of_queries(tmp_path: Path) -> None:
    asked = [
        "What is a wing spar?",
        "what are ribs",
        "how does a town live",
        "wie wird der Holm von einem Flügel gebaut",
    ]
    rows = [
        {"qid": f"s{i}", "docid": f"d{i // 2}", "query": text, "log_probs": [-0.5 * (i + 1)] * 3}
        for i, text in enumerate(asked)
    ]
    corpus = made.collection(
        tmp_path / "c", {"d0": made.SPAR, "d1": made.TOWN}, {"t": "What are ribs?"}, [("t", "d1", 1)]
    )
    folder = made.queries_folder(tmp_path / "q", rows)
    found = audited(folder, tmp_path / "audit", corpus=[str(corpus)], against=[str(corpus)], language="en")
    assert found["first_words"] == {"what": 2, "how": 1, "wie": 1}
    assert found["lengths"]["query_words"]["max"] == 8
    assert found["lengths"]["log_prob"]["p50"] == -1.25
    assert found["per_group"]["mean"] == 2  # queries per document
    assert found["overlap"]["n"] == 4
    assert found["contamination"]["test_query"] == {"records": 1, "examples": ["s1"]}
    assert found["language"]["found"]["de"] == 1
    assert found["language"]["wrong"] == 1
    assert "leak" not in found
    alone = audited(folder, tmp_path / "alone")
    assert alone["overlap"] == {"n": 0}
    assert alone["lengths"]["document_words"] == {"n": 0}


def test_an_audit_of_judgements(tmp_path: Path) -> None:
    folder = made.judgements_folder(tmp_path / "j", {("q", "d0"): 3, ("q", "d1"): 0, ("r", "d1"): 2})
    found = audited(folder, tmp_path / "audit")
    assert found["grades"] == {"0": 1, "2": 1, "3": 1}
    corpus = made.collection(tmp_path / "c", {"d0": made.SPAR, "d1": made.TOWN}, {"q": "wing spar", "r": "town"})
    found = audited(folder, tmp_path / "more", corpus=[str(corpus)], topics=str(corpus))
    assert found["leak"]["bm25"]["within"]["auc"]["value"] == 1.0


class _Reader(HTMLParser):
    """Tags and their attributes, and the text between."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_its_plots_and_no_markup_of_others(tmp_path: Path) -> None:
    rows = [
        {"qid": "<img/src=x>|`a`", "docid": "d", "query": "<script>alert(1)</script> As an AI | `x` [y](http://z)"},
        {"qid": "b", "docid": "d", "query": "$x_1 what"},
    ]
    audit(made.queries_folder(tmp_path / "q|<b>", rows), tmp_path / "audit")
    reader = _Reader()
    reader.feed((tmp_path / "audit" / "audit.html").read_text(encoding="utf-8"))
    tags = {tag for tag, _ in reader.tags}
    assert "script" not in tags
    assert "b" not in tags
    sources = [attributes["src"] or "" for tag, attributes in reader.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not any("href" in attributes for _, attributes in reader.tags)
    assert "<img/src=x>|`a`" in reader.text
    text = (tmp_path / "audit" / "audit.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<", text)
    rows_of = [
        re.findall(r"(?<!\\)\|", line) for line in text.splitlines() if "refusal" in line and line.startswith("|")
    ]
    assert [len(one) for one in rows_of] == [4]  # three cells


def test_tables_in_both_forms() -> None:
    table = page.Table(["name", "n", "p"], [["a|b", 12345, 1e-9], ["c", None, 0.25]])
    assert page.markdown([table]).splitlines() == [
        "| name | n | p |",
        "| --- | ---: | ---: |",
        "| a\\|b | 12,345 | 1.0e-09 |",
        "| c | - | 0.25 |",
    ]
    assert '<td>a|b</td><td class="n">12,345</td>' in page.page([table], Path())


def test_without_matplotlib_there_is_a_page_that_says_so(
    graded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    audited(graded, tmp_path / "audit")
    assert "No plots: matplotlib is not installed" in (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "audit").glob("*.png"))


def test_the_same_twice_is_the_same_bytes(graded: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        audit(graded, tmp_path / name)
    for file in sorted((tmp_path / "one").iterdir()):
        if file.name != "manifest.json":
            assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_a_reranker_scores_the_pairs(graded: Path, tmp_path: Path, tiny: Any) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tiny("bert"), num_labels=1))
    model.save_pretrained(tmp_path / "ce")
    AutoTokenizer.from_pretrained(tiny("bert")).save_pretrained(tmp_path / "ce")
    found = audited(graded, tmp_path / "audit", reranker=str(tmp_path / "ce"), device="cpu")
    assert found["monotone"]["scored"] == 160
    assert found["monotone"]["all"]["pairs"] == 240


def test_all_problems_at_once(graded: Path, tmp_path: Path, raises_error: Any) -> None:
    with raises_error("none.trec: no such file", "give one", "--ngram 0", "no qrels/test.tsv", "--language xx"):
        audit(
            graded,
            tmp_path / "audit",
            scores=tmp_path / "none.trec",
            reranker="m",
            ngram=0,
            against=[str(tmp_path)],
            language="xx",
        )
    with pytest.raises(GradirError, match="holds no records"):
        audit(tmp_path, tmp_path / "audit")
    queries = made.queries_folder(tmp_path / "q", [{"qid": "a", "docid": "d", "query": "x"}])
    with raises_error("--reranker needs --corpus"):
        audit(queries, tmp_path / "audit", reranker="m")
