from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.data import GradedDoc, GradedList, read_lists, write_lists
from gradir.data.ids import Duplicates
from gradir.data.schemas import load

ids = st.text(min_size=1).filter(lambda text: text.split() == [text] and "\0" not in text)
finite = st.floats(allow_nan=False, allow_infinity=False)
docs = st.builds(GradedDoc, ids, st.integers(-2, 9), st.text(), st.none() | finite, st.none() | st.text())
unique_docs = st.lists(docs, max_size=4, unique_by=lambda doc: doc.docid).map(tuple)
lists = st.lists(
    st.builds(GradedList, ids, st.text(), unique_docs), min_size=1, max_size=4, unique_by=lambda one: one.qid
)

GOOD = {"format": 1, "qid": "q1", "query": "x", "docs": [{"docid": "d1", "grade": 3, "source": "qrels:train"}]}


def put(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


@given(lists)
def test_round_trip_and_schema(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("l") / "lists.jsonl"
    assert write_lists(path, iter(written)) == len(written)
    assert list(read_lists(path)) == written
    validator = jsonschema.Draft202012Validator(load("graded_list"))
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    for value, one in zip(values, written, strict=True):
        validator.validate(value)
        assert (value["format"], value["qid"], value["query"]) == (1, one.qid, one.query)
        for found, doc in zip(value["docs"], one.docs, strict=True):
            # a field that is not set is not written
            assert found == {name: part for name, part in doc._asdict().items() if part is not None}


def test_the_example_of_the_design(tmp_path):
    value = {
        "format": 1,
        "qid": "q1",
        "query": "what is a wing spar",
        "docs": [
            {"docid": "d7", "grade": 3, "score": 11.2, "source": "qrels:train"},
            {"docid": "g1.0", "grade": 0, "source": "llm:documents", "text": "…"},
        ],
    }
    jsonschema.Draft202012Validator(load("graded_list")).validate(value)
    assert list(read_lists(put(tmp_path / "l.jsonl", value))) == [
        GradedList(
            "q1",
            "what is a wing spar",
            (GradedDoc("d7", 3, "qrels:train", 11.2), GradedDoc("g1.0", 0, "llm:documents", None, "…")),
        )
    ]


def test_numbers_of_numpy_are_written(tmp_path):
    one = GradedList("q", "x", (GradedDoc("d", np.int64(2), "s", np.float32(0.5)),))  # type: ignore[arg-type]
    write_lists(tmp_path / "l.jsonl", [one])
    assert list(read_lists(tmp_path / "l.jsonl")) == [GradedList("q", "x", (GradedDoc("d", 2, "s", 0.5),))]


def doc(**changes: object) -> dict[str, object]:
    return GOOD | {"qid": "q2", "docs": [{"docid": "d1", "grade": 0, "source": "s"} | changes]}


BAD: dict[str, tuple[object, str, str]] = {
    "no format": (
        {k: v for k, v in GOOD.items() if k != "format"},
        "has no integer `format`",
        "Is it a file that gradir wrote",
    ),
    "text format": (GOOD | {"format": "1"}, "has no integer `format`", "gradir wrote"),
    "newer format": (GOOD | {"format": 2}, "has format 2, this gradir reads up to 1", "Upgrade: pip install -U gradir"),
    "unknown key": (GOOD | {"quer": "x"}, "unknown key `quer` in a list, did you mean 'query'?", "Known: format, qid"),
    "unknown doc key": (doc(grad=1), "unknown key `grad` in `docs`, did you mean 'grade'?", "Known: docid, grade"),
    "no qid": ({"format": 1, "query": "x", "docs": []}, "no `qid`", "Keys here: format, query, docs"),
    "spaced qid": (GOOD | {"qid": "q 2"}, "white space in query id", "replace it"),
    "no docs": ({"format": 1, "qid": "q2", "query": "x"}, "no list `docs`", "Expected"),
    "docs object": (GOOD | {"qid": "q2", "docs": {}}, "no list `docs`", "Expected"),
    "doc text": (GOOD | {"qid": "q2", "docs": ["d1"]}, "an entry of `docs` is not an object", "Expected"),
    "no docid": (GOOD | {"qid": "q2", "docs": [{"grade": 1, "source": "s"}]}, "no `docid`", "Keys here: grade, source"),
    "spaced docid": (doc(docid="a b"), "white space in document id", "replace it"),
    "half grade": (doc(grade=0.5), "grade 0.5 is not an integer", "Grades are 0, 1, 2, 3"),
    "bool grade": (doc(grade=True), "grade True is not an integer", "Grades are"),
    "no grade": (doc(grade=None), "grade None is not an integer", "Grades are"),
    "nan": (doc(score=float("nan")), "score nan is not a finite number", "Leave it out"),
    "inf": (doc(score=float("inf")), "score inf is not a finite number", "Leave it out"),
    "bool score": (doc(score=True), "score True is not a finite number", "Leave it out"),
    "text score": (doc(score="1"), "score '1' is not a finite number", "Leave it out"),
    "no source": (doc(source=None), "no `source`", "Keys here"),
    "text list": (doc(text=["x"]), '`text` is not text but ["x"]', "Put it in quotes"),
    "twice": (
        GOOD | {"qid": "q2", "docs": GOOD["docs"] * 2},  # type: ignore[operator]
        "a document stands twice in the list of q2",
        "Keep its highest grade",
    ),
    "query twice": (GOOD, "query id 'q1' was used before, at", "Ids must be unique"),
    "array": ([GOOD], "not a JSON object", "Mend or remove the line"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists_are_named_with_place_and_fix(tmp_path, refuses, case):
    value, problem, fix = BAD[case]
    path = put(tmp_path / "l.jsonl", GOOD, value)
    with refuses(f"{path}:2: {problem}", fix):
        list(read_lists(path))


def test_empty_missing_and_far_duplicates(tmp_path, monkeypatch, refuses):
    with refuses(f"{put(tmp_path / 'empty')}: holds no graded lists. Is it the right file?"):
        list(read_lists(tmp_path / "empty"))
    with refuses("no such file"):
        list(read_lists(tmp_path / "no"))
    monkeypatch.setattr(Duplicates, "BLOCK", 2)
    path = put(tmp_path / "l.jsonl", *(GOOD | {"qid": f"q{n % 6}"} for n in range(7)))
    with refuses(f"{path}:7: query id 'q0' was used before"):
        list(read_lists(path))


UNWRITABLE = {
    "nan": GradedList("q", "x", (GradedDoc("d", 1, "s", float("nan")),)),
    "spaced docid": GradedList("q", "x", (GradedDoc("d 1", 1, "s"),)),
    "spaced qid": GradedList("q q", "x", ()),
    "twice": GradedList("q", "x", (GradedDoc("d", 1, "s"), GradedDoc("d", 2, "s"))),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_could_not_be_read_is_not_written(tmp_path, refuses, case):
    path = tmp_path / "l.jsonl"
    with refuses(f"{path}:2: "):
        write_lists(path, [GradedList("q0", "x", ()), UNWRITABLE[case]])
    assert list(tmp_path.iterdir()) == []


def test_a_grade_that_is_no_integer_is_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(TypeError):
        write_lists(tmp_path / "l.jsonl", [GradedList("q", "x", (GradedDoc("d", 1.5, "s"),))])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
