"""In-context examples, from files and from judgements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradir.data.texts import Texts
from gradir.errors import InputError
from gradir.generate.documents_form import parse_all
from gradir.generate.graded_examples import GradedExample, given_examples, judged_examples, slots_of, sources_of

GRADES = (3, 2, 1, 0)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def given(tmp_path: Path) -> Path:
    rows = [{"query": f"query {i}"} | {f"grade_{grade}": f"text {i} {grade}" for grade in GRADES} for i in range(9)]
    return write(tmp_path / "examples.jsonl", rows)


def test_all_of_a_file_or_some_in_order(given: Path) -> None:
    found = given_examples(given, "query", (3, 0), None, seed=1)
    assert found[4] == GradedExample("query 4", {3: "text 4 3", 0: "text 4 0"})
    assert len(found) == 9
    some = given_examples(given, "query", (3, 0), 4, seed=1)
    assert len(some) == 4
    assert some == [one for one in found if one in some]
    assert len({tuple(one.source for one in given_examples(given, "query", (3, 0), 4, seed)) for seed in range(9)}) > 1


def test_a_file_that_lacks_something(given: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 9 examples"):
        given_examples(given, "query", GRADES, 10, 1)
    with pytest.raises(InputError, match=r"short\.jsonl:1: no `grade_2`"):
        given_examples(write(tmp_path / "short.jsonl", [{"query": "q", "grade_3": "x"}]), "query", (3, 2), None, 1)
    with pytest.raises(InputError, match="no `document`"):
        given_examples(given, "document", GRADES, None, 1)


@pytest.fixture
def judged(tmp_path: Path) -> dict[str, Any]:
    """Query i has documents of the grades 3, 2, 1; odd ones lack grade 2; of query 4 one is not in the corpus."""
    documents, lines, queries = [], [], []
    for i in range(8):
        queries.append({"_id": f"q{i}", "text": f"query {i}"})
        for grade in (3, 2, 1):
            if grade == 2 and i % 2:
                continue
            lines.append(f"q{i} 0 d{i}.{grade} {grade}\n")
            if (i, grade) != (4, 2):
                documents.append({"_id": f"d{i}.{grade}", "text": f"text {i} {grade}"})
    (tmp_path / "qrels.txt").write_text("".join(lines))
    topics = write(tmp_path / "queries.jsonl", queries)
    return {
        "qrels": str(tmp_path / "qrels.txt"),
        "topics": str(topics),
        "corpus": write(tmp_path / "corpus.jsonl", documents),
    }


def test_judged_queries_with_a_document_of_each_grade(judged: dict[str, Any]) -> None:
    with Texts(judged["corpus"]) as texts:
        found = judged_examples(judged["qrels"], judged["topics"], texts, (3, 2, 1), 3, seed=5)
        assert {one.id for one in found} == {"q0", "q2", "q6"}
        assert all(one.texts == {grade: f"text {one.id[1]} {grade}" for grade in (3, 2, 1)} for one in found)
        pairs = {(f"q{i}", f"d{i}.{grade}", grade) for i in (0, 2, 6) for grade in (3, 2, 1)}
        assert set(sources_of(found)) == pairs
        with pytest.raises(InputError, match="has 3 examples"):
            judged_examples(judged["qrels"], judged["topics"], texts, (3, 2, 1), 4, seed=5)


def test_a_document_that_is_not_judged_stands_in_for_grade_0(judged: dict[str, Any]) -> None:
    with Texts(judged["corpus"]) as texts:
        found = judged_examples(judged["qrels"], judged["topics"], texts, (3, 0), 8, seed=5)
        again = judged_examples(judged["qrels"], judged["topics"], texts, (3, 0), 8, seed=5)
    assert found == again
    assert len(found) == 8
    assert all(one.texts[0].split()[1] != one.id[1] for one in found)


def test_slots_of_both_forms() -> None:
    examples = [GradedExample("why is that", {3: "a b c", 2: "d", 1: "e", 0: "f"})]

    def cut(text: str, tokens: int) -> str:
        assert tokens == 200
        return text.replace(" c", "")

    (together,) = slots_of(examples, "query", GRADES, True, cut)
    assert together["query"] == "why is that"
    assert parse_all(together["answer"], GRADES) == {3: "a b", 2: "d", 1: "e", 0: "f"}
    each = slots_of(examples, "document", (0, 3), False, cut)
    assert [(one["document"], one["grade"], one["query"]) for one in each] == [
        ("why is that", "0", "f"),
        ("why is that", "3", "a b"),
    ]
