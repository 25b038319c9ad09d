"""Few-shot examples: given, judged, generated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradir.data.texts import Texts
from gradir.errors import GradirError, InputError
from gradir.generate.examples import example_files, read_examples

Read = Callable[..., list[Any]]


def lines(path: Path, *values: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR folder: of query i, document i has grade 3 and document i + 1 grade 1; d9 is blank, q8 has no text."""
    texts = [{"_id": f"d{i}", "title": "", "text": f"document {i}" if i != 9 else " "} for i in range(10)]
    lines(tmp_path / "beir" / "corpus.jsonl", *texts)
    lines(tmp_path / "beir" / "queries.jsonl", *({"_id": f"q{i}", "text": f"query {i}"} for i in range(10) if i != 8))
    rows = [f"q{i}\td{i}\t3\nq{i}\td{(i + 1) % 10}\t1\n" for i in range(10)] + ["q0\tnowhere\t3\n", "q1\td5\t0\n"]
    qrels = tmp_path / "beir" / "qrels" / "dev.tsv"
    qrels.parent.mkdir()
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows), encoding="utf-8")
    return tmp_path / "beir"


@pytest.fixture
def read(folder: Path) -> Read:
    def opened(source: Path | str, shots: int, seed: int = 1, topics: str | None = None) -> list[Any]:
        with Texts(folder) as texts:
            return read_examples(str(source), texts, topics, shots, seed)

    return opened


def test_judged_examples_are_of_the_best_grade_and_distinct(folder: Path, read: Read) -> None:
    found = read(folder / "qrels" / "dev.tsv", 8)
    assert len({one.qid for one in found}) == len({one.docid for one in found}) == 8
    for one in found:
        i = one.qid[1:]
        assert (one.docid, one.grade) == (f"d{i}", 3)
        assert one.values == {"query": f"query {i}", "document": f"document {i}"}
    assert {"q8", "q9"}.isdisjoint(one.qid for one in found)  # without a text


def test_a_draw_is_by_seed_whatever_the_order_of_the_file(folder: Path, read: Read) -> None:
    path = folder / "qrels" / "dev.tsv"
    found = [one.qid for one in read(path, 3)]
    assert [one.qid for one in read(path, 3)] == found
    assert any([one.qid for one in read(path, 3, seed=seed)] != found for seed in range(2, 6))
    header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(header + "".join(reversed(rows)), encoding="utf-8")
    assert [one.qid for one in read(path, 3)] == found
    assert [one.qid for one in read(path, 5)][:3] == found


def test_too_few_is_an_error(folder: Path, read: Read) -> None:
    with pytest.raises(InputError, match="has 8 examples for --shots 9"):
        read(folder / "qrels" / "dev.tsv", 9)


def test_judgements_elsewhere_need_their_queries(folder: Path, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "some.qrels"
    path.write_text("q1 0 d1 1\n", encoding="utf-8")
    with pytest.raises(GradirError, match="Give --topics"):
        read(path, 1)
    assert [one.qid for one in read(path, 1, topics=str(folder))] == ["q1"]


def test_given_examples_stay_in_order_and_keep_their_slots(read: Read, tmp_path: Path) -> None:
    rows = [{"document": f"text {i}", "query": f"ask {i}", "bad": f"bad {i}"} for i in range(6)]
    rows[2] |= {"qid": "q2", "docid": "d2"}
    path = lines(tmp_path / "few.jsonl", *rows)
    assert [one.values for one in read(path, 6)] == [
        {name: text for name, text in row.items() if name not in ("qid", "docid")} for row in rows
    ]
    assert [(one.qid, one.docid) for one in read(path, 6)][2:4] == [("q2", "d2"), ("", "")]
    some = [int(one.values["query"][4:]) for one in read(path, 3)]
    assert some == sorted(some)
    lines(tmp_path / "few.jsonl", {"document": "x"})
    with pytest.raises(InputError, match=r"few.jsonl:1: no `query`"):
        read(path, 1)


def test_generated_examples_come_with_the_text_of_the_corpus(read: Read, tmp_path: Path) -> None:
    rows = [{"format": 1, "qid": f"d{i}-q1", "docid": f"d{i}", "query": f"made {i}"} for i in range(5)]
    rows += [{"format": 1, "qid": "d0-q2", "docid": "d0", "query": "made again"}]
    lines(tmp_path / "made" / "records.jsonl", *rows)
    found = read(tmp_path / "made", 5)
    assert sorted(one.docid for one in found) == [f"d{i}" for i in range(5)]
    for one in found:
        assert one.values["document"] == f"document {one.docid[1]}"


def test_of_graded_queries_those_that_the_document_answers_are_examples(read: Read, tmp_path: Path) -> None:
    rows = [
        {"format": 1, "qid": f"d{i}-q{grade}", "docid": f"d{i}", "query": f"of grade {grade}, {i}", "grade": grade}
        for i in range(5)
        for grade in (3, 2, 1, 0)
    ]
    lines(tmp_path / "made" / "records.jsonl", *rows)
    assert {one.values["query"][:10] for one in read(tmp_path / "made", 5)} == {"of grade 3"}
    with pytest.raises(InputError, match="has 5 examples for --shots 6"):
        read(tmp_path / "made", 6)


def test_the_files_that_are_read(folder: Path, tmp_path: Path) -> None:
    qrels = str(folder / "qrels" / "dev.tsv")
    assert example_files(qrels, None) == [qrels, folder / "queries.jsonl"]
    assert example_files(qrels, "t.tsv") == [qrels, "t.tsv"]
    few = lines(tmp_path / "few.jsonl", {"document": "x", "query": "y"})
    assert example_files(str(few), None) == [few]
