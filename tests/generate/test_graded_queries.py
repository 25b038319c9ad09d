"""`gradir generate documents --from-documents`: queries at grades for documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradir.command import Outcome
from gradir.data import schemas
from gradir.data.qrels import iter_qrels
from gradir.data.texts import Texts
from gradir.errors import GradirError
from gradir.generate import graded_queries
from gradir.generate.asking_arguments import Asking
from gradir.generate.documents_form import written as as_json
from gradir.generate.documents_stage import documents
from gradir.generate.generated import Generated
from gradir.generate.graded_tally import Tally
from gradir.generate.graded_texts import Plan, Source, written
from gradir.generate.prompts import load
from gradir.generate.writing import Files
from gradir.llm.records import Sampling
from tests.generate.made import RIB, SPAR, TOWN, lines, read
from tests.generate.scripted import Scripted, shown

SHORT = "format: 1\nkind: documents\nbody: |\n  Passage: {document}\n  Wishes: {attributes}\n  Answer with {names}.\n"
Write = Callable[..., Outcome]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = {"d1": SPAR, "d2": " ", "d3": RIB, "d4": TOWN}
    return lines(
        tmp_path / "corpus.jsonl", ({"_id": docid, "title": "", "text": text} for docid, text in texts.items())
    )


@pytest.fixture
def write(tiny_llm: Path, tmp_path: Path, corpus: Path) -> Write:
    (tmp_path / "short.yaml").write_text(SHORT)

    def run(output: str = "out", **flags: Any) -> Outcome:
        values = {"prompt": str(tmp_path / "short.yaml"), "max_tokens": 200, "max_chars": 24, **flags}
        return documents(f"hf:{tiny_llm}", tmp_path / output, from_documents=str(corpus), **values)

    return run


def test_queries_with_the_grade_of_their_document(write: Write, tmp_path: Path, corpus: Path) -> None:
    outcome = write(grades=[3, 1, 0])
    out = tmp_path / "out"
    rule = json.loads((Path(schemas.__file__).parent / "generated_document.json").read_text())
    records = read(out / "records.jsonl")
    for record in records:
        jsonschema.validate(record, rule)
    assert [record["qid"] for record in records[:3]] == ["d1-q3", "d1-q1", "d1-q0"]
    assert {record["docid"] for record in records} == {"d1", "d3", "d4"}  # d2 is blank
    judged = [(one.qid, one.docid, one.grade) for one in iter_qrels(out / "qrels" / "train.tsv")]
    assert judged == [(record["qid"], record["docid"], record["grade"]) for record in records]
    queries = {row["_id"]: row["text"] for row in read(out / "queries.jsonl")}
    assert queries == {record["qid"]: record["query"] for record in records}
    assert str(corpus) in outcome.next_command
    with Generated(out, [str(corpus)]) as found:
        assert found.kind == "queries"
        assert next(found.items()).document == SPAR
        assert next(found.items()).grade == 3


def test_some_documents_are_drawn(write: Write, tmp_path: Path) -> None:
    write(limit=2, grades=[2], attributes="none")
    assert len({record["docid"] for record in read(tmp_path / "out" / "records.jsonl")}) == 2


def test_a_query_that_copies_the_document_is_dropped(tmp_path: Path, corpus: Path) -> None:
    prompt = load("graded-queries")
    plan = Plan(prompt, Sampling(), "document", (3, 0), 1, True, (), None, 13)
    engine, tally = Scripted(lambda request: as_json({3: SPAR.upper(), 0: "bread recipe"})), Tally()
    with (
        engine.behind(tmp_path / "store") as llm,
        Texts(str(corpus)) as texts,
        Files(tmp_path, graded_queries.FILES, "q.tsv") as files,
    ):
        for source, found in written(plan, llm, graded_queries.sources(texts, None, 13), tally):
            graded_queries.write(files, source, found, Asking("hf:x", tmp_path, prompt), "m")
    assert [row["_id"] for row in read(tmp_path / "queries.jsonl")] == ["d1-q0", "d3-q3", "d3-q0", "d4-q3", "d4-q0"]
    assert tally.dropped == {"text of the document": 1}
    assert f"Passage: {SPAR}\n" in shown(engine.asked[0])


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("Query: what is a spar", "what is a spar"),
        ('"what is a spar"', "what is a spar"),
        ("Query of grade 3: what is a spar\n\nIt asks for the whole.", "what is a spar"),
        ("Here is a query:\n\n1. **what is a spar**", "what is a spar"),
        ("what is\ta spar \ufffd", "what is a spar"),
    ],
)
@pytest.mark.parametrize("name", ["graded-queries", "graded-queries-each"])
def test_a_query_is_one_line_without_a_frame(tmp_path: Path, answer: str, query: str, name: str) -> None:
    together = name == "graded-queries"
    plan = Plan(load(name), Sampling(), "document", (3,), 1, together, (), None, 13)
    engine = Scripted(lambda request: as_json({3: answer}) if together else answer)
    with engine.behind(tmp_path / "store") as llm:
        ((_, texts),) = written(plan, llm, [Source("d1", SPAR)], Tally())
    assert [one.text for one in texts] == [query]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("?", "empty"),
        ("a caf\ufffd in town", "broken characters"),
        ("what Passage: is it", "marker of the prompt"),
        ("what is what is what is what is what is", "endless repetition"),
    ],
)
def test_what_is_no_query_is_counted_by_reason(tmp_path: Path, answer: str, reason: str) -> None:
    plan, tally = Plan(load("graded-queries-each"), Sampling(), "document", (3,), 1, False, (), None, 13), Tally()
    engine = Scripted(lambda request: answer)
    with engine.behind(tmp_path / "store") as llm:
        assert not list(written(plan, llm, [Source("d1", SPAR)], tally))
    assert tally.dropped == {reason: 1}
    assert len(engine.asked) == 3


def test_prompts_and_examples_of_the_other_direction_are_refused(write: Write) -> None:
    with pytest.raises(GradirError, match=r"'sycl' has no slot \{document\}: it is for the other direction"):
        write(prompt="sycl")
    with pytest.raises(GradirError, match="is a JSON Lines file with document"):
        write(examples="qrels.tsv", prompt="graded-queries")
