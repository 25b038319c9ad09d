"""Each filter against a slow and obvious version of itself."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.same_text import same_text
from gradir.errors import InputError, MissingDependency
from gradir.generate.filters import (
    Filter,
    bounds,
    contamination,
    copies,
    duplicates,
    language,
    levels,
    logprob,
    rejudged,
    roundtrip,
    scores,
)
from gradir.generate.filters import boilerplate as plates
from gradir.generate.filters.applied import complete
from gradir.generate.filters.similar import Signatures, jaccard
from gradir.generate.filters.words import share_found, words
from gradir.generate.generated import Generated
from tests.generate import made


class Some:
    """Records in memory with what a filter looks at."""

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        for number, row in enumerate(self.rows):
            yield _Row(number, row)

    def kept(self, one: Filter) -> list[int]:
        gone = {drop.number for drop in one(iter(self))}  # type: ignore[arg-type]
        return [number for number in range(len(self.rows)) if number not in gone]

    def dropped(self, one: Filter) -> dict[int, tuple[str, Any]]:
        return {drop.number: (drop.reason, drop.value) for drop in one(iter(self))}  # type: ignore[arg-type]


class _Row:
    def __init__(self, number: int, row: dict[str, Any]):
        self.number, self.record = number, row
        self.qid, self.docid = row.get("qid", f"q{number}"), row.get("docid", f"d{number}")
        self.query, self.document = row.get("query", ""), row.get("document", "")
        self.made, self.made_id, self.grade = row.get("made", self.query), self.qid, row.get("grade", 3)

    def fail(self, problem: str, fix: str) -> InputError:
        return InputError("records.jsonl", problem, fix, self.number + 1)


# words


def test_words_of_any_script() -> None:
    assert words("Don't STOP: x_1, naïve Ｆｕｌｌ") == ["don", "t", "stop", "x_1", "naïve", "full"]
    assert words("机器学习 is 学") == ["机", "器", "学", "习", "is", "学"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]  # vowel signs do not end a word
    assert words(" ,.; ") == []
    assert same_text("  Straße\n\tﬁle ") == "strasse file"


def test_share_found_counts_distinct_words() -> None:
    assert share_found(["a", "a", "b", "c"], ["a", "b", "x"]) == 2 / 3
    assert share_found([], ["a"]) == 0


# log-probabilities

LOG_PROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(LOG_PROBS, min_size=1, max_size=12), st.integers(1, 13), st.randoms())
def test_the_best_by_mean_log_probability(lists: list[list[float]], k: int, draw: random.Random) -> None:
    lists += [list(one) for one in lists[:3]]  # ties
    ids = draw.sample(range(100), len(lists))
    some = Some([{"qid": f"q{i:02}", "log_probs": one} for i, one in zip(ids, lists, strict=True)])
    ranked = sorted(range(len(lists)), key=lambda i: (-math.fsum(lists[i]) / len(lists[i]), ids[i]))
    assert some.kept(logprob.best(k)) == sorted(ranked[:k])


def test_the_mean_and_not_the_sum_decides() -> None:
    some = Some([{"log_probs": [-1.0]}, {"log_probs": [-0.9] * 50}, {"log_probs": [-0.1, -3.0]}])
    assert some.kept(logprob.best(1)) == [1]
    assert some.dropped(logprob.above(-0.95)) == {0: ("log_prob", -1.0), 2: ("log_prob", -1.55)}


def test_tokens_are_counted_by_their_log_probabilities() -> None:
    some = Some([{"log_probs": [-1.0] * n} for n in (2, 3, 1000, 1001)])
    assert some.dropped(logprob.tokens(3, 1000)) == {0: ("few_tokens", 2), 3: ("many_tokens", 1001)}
    assert some.kept(logprob.tokens(None, 3)) == [0, 1]


@pytest.mark.parametrize("wrong", [[-1.0, 0.5], [float("nan")], ["-1"], -1.0, [float("-inf")]])
def test_what_is_no_log_probability_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"records\.jsonl:1: `log_probs`"):
        Some([{"log_probs": wrong}]).kept(logprob.best(1))
    assert Some([{"log_probs": [1e-4]}]).kept(logprob.best(1)) == [0]  # what 16 bits make of a certain token


def test_a_mean_without_its_tokens_will_do() -> None:
    some = Some([{"mean_log_prob": -2.0}, {"mean_log_prob": -1.0, "log_probs": []}, {"log_probs": [-1.5]}])
    assert some.kept(logprob.best(2)) == [1, 2]


# lengths and copies


def test_lengths() -> None:
    some = Some([{"query": text, "document": text} for text in ("  four ", "one two", "one two three", "")])
    assert some.kept(bounds.within(bounds.Bound("query", "chars", 4, 7))) == [0, 1]
    assert some.dropped(bounds.within(bounds.Bound("document", "words", 2))) == {
        0: ("document_words", 1),
        3: ("document_words", 0),
    }


def test_copies_but_for_case_and_white_space() -> None:
    document = "The wing spar\ncarries the LOAD of the wing."
    rows = ["wing  spar carries the load", "wing spar carries a load", "what carries the load", "CARRIES THE LOAD"]
    some = Some([{"query": row, "document": document} for row in rows])
    assert some.kept(copies.substrings) == [1, 2]
    shares = [
        len(set(row.lower().split()) & set(document.lower()[:-1].split())) / len(set(row.lower().split()))
        for row in rows
    ]
    assert some.dropped(copies.overlap(0.75)) == {
        i: ("overlap", round(share, 6)) for i, share in enumerate(shares) if share > 0.75
    }


# near duplicates


def _texts(number: int, seed: int) -> list[str]:
    """Texts, some of them changed a little from an earlier one."""
    draw, known = random.Random(seed), list[str]()
    vocabulary = [f"{a}{b}" for a in ("wing", "spar", "load", "skin", "rib") for b in ("", "s", "ed", "ing", "less")]
    for _ in range(number):
        if known and draw.random() < 0.5:
            text = draw.choice(known).split()
            for _ in range(draw.randint(0, 4)):
                text[draw.randrange(len(text))] = draw.choice(vocabulary)
        else:
            text = draw.choices(vocabulary, k=draw.randint(5, 40))
        known.append(" ".join(text))
    return known


@cache
def _grams(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 5] for i in range(len(text) - 4)) or frozenset({text})


def _naive(first: str, second: str) -> float:
    one, other = _grams(first), _grams(second)
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_duplicates_are_those_of_all_pairs_compared(threshold: float) -> None:
    texts = _texts(250, 5)
    signatures = Signatures(threshold)
    for text in texts:
        signatures.add(text)
    found = {one.row: one for one in signatures.near(range(250), lambda row: texts[row])}
    for one in found.values():
        assert one.similarity == pytest.approx(_naive(texts[one.row], texts[one.other]))
        assert one.similarity >= threshold
        assert one.other not in found
        assert one.other < one.row
    stay = [row for row in range(250) if row not in found]
    missed = [pair for pair in combinations(stay, 2) if _naive(texts[pair[0]], texts[pair[1]]) >= threshold]
    assert not [pair for pair in missed if _naive(texts[pair[0]], texts[pair[1]]) >= min(1.0, threshold + 0.1)]
    assert len(missed) <= 0.03 * len(found)
    assert len(found) > 20


def test_without_datasketch_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingDependency, match="pip install datasketch"):
        Signatures(0.8)


def test_jaccard_of_short_and_of_empty_texts() -> None:
    assert jaccard("abc", "ABC ") == 1
    assert jaccard("", " ") == 1
    assert jaccard("abc", "abd") == 0
    assert jaccard("abcdef", "abcdefg") == 2 / 3


def test_of_duplicates_the_first_or_the_better_one_stays(tmp_path: Path) -> None:
    rows = [
        {"qid": "a", "docid": "d", "query": "what is a wing spar made of", "log_probs": [-2.0]},
        {"qid": "b", "docid": "d", "query": "where is the market"},
        {"qid": "c", "docid": "e", "query": "What is a wing spar made of?", "log_probs": [-1.0]},
    ]
    with Generated(made.queries_folder(tmp_path, rows)) as source:
        first = {drop.number: drop.value["of"] for drop in duplicates.near(source, 0.8)(source.items())}
        assert first == {2: "a"}
        better = duplicates.near(source, 0.8, lambda item: logprob.mean_log_prob(item) or -9.0)
        assert {drop.number: drop.value["of"] for drop in better(source.items())} == {0: "c"}


# boiler-plate and language


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("As an AI language model, I have no wings.", "refusal"),
        ("I'm sorry, but I cannot write that.", "refusal"),
        ("Es tut mir leid, das geht nicht.", "refusal"),
        ("作为一个人工智能，我不能回答。", "refusal"),
        ("申し訳ありませんが、できません。", "refusal"),
        ("К сожалению, я не могу.", "refusal"),
        ("Sure! what is a wing spar", "boilerplate"),
        ("Here is a relevant query: what is a wing spar", "boilerplate"),
        ("Certainly. A wing spar …", "boilerplate"),
        ("what is a wing spar Document:", "marker"),
        ("Example 4: Document", "marker"),
        ("A spar <|im_end|>", "marker"),
        ("Dear [Your Name], the spar", "marker"),
        ("the wing spar carries load " * 12, "repetition"),
        (" \n ", "empty"),
    ],
)
def test_what_is_no_query_or_document(text: str, reason: str) -> None:
    assert [why for why, _ in Some([{"made": text}]).dropped(plates.boilerplate).values()] == [reason]


def test_sound_texts_pass(sentences: list[str]) -> None:
    sound = [
        *sentences,
        "how do ai models write",
        "sure footed animals",
        "what does the passage of time do",
        "here and now",
    ]
    sound += ["is there an unfortunately named town", "query optimisation in databases", "what is document: a noun"]
    assert Some([{"made": text} for text in sound]).dropped(plates.boilerplate) == {}


def test_every_pattern_and_every_word_list_is_text() -> None:
    tables, scripts = language._tables()
    assert all(isinstance(word, str) for codes in tables.values() for of in codes.values() for word in of)
    assert all(word == word.casefold() for codes in tables.values() for of in codes.values() for word in of)
    assert set(plates._patterns()) == {"refusals", "boilerplate", "markers"}
    assert "Han" in scripts


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("what is the load of a wing spar", None, "en"),
        ("wie wird die Last von einem Holm getragen", "en", "de"),
        ("comment le longeron est fixé dans une aile", "en", "fr"),
        ("что такое лонжерон и как он работает", "en", "ru"),
        ("机翼的翼梁是什么", "en", "zh"),
        ("翼桁とは何ですか", "en", "ja"),
        ("날개보란 무엇입니까", "en", "ko"),
        ("what is the load of a wing", "de", "en"),
        ("numpy ndarray reshape", "en", None),
        ("numpy ndarray reshape", "zh", None),
        ("", "en", None),
        ("12345 !!", "en", None),
        ("Calculate non-centrality parameter for non-central F distribution", "en", "en"),
        ("主翼桁", "ja", None),
    ],
)
def test_language(text: str, expected: str | None, found: str | None) -> None:
    assert language.language_of(text, expected) == found


# contamination


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=9), min_size=1, max_size=6),
    st.lists(st.sampled_from("abc"), max_size=9),
    st.integers(1, 6),
)
def test_shared_runs_of_words(tests: list[list[str]], text: list[str], n: int) -> None:
    def grams(one: list[str]) -> set[tuple[str, ...]]:
        return {tuple(one[i : i + n]) for i in range(len(one) - n + 1)}

    shared = contamination.Runs(n, [" ".join(one) for one in tests]).shared(" ".join(text))
    expected = any(grams(one) & grams(text) or (one and one == text) for one in tests)
    assert (shared is not None) == expected
    if shared is not None:
        assert shared in " ".join(text)


@pytest.fixture
def against(tmp_path: Path) -> Path:
    judged = [("t1", "T1", 1), ("t2", "T2", 2), ("t2", "T3", 0)]
    texts = {
        "T1": made.SPAR,
        "T2": made.RIB,
        "T3": made.TOWN,
        "T4": "A document that nobody has judged at all for any query.",
    }
    asked = {
        "t1": "what carries the bending load of a wing",
        "t2": "ribs",
        "other": "where does the old harbour town lie",
    }
    return made.collection(tmp_path / "tests", texts, asked, judged)


def test_queries_are_compared_with_test_queries(tmp_path: Path, against: Path) -> None:
    texts = [
        "Ribs!",
        "ribs of a ship",
        "tell me what carries the bending load of a wing please",
        "what carries the bending loads of a wing",
    ]
    texts.append("where does the old harbour town lie")  # asked in another split
    texts.append("Where does the old harbour town lie?")  # like another generated one, which is no contamination
    rows = [{"qid": f"s{i}", "docid": "T1", "query": text} for i, text in enumerate(texts)]
    with Generated(made.queries_folder(tmp_path / "q", rows)) as source:
        tests = contamination.held_out([against], "test")
        shared = {
            drop.number: (drop.reason, drop.value)
            for drop in contamination.shares_words(source, tests, 8)(source.items())
        }
        assert shared == {0: ("test_query", "ribs"), 2: ("test_query", "what carries the bending load of a wing")}
        near = {drop.number: drop.value["of"] for drop in contamination.resembles(source, tests, 0.75)(source.items())}
        assert near == {3: "t1"}
        everything = contamination.held_out([against], "all")
        assert 4 in {drop.number for drop in contamination.shares_words(source, everything, 8)(source.items())}


def test_documents_are_compared_with_relevant_test_documents(tmp_path: Path, against: Path) -> None:
    texts = {
        ("q", 3): f"Well: {made.SPAR}",
        ("q", 2): made.RIB.replace("skin", "hull"),
        ("q", 1): made.TOWN,
        ("q", 0): "Something else.",
    }
    folder = made.documents_folder(tmp_path / "d", {"q": "an own query"}, texts)
    with Generated(folder) as source:
        tests = contamination.held_out([against], "test")
        assert {d.number: d.reason for d in contamination.shares_words(source, tests, 13)(source.items())} == {
            0: "test_document"
        }
        near = {
            d.number: (d.reason, d.value["of"]) for d in contamination.resembles(source, tests, 0.7)(source.items())
        }
        assert near == {0: ("near_test_document", "T1"), 1: ("near_test_document", "T2")}


def test_the_documents_of_a_test_query_all_go(tmp_path: Path, against: Path) -> None:
    folder = made.documents_folder(
        tmp_path / "d", {"q": "RIBS", "r": "oars"}, {("q", 3): "one", ("q", 0): "two", ("r", 3): "three"}
    )
    with Generated(folder) as source:
        tests = contamination.held_out([against], "test")
        for one in (contamination.shares_words(source, tests, 13), contamination.resembles(source, tests, 0.8)):
            assert [drop.number for drop in one(source.items())] == [0, 1]


# runs, scores, levels, judgements


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[Generated]:
    rows = [{"qid": f"s{i}", "docid": f"d{i}", "query": f"query {i}"} for i in range(5)]
    rows.append({"qid": "s5", "docid": "d5", "query": "a lesser query", "grade": 1})
    with Generated(made.queries_folder(tmp_path / "q", rows)) as source:
        yield source


def test_round_trip_at_any_k(tmp_path: Path, queries: Generated) -> None:
    hits = {
        f"s{i}": [(f"d{(i + j) % 5}", 9.0 - j) for j in (4, 3, 2, 1, 0)] for i in (0, 1)
    }  # file order is not rank order
    hits |= {"s2": [("x", 3.0), ("y", 2.0), ("d2", 1.0)], "s3": [("x", 2.0), ("y", 1.0)], "elsewhere": [("d4", 1.0)]}
    run = made.run(tmp_path / "run.trec", hits)
    found = scores.in_run(run, queries, 6)

    def dropped(k: int) -> dict[int, Any]:
        return {drop.number: drop.value for drop in roundtrip.among(found, k)(queries.items())}

    assert dropped(1) == dropped(2) == {2: 3, 3: None, 4: None}  # s5 was made to fit less
    assert dropped(3) == {3: None, 4: None}


def test_a_run_of_other_queries_is_refused(tmp_path: Path, queries: Generated, raises_error: Any) -> None:
    with raises_error("has no query of", "Do they belong together?"):
        scores.in_run(made.run(tmp_path / "run.trec", {"elsewhere": [("d", 1.0)]}), queries, 6)


def test_scores_of_a_run(tmp_path: Path, queries: Generated) -> None:
    hits = {f"s{i}": [("x", 5.0), (f"d{i}", [0.3, 0.9, 0.3, 0.1][i])] for i in range(4)}
    found = scores.Scores(scores.in_run(made.run(tmp_path / "run.trec", hits), queries, 6).scores)
    assert {d.number: d.reason for d in scores.at_least(found, 0.3)(queries.items())} == {
        3: "score",
        4: "no_score",
        5: "no_score",
    }
    assert {d.number: d.reason for d in scores.best(found, 2)(queries.items())} == {
        2: "top_scores",  # as good as 0, whose id is lower
        3: "top_scores",
        4: "no_score",
        5: "no_score",
    }


def test_scores_of_a_real_cross_encoder(tmp_path: Path, queries: Generated, tiny: Any, sentences: list[str]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.from_pretrained(tiny("bert"), num_labels=1)
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny("bert"))
    model.save_pretrained(tmp_path / "ce")
    tokenizer.save_pretrained(tmp_path / "ce")
    corpus = made.collection(tmp_path / "c", {f"d{i}": sentences[i] for i in range(6)}, {"a": "b"})
    with Generated(queries.folder, [str(corpus)]) as source:
        asked = scores.Scores(np.full(6, np.nan), scores.reranker(str(tmp_path / "ce"), "cpu", "float32", None))
        found = [score for _, score in asked.over(source.items())]
        again = [score for _, score in asked.over(item for item in source.items() if item.number % 2)]
    pairs = tokenizer(
        [f"query {i}" for i in range(5)] + ["a lesser query"], sentences[:6], return_tensors="pt", padding=True
    )
    with torch.inference_mode():
        expected = model(**pairs).logits[:, 0]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert again == found[1::2]
    assert asked.made == 6  # each once


GRADED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=7)


@settings(deadline=None)
@given(st.lists(GRADED, min_size=1, max_size=3), st.integers(1, 3))
def test_after_the_level_rule_no_pair_is_at_odds(lists: list[list[tuple[int, int]]], gap: int) -> None:
    rows = [{"qid": f"q{q}", "grade": grade, "score": score} for q, of in enumerate(lists) for grade, score in of]
    some = Some(rows)

    def odds(numbers: list[int]) -> list[tuple[int, int]]:
        pairs = combinations([(i, rows[i]) for i in numbers], 2)
        ordered = (
            sorted(pair, key=lambda one: one[1]["grade"]) for pair in pairs if pair[0][1]["qid"] == pair[1][1]["qid"]
        )
        return [
            (a, b)
            for (a, low), (b, high) in ordered
            if high["grade"] - low["grade"] >= gap and low["score"] > high["score"]
        ]

    one = levels.in_order(scores.Scores(np.array([float(row["score"]) for row in rows])), gap)
    kept = some.kept(one)
    assert not odds(kept)
    everything = list(range(len(rows)))
    involved = {number for pair in odds(everything) for number in pair}
    assert set(everything) - set(kept) <= involved  # nothing is dropped that was in order with all
    left = Some([rows[i] for i in kept])
    again = levels.in_order(scores.Scores(np.array([float(rows[i]["score"]) for i in kept])), gap)
    assert left.kept(again) == list(range(len(kept)))


def test_whom_the_level_rule_drops() -> None:
    def dropped(gap: int, of: list[tuple[int, float]]) -> dict[int, tuple[str, Any]]:
        some = Some([{"qid": "q", "grade": grade} for grade, _ in of])
        return some.dropped(levels.in_order(scores.Scores(np.array([score for _, score in of])), gap))

    assert dropped(3, [(3, 1.0), (2, 9.0), (1, 9.0), (0, 2.0)]) == {3: ("level", 1)}  # only 0 above 3 counts
    assert dropped(1, [(3, 0.0), (2, 3.0), (1, 2.0), (0, 1.0)]) == {0: ("level", 3)}  # the one that is at odds with all
    assert dropped(1, [(3, 1.0), (2, 1.0), (0, 1.0)]) == {}  # as high is not above
    assert dropped(1, [(3, 1.0), (0, math.nan)]) == {}


def test_what_a_search_did_not_find_is_below_all_that_it_found(tmp_path: Path) -> None:
    texts = {(qid, grade): f"{qid} {grade}" for qid in ("q", "r", "s") for grade in (3, 0)}
    hits = {
        "q": [("q-g0", 2.0)],
        "r": [("r-g3", 2.0), ("x", 1.0)],
    }  # q's best document was not found; s not searched for
    with Generated(made.documents_folder(tmp_path / "d", {"q": "q", "r": "r", "s": "s"}, texts)) as source:
        found = scores.in_run(made.run(tmp_path / "run.trec", hits), source, 6)
        assert [drop.number for drop in levels.in_order(found, 3)(source.items())] == [1]


def test_a_second_opinion(tmp_path: Path, queries: Generated) -> None:
    judged = {(f"s{i}", f"d{i}"): i for i in range(4)}
    folder = made.judgements_folder(tmp_path / "j", judged, {pair: grade + 0.4 for pair, grade in judged.items()})
    grades = rejudged.opinions(folder, queries, 6, "grade")
    assert [d.number for d in rejudged.at_least(grades, 2)(queries.items())] == [0, 1, 4, 5]
    assert {d.number: d.reason for d in rejudged.close_to(grades, 1)(queries.items())} == {
        0: "judged_otherwise",
        1: "judged_otherwise",
        4: "not_judged",
        5: "not_judged",
    }
    soft = rejudged.opinions(folder, queries, 6, "expected")
    assert [d.value for d in rejudged.at_least(soft, 1.4)(queries.items())][:1] == [0.4]


def test_judgements_that_are_none(tmp_path: Path, queries: Generated, raises_error: Any) -> None:
    with raises_error("holds queries, not judgements"):
        rejudged.opinions(queries.folder, queries, 6, "grade")
    with raises_error("judges nothing of"):
        rejudged.opinions(made.judgements_folder(tmp_path / "j", {("other", "d"): 1}), queries, 6, "grade")


def test_complete_queries() -> None:
    some = Some(
        [
            {"qid": qid, "grade": int(grade)}
            for qid, grades in (("a", "31"), ("b", "32"), ("c", "10"), ("d", "2"))
            for grade in grades
        ]
    )
    assert {number: reason for number, (reason, _) in some.dropped(complete).items()} == {
        2: "query_without_negative",
        3: "query_without_negative",
        4: "query_without_positive",
        5: "query_without_positive",
        6: "query_without_negative",
    }
