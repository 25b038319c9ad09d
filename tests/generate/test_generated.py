"""Generated folders: what they are taken for, their texts, and writing them without some of their records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradir.data.qrels import read_qrels
from gradir.data.runs import read_run
from gradir.data.schemas import load as schema
from gradir.errors import InputError
from gradir.generate.generated import Generated, kind_of, write_without
from tests.generate import made

ROWS = [{"qid": f"s{i}", "docid": f"d{i % 3}", "query": f"query number {i}"} for i in range(7)]
TEXTS = {(f"q{i}", grade): f"text of {i} at {grade}" for i in range(3) for grade in (3, 2, 1, 0)}
QUERIES = {f"q{i}": f"real query {i}" for i in range(3)}
JUDGED = {(f"q{i}", f"d{j}"): (i + j) % 4 for i in range(3) for j in range(4)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("generated")
    found = {
        "queries": made.queries_folder(base / "queries", ROWS),
        "documents": made.documents_folder(base / "documents", QUERIES, TEXTS),
        "judgements": made.judgements_folder(base / "judgements", JUDGED),
    }
    # what is compared byte by byte must be as our own writers write it
    for folder in found.values():
        with Generated(folder) as source:
            target = folder.with_name(folder.name + ".written")
            target.mkdir()
            write_without(source, np.ones(source.count(), bool), target)
    return {name: folder.with_name(name + ".written") for name, folder in found.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["queries", "documents", "judgements"])
def test_each_kind_is_known_by_its_records(folders: dict[str, Path], kind: str) -> None:
    assert kind_of(folders[kind]) == kind


def test_texts_are_read_by_id(folders: dict[str, Path], tmp_path: Path) -> None:
    corpus = made.collection(
        tmp_path / "c", {f"d{i}": f"document {i}" for i in range(4)}, {"q0": "what", "q1": "x", "q2": "y"}
    )
    with Generated(folders["queries"], [str(corpus)]) as source:
        found = [(item.made_id, item.made, item.document, item.grade) for item in source.items()]
    assert found == [(f"s{i}", f"query number {i}", f"document {i % 3}", 3) for i in range(7)]
    with Generated(folders["documents"]) as source:
        item = next(iter(source.items()))
        assert (item.made_id, item.made, item.query, item.grade) == ("q0-g3", "text of 0 at 3", "real query 0", 3)
    with Generated(folders["judgements"], [str(corpus)], str(corpus)) as source:
        item = next(iter(source.items()))
        assert (item.query, item.document, item.grade) == ("what", "document 0", 0)


def test_titles_belong_to_the_document(folders: dict[str, Path], tmp_path: Path) -> None:
    path = made.lines(tmp_path / "c.jsonl", ({"_id": f"d{i}", "title": "Title", "text": "text"} for i in range(3)))
    with Generated(folders["queries"], [str(path)]) as source:
        assert next(iter(source.items())).document == "Title text"


@pytest.mark.parametrize("kind", ["queries", "documents", "judgements"])
def test_writing_all_gives_the_same_bytes(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    with Generated(folders[kind]) as source:
        write_without(source, np.ones(source.count(), bool), tmp_path)
    assert contents(tmp_path) == contents(folders[kind])


@settings(max_examples=30, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["queries", "documents", "judgements"]))
def test_what_is_kept_and_what_is_not_are_the_whole(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: Any, kind: str
) -> None:
    with Generated(folders[kind]) as source:
        number = source.count()
        kept = np.array(data.draw(st.lists(st.booleans(), min_size=number, max_size=number)))
        if not kept.any() or kept.all():
            return
        parts = []
        for part in (kept, ~kept):
            target = tmp_path_factory.mktemp("part")
            write_without(source, part, target)
            parts.append(contents(target))
    whole = contents(folders[kind])
    for name in ("records.jsonl", *(["qrels/train.tsv"] if kind != "judgements" else ["qrels/judgements.tsv"])):
        lines = whole[name].splitlines()
        head = lines[:1] if name.endswith(".tsv") else []
        lines = lines[len(head) :]
        expected = [line for line, stays in zip(lines, kept, strict=True) if stays]
        assert parts[0][name].splitlines() == head + expected  # in the order of the input
        assert parts[1][name].splitlines() == head + [line for line in lines if line not in expected]
    if kind == "judgements":
        return
    assert set(parts[0]["queries.jsonl"].splitlines()) | set(parts[1]["queries.jsonl"].splitlines()) == set(
        whole["queries.jsonl"].splitlines()
    )


def test_a_query_without_documents_goes(folders: dict[str, Path], tmp_path: Path) -> None:
    with Generated(folders["documents"]) as source:
        kept = np.array([item.qid != "q1" for item in source.items()])
        kept[0] = False
        counts = write_without(source, kept, tmp_path)
    assert [row["_id"] for row in made.read(tmp_path / "queries.jsonl")] == ["q0", "q2"]
    assert [row["_id"] for row in made.read(tmp_path / "corpus.jsonl")][:3] == ["q0-g2", "q0-g1", "q0-g0"]
    judged = read_qrels(tmp_path / "qrels" / "train.tsv")
    assert judged == {"q0": {"q0-g2": 2, "q0-g1": 1, "q0-g0": 0}, "q2": {f"q2-g{g}": g for g in (3, 2, 1, 0)}}
    assert counts == {"records": 7, "queries": 2, "documents": 7, "qrels": 7}


def test_soft_labels_of_dropped_pairs_go_and_ranks_close_up(folders: dict[str, Path], tmp_path: Path) -> None:
    with Generated(folders["judgements"]) as source:
        kept = np.array([item.grade != 3 for item in source.items()])
        write_without(source, kept, tmp_path)
    before, after = read_run(folders["judgements"] / "scores.trec"), read_run(tmp_path / "scores.trec")
    assert {q: [hit for hit in of if hit.score != 3] for q, of in before.items()} == after
    ranks = [line.split()[3] for line in (tmp_path / "scores.trec").read_text().splitlines()]
    assert ranks == ["1", "2", "3"] * 3


def test_other_judgements_and_the_shown_examples_stay(tmp_path: Path) -> None:
    folder = made.queries_folder(tmp_path / "in", ROWS)
    made.qrels(folder / "qrels" / "train.tsv", [("s0", "d0", 3), ("s0", "other", 1), ("s1", "d1", 3)])
    made.qrels(folder / "examples.tsv", [("e", "d9", 1)])
    (tmp_path / "out").mkdir()
    with Generated(folder) as source:
        write_without(source, np.array([True] + [False] * 6), tmp_path / "out")
    assert read_qrels(tmp_path / "out" / "qrels" / "train.tsv") == {"s0": {"d0": 3, "other": 1}}
    assert (tmp_path / "out" / "examples.tsv").read_bytes() == (folder / "examples.tsv").read_bytes()


def test_what_is_no_generated_folder(folders: dict[str, Path], tmp_path: Path, raises_error: Any) -> None:
    with raises_error("no such folder"):
        kind_of(tmp_path / "nothing")
    with raises_error("holds no records.jsonl", "--output of gradir generate"):
        kind_of(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(folders["documents"], folder)
    (folder / "manifest.partial.json").write_text("{}")
    with raises_error("is not finished"):
        kind_of(folder)
    (folder / "manifest.partial.json").unlink()
    (folder / "queries.jsonl").unlink()
    with raises_error("no queries.jsonl"):
        kind_of(folder)
    (folder / "records.jsonl").write_text("\n")
    with raises_error("holds no records"):
        kind_of(folder)


def test_damaged_records_are_named_by_line(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = made.documents_folder(tmp_path / "d", QUERIES, TEXTS)
    rows = made.read(folder / "records.jsonl")
    for change, words in [
        ({"grade": None}, "integer `grade`"),
        ({"qid": None}, "`qid`"),
        ({"docid": rows[0]["docid"]}, "was used before"),
    ]:
        damaged = [dict(row) for row in rows]
        damaged[4] |= change
        if None in change.values():
            damaged[4].pop(next(iter(change)))
        made.lines(folder / "records.jsonl", damaged)
        with pytest.raises(InputError, match=words) as caught, Generated(folder) as source:
            source.count()
        assert caught.value.line == 5
    rows[0]["format"] = 99
    made.lines(folder / "records.jsonl", rows)
    with pytest.raises(InputError, match="Upgrade"), Generated(folder) as source:
        source.count()


def test_a_missing_text_is_named(tmp_path: Path, raises_error: Any) -> None:
    folder = made.queries_folder(tmp_path / "q", ROWS)
    corpus = made.lines(tmp_path / "c.jsonl", [{"_id": "elsewhere", "text": "x"}])
    with raises_error("holds no document d0"), Generated(folder, [str(corpus)]) as source:
        _ = next(iter(source.items())).document
    with raises_error("Give --corpus"), Generated(folder) as source:
        _ = next(iter(source.items())).document


@pytest.mark.parametrize("name", ["agreement", "audit", "dropped"])
def test_schemas_of_what_is_made_of_it_are_sound(name: str) -> None:
    rule = schema(name)
    jsonschema.Draft202012Validator.check_schema(rule)
    assert rule["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert rule["properties"]["format"] == {"const": 1}
    assert not jsonschema.Draft202012Validator(rule).is_valid({"format": 2})
