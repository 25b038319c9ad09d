"""The stage on hand-made runs, against sentence-transformers, and on bad input."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir.data import read_lists
from gradir.data.manifest import read_manifest
from gradir.mine import negatives
from gradir.mine.__main__ import main
from tests.mine.conftest import Folder

# p is the positive; n1 is too close to it by the default margin, n2 and n3 are not
RUN = {"q": [("n0", 12.0), ("p", 10.0), ("n1", 9.5), ("n2", 9.4), ("n3", 1.0)]}


def test_the_default_drops_what_is_at_95_percent_of_the_positive_or_above(mine: Any) -> None:
    assert mine([RUN], {"q": {"p": 2}}) == {"q": [("p", 2), ("n2", 0), ("n3", 0)]}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"margin": float("inf")}, ["n0", "n1", "n2", "n3"]),
        ({"margin": None, "max_score": 9.5}, ["n1", "n2", "n3"]),
        ({"margin": None, "max_score": 11, "min_score": 9.4}, ["n1", "n2"]),
        ({"margin": None, "absolute_margin": 0.5}, ["n1", "n2", "n3"]),
        ({"margin": None, "absolute_margin": 0.6}, ["n2", "n3"]),
        ({"margin": None, "k": 2}, ["n0", "n1"]),
        ({"margin": None, "rank": [3, 4]}, ["n1", "n2"]),
        ({"margin": None, "rank": [1, 2]}, ["n0"]),
        ({"margin": 0.05}, []),
    ],
)
def test_rules_and_ranks(mine: Any, raises_error: Any, flags: dict[str, Any], expected: list[str]) -> None:
    if not expected:
        with raises_error("no query has a negative left", "dropped: --margin"):
            mine([RUN], {"q": {"p": 1}}, **flags)
        return
    assert mine([RUN], {"q": {"p": 1}}, **flags) == {"q": [("p", 1), *((docid, 0) for docid in expected)]}


@pytest.mark.parametrize("against", ["highest", "mean", "lowest"])
def test_negative_scores_and_several_positives(mine: Any, against: str) -> None:
    # log-probabilities: limits are at -1.05, -2.1 and -3.15
    run = {"q": [("a", -1.0), ("b", -1.04), ("c", -1.06), ("d", -2.09), ("e", -2.11), ("f", -3.0), ("g", -3.16)]}
    expected = {"highest": "cdeg", "mean": "eg", "lowest": "g"}[against]
    found = mine([run], {"q": {"a": 1, "f": 3}}, against=against)
    assert found == {"q": [("a", 1), ("f", 3), *((docid, 0) for docid in expected)]}


def test_judged_documents(mine: Any) -> None:
    run = {"q": [("p", 10.0), ("low", 5.0), ("zero", 4.0), ("bad", 3.0), ("n", 2.0)]}
    judged = {"q": {"p": 3, "low": 1, "zero": 0, "bad": -2, "elsewhere": 1}}
    assert [docid for docid, _ in mine([run], judged)["q"]] == ["p", "low", "elsewhere", "zero", "bad", "n"]
    assert mine([run], judged, min_grade=2)["q"] == [("p", 3), ("low", 0), ("zero", 0), ("bad", 0), ("n", 0)]
    assert mine([run], judged, drop_judged=True)["q"] == [("p", 3), ("low", 1), ("elsewhere", 1), ("n", 0)]


def test_a_positive_that_the_run_does_not_hold(mine: Any, raises_error: Any) -> None:
    run = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "r": [("p", 3.0), ("a", 1.0)]}
    judged = {"q": {"p": 1}, "r": {"p": 1}}
    assert mine([run], judged) == {"r": [("p", 1), ("a", 0)]}
    assert mine([run], judged, missing_positive="keep")["q"] == [("p", 1), ("a", 0), ("b", 0), ("c", 0)]
    assert "q" not in mine([run], judged, missing_positive="lowest")
    # the last one is not above what the positive may have
    lowest = mine([run], judged, missing_positive="lowest", margin=None, absolute_margin=0)
    assert lowest["q"] == [("p", 1), ("c", 0)]
    # where no rule compares, it does not matter
    assert len(mine([run], judged, margin=None)["q"]) == 4


def test_several_runs(mine: Any) -> None:
    # n1 is fine by the first run and too close in the second, whose scores are of another scale
    first = {"q": [("p", 10.0), ("n1", 5.0), ("n2", 4.0), ("n3", 3.0)]}
    second = {"q": [("n3", 0.5), ("p", 0.9), ("n1", 0.88), ("n4", 0.1)]}
    second["q"].sort(key=lambda hit: -hit[1])  # p, n1, n3, n4
    found = mine([first, second], {"q": {"p": 1}})
    assert found == {"q": [("p", 1), ("n2", 0), ("n3", 0), ("n4", 0)]}  # ranks 3, 3 and 4
    assert mine([first, second], {"q": {"p": 1}}, rank=[4, 4]) == {"q": [("p", 1), ("n4", 0)]}
    # a run that lacks the positive, or the query, has no say
    lacking = {"q": [("n1", 7.0), ("n9", 6.0)]}
    assert mine([first, lacking], {"q": {"p": 1}}) == {"q": [("p", 1), ("n1", 0), ("n2", 0), ("n3", 0)]}
    kept = mine([first, lacking], {"q": {"p": 1}}, missing_positive="keep")
    assert kept == {"q": [("p", 1), ("n1", 0), ("n9", 0), ("n2", 0), ("n3", 0)]}
    other = {"r": [("p", 2.0), ("n1", 1.0)]}
    both = mine([first, other], {"r": {"p": 1}, "q": {"p": 1}})
    assert list(both) == ["q", "r"]
    assert both["r"] == [("p", 1), ("n1", 0)]


def test_a_teacher_decides_in_place_of_the_run(mine: Any) -> None:
    teacher = {"q": [("n0", 5.0), ("n3", 1.0), ("p", 0.5), ("n2", 0.1)], "z": [("p", 1.0)]}
    found = mine([RUN], {"q": {"p": 1}}, teacher=teacher)
    assert found == {"q": [("p", 1), ("n2", 0)]}  # n1 has no score of the teacher
    keep = mine([RUN], {"q": {"x": 1}}, teacher=teacher, missing_positive="keep")
    # nothing is compared, p is not judged here, and n1 still has no score
    assert keep == {"q": [("x", 1), ("n0", 0), ("p", 0), ("n2", 0), ("n3", 0)]}


def test_copies_of_a_positive(folder: Folder, mine: Any) -> None:
    texts = {
        "p": "A  wing\nspar",
        "n1": "a WING spar ",
        "n2": "a wing span",
        "other": "a wing spar",
        "n3": "ﬁn",
        "x": "fin",
    }
    run = {"q": [("p", 9.0), ("n1", 3.0), ("n2", 2.0), ("n3", 1.0)], "r": [("x", 9.0), ("n3", 2.0), ("n1", 1.0)]}
    judged = {"q": {"p": 1}, "r": {"x": 1}}
    found = mine([run], judged, corpus=str(folder.corpus(texts)), drop_copies=True)
    assert found == {"q": [("p", 1), ("n2", 0), ("n3", 0)], "r": [("x", 1), ("n1", 0)]}
    assert read_manifest(folder.path / "out.jsonl")["counts"]["dropped"] == {"relevant": 2, "copy": 2}


def test_scores_and_sources(folder: Folder, mine: Any) -> None:
    def docs(runs: list[Any], **flags: Any) -> list[tuple[str, str, float | None]]:
        mine(runs, {"q": {"p": 2, "absent": 1}}, **flags)
        (one,) = read_lists(folder.path / "out.jsonl")
        assert one.query == "text of q"
        return [(doc.docid, doc.source, doc.score) for doc in one.docs]

    expected = [("p", "qrels", 10.0), ("absent", "qrels", None), ("n2", "run:run0", 9.4), ("n3", "run:run0", 1.0)]
    assert docs([RUN]) == expected
    # two scales do not mix
    assert [(source, score) for _, source, score in docs([RUN, {"q": [("p", 0.2), ("n7", 0.1)]}])] == [
        ("qrels", None),
        ("qrels", None),
        ("run:run1", None),
        ("run:run0", None),
        ("run:run0", None),
    ]
    taught = docs([RUN], teacher={"q": [("p", 0.9), ("n0", 0.5), ("n2", 0.25)]})
    assert taught == [("p", "qrels", 0.9), ("absent", "qrels", None), ("n0", "run:run0", 0.5), ("n2", "run:run0", 0.25)]


def test_what_is_counted(folder: Folder, mine: Any) -> None:
    run = {
        **RUN,
        "unjudged": [("a", 1.0)],
        "lacks": [("a", 2.0)],
        "many": [("p", 9.0), ("a", 3.0), ("b", 2.0), ("c", 1.0)],
    }
    judged = {"q": {"p": 1, "n3": 0}, "lacks": {"p": 1}, "many": {"p": 1}, "nowhere": {"p": 1}, "zero": {"p": 0}}
    mine([run], judged, k=2, drop_judged=True, min_score=1.5)
    assert read_manifest(folder.path / "out.jsonl")["counts"] == {
        "queries": 3,
        "queries_written": 2,
        "queries_with_fewer_than_k": 1,
        "queries_without_negatives": 1,
        "queries_whose_positive_a_run_lacks": 1,
        "queries_without_positives": 1,
        "queries_in_no_run": 1,
        "positives": 3,
        "candidates": 9,
        "kept": 3,
        "dropped": {"relevant": 2, "judged": 1, "margin": 2, "min_score": 1},
        "mean_rank": 3.0,
        "mean_score": 4.8,
        "mean_positive_score": 9.5,
    }


def test_the_command(folder: Folder, capsys: Any) -> None:
    run, qrels, topics = folder.run("bm25", RUN), folder.qrels({"q": {"p": 1}}), folder.topics(["q"])
    words = ["--runs", str(run), "--qrels", str(qrels), "--queries", str(topics), "--output"]
    output = folder.path / "mined"
    assert main(["negatives", *words, str(output), "--num-negatives", "2", "--margin", "0.95"]) == 0
    shown = capsys.readouterr()
    rows = {line.rpartition("  ")[0].strip(): line.split()[-1] for line in shown.out.splitlines()}
    assert rows["kept"] == "2"
    assert "40.0%" in shown.out  # dropped by the margin
    assert shown.err.splitlines()[-1].startswith(f"next: gradir mine scores --lists {output}/lists.jsonl")
    assert sorted(path.name for path in output.iterdir()) == ["lists.jsonl", "manifest.json"]
    before = (output / "lists.jsonl").read_bytes()
    assert main(["negatives", *words, str(output), "--num-negatives", "2"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["negatives", *words, str(output), "--num-negatives", "1"]) == 1
    assert "k: 2 -> 1" in capsys.readouterr().err
    assert (output / "lists.jsonl").read_bytes() == before
    triples = folder.path / "triples.tsv"
    assert main(["negatives", *words, str(triples), "--output-format", "triples"]) == 0
    assert triples.read_text() == "q\tp\tn2\nq\tp\tn3\n"


def test_triples_are_every_positive_with_every_negative(folder: Folder, mine: Any) -> None:
    run = {"q": [("p", 9.0), ("r", 8.0), ("a", 1.0), ("b", 0.5)]}
    mine([run], {"q": {"p": 1, "r": 2}})
    options = {"topics": str(folder.path / "topics.tsv"), "qrels": str(folder.path / "qrels.tsv")}
    negatives([folder.path / "run0.trec"], output=folder.path / "t", output_format="triples", **options)
    assert (folder.path / "t" / "triples.tsv").read_text() == "q\tp\ta\nq\tp\tb\nq\tr\ta\nq\tr\tb\n"


class StandIn:
    """What sentence-transformers takes for a model: a text is a number, and the table says how similar two are."""

    device = "cpu"

    def __init__(self, table: Any):
        import torch

        self.table = torch.tensor(table)  # [Q, N]

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return np.array([[int(text[1:])] for text in texts])

    encode_document = encode_query

    def similarity(self, a: Any, b: Any) -> Any:
        return self.table[a[:, 0]][:, b[:, 0]].clone()

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        return self.table[a[:, 0], b[:, 0]]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {"margin": None}),
        ({"relative_margin": 0.05}, {"margin": 0.95}),
        ({"relative_margin": 0.3}, {"margin": 0.7}),
        ({"absolute_margin": 0.25}, {"margin": None, "absolute_margin": 0.25}),
        ({"max_score": 0.5, "min_score": -0.5}, {"margin": None, "max_score": 0.5, "min_score": -0.5}),
        (
            {"relative_margin": 0.1, "absolute_margin": 0.2, "max_score": 0.4},
            {"margin": 0.9, "absolute_margin": 0.2, "max_score": 0.4},
        ),
    ],
)
def test_the_same_negatives_as_sentence_transformers(folder: Folder, mine: Any, theirs: Any, ours: Any) -> None:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    draw = np.random.default_rng(7)
    table = draw.uniform(-1, 1, (25, 60)).astype(np.float32)
    judged = {f"q{i}": {f"d{j}": 1 for j in draw.choice(60, 1 + i % 3, replace=False)} for i in range(25)}
    pairs = [(qid, docid) for qid, of in judged.items() for docid in of]
    dataset = Dataset.from_dict({"q": [qid for qid, _ in pairs], "p": [docid for _, docid in pairs]})
    found = mine_hard_negatives(
        dataset,
        StandIn(table),  # type: ignore[arg-type]
        corpus=[f"d{j}" for j in range(60)],
        range_max=60,
        num_negatives=6,
        output_format="triplet",
        verbose=False,
        **theirs,
    )
    expected = {(row["q"], row["p"], row["negative"]) for row in found}
    order = np.argsort(-table, axis=1)
    run = {f"q{i}": [(f"d{j}", float(table[i, j])) for j in order[i]] for i in range(25)}
    lists = mine([run], judged, k=6, against="lowest", **ours)
    chosen = {
        (qid, good, bad) for qid, docs in lists.items() for good in judged[qid] for bad, grade in docs if grade == 0
    }
    assert chosen == expected
    assert len(expected) > 50


def test_the_order_of_queries_and_equal_seeds_change_nothing(folder: Folder, mine: Any) -> None:
    draw = random.Random(1)
    run = {f"q{i}": sorted(((f"d{j}", draw.random()) for j in range(40)), key=lambda hit: -hit[1]) for i in range(20)}
    judged = {qid: {hits[draw.randrange(4)][0]: 1} for qid, hits in run.items()}
    first = mine([run], judged, pick="random", k=3)
    written = (folder.path / "out.jsonl").read_bytes()
    assert mine([dict(reversed(run.items()))], judged, pick="random", k=3) == first
    mine([run], judged, pick="random", k=3)
    assert (folder.path / "out.jsonl").read_bytes() == written
    assert mine([run], judged, pick="random", k=3, seed=14) != first


def test_all_problems_at_once(folder: Folder, raises_error: Any) -> None:
    words = (
        "nope.trec: no such file",
        "--k 0",
        "--rank 5 4",
        "--margin -1",
        "--absolute-margin nan",
        "need each other",
    )
    with raises_error(*words, "--min-score 2 is above --max-score 1", "ends in .jsonl"):
        negatives(
            [folder.path / "nope.trec"],
            "qrels",
            "topics",
            folder.path / "out.tsv",
            k=0,
            rank=[5, 4],
            margin=-1,
            absolute_margin=float("nan"),
            min_score=2,
            max_score=1,
            drop_copies=True,
        )
    run = folder.run("run", RUN)
    with raises_error("a run is named twice", "--rank takes two numbers, not 1", "one of the runs"):
        negatives([run, run], "qrels", "topics", run, rank=[5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"topics.tsv": "other\ttext\n"}, ("query q of the run is not in it",)),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nz\tp\t1\n"}, ("none of its queries has a positive",)),
        ({"qrels.tsv": "query-id\tcorpus-id\tscore\nq\tp\t0\n"}, ("none of its queries has a positive",)),
        ({"run.trec": "q Q0 p 1 nan t\n"}, ("run.trec:1", "not a finite number")),
        ({"run.trec": "q Q0 p 1 2 t\nq Q0 p 2 1 t\n"}, ("run.trec:2", "twice")),
        ({"run.trec": "q p 1\n"}, ("run.trec:1", "3 columns")),
    ],
)
def test_bad_files(folder: Folder, raises_error: Any, change: dict[str, str], words: tuple[str, ...]) -> None:
    run, qrels, topics = folder.run("run", RUN), folder.qrels({"q": {"p": 1}}), folder.topics(["q"])
    for name, text in change.items():
        (folder.path / name).write_text(text)
    for output in (folder.path / "out.jsonl", folder.path / "out"):
        with raises_error(*words):
            negatives([run], str(qrels), str(topics), output)
        assert not output.exists()
    assert sorted(path.name for path in folder.path.iterdir()) == ["qrels.tsv", "run.trec", "topics.tsv"]


def test_a_corpus_of_other_documents(folder: Folder, mine: Any, raises_error: Any) -> None:
    corpus = folder.corpus({"x": "text"})
    with raises_error("holds no positive of the qrels"):
        mine([RUN], {"q": {"p": 1}}, corpus=str(corpus), drop_copies=True)


def test_lists_follow_the_schema(folder: Folder, mine: Any) -> None:
    import jsonschema

    import gradir.data

    schemas = Path(gradir.data.__file__).parent / "schemas"
    mine([RUN], {"q": {"p": 1}})
    (schema,) = [json.loads(path.read_text()) for path in schemas.glob("*.json") if "list" in path.name]
    for line in (folder.path / "out.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)
