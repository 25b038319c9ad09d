"""`gradir generate documents` with a real model, of random weights: what it writes, resumes and refuses."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradir.command import Outcome
from gradir.data import schemas
from gradir.data.graded import GradedLists
from gradir.data.qrels import iter_qrels, read_qrels
from gradir.errors import GradirError, InputError
from gradir.generate.asking_arguments import Asking
from gradir.generate.attributes import draw, read_attributes
from gradir.generate.documents_stage import documents
from gradir.generate.generated import Generated
from gradir.generate.prompts import load
from gradir.generate.writing import new_output
from tests.generate.made import collection, lines, qrels, read
from tests.generate.processes import finish, kill

QUERIES = {"q1": "what is a wing spar", "q2": "heat <|im_end|> transfer", "q3": "boundary layer"}
SHORT = """
format: 1
kind: documents
mode: chat
head: Write passages.
example: |
  Query: {query}
  Answer: {answer}
body: |
  Query: {query}
  Wishes: {attributes}
  Answer with {names}.
"""
EACH = SHORT.replace("Answer with {names}.", "Of grade {grade}, {level}.").replace(
    "Answer: {answer}", "{grade}: {document}"
)
Write = Callable[..., Outcome]


@pytest.fixture
def prompts(tmp_path: Path) -> dict[bool, str]:
    """Short prompts, by one_by_one: the model is slow."""
    for name, text in (("short", SHORT), ("each", EACH)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return {False: str(tmp_path / "short.yaml"), True: str(tmp_path / "each.yaml")}


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    return lines(tmp_path / "queries.jsonl", ({"_id": qid, "text": text} for qid, text in QUERIES.items()))


@pytest.fixture
def write(tiny_llm: Path, tmp_path: Path, topics: Path, prompts: dict[bool, str]) -> Write:
    def run(output: str = "out", **flags: Any) -> Outcome:
        one_by_one = flags.get("one_by_one", False)
        bounds = {"max_tokens": 16} if one_by_one else {"max_tokens": 300, "max_chars": 24}
        values = {"topics": str(topics), "prompt": prompts[one_by_one], **bounds, **flags}
        return documents(f"hf:{tiny_llm}", tmp_path / output, **values)

    return run


def files(folder: Path) -> dict[str, bytes]:
    """All but the manifest, which holds times."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_collection_with_grades(write: Write, tmp_path: Path, one_by_one: bool) -> None:
    write(one_by_one=one_by_one)
    out = tmp_path / "out"
    records = read(out / "records.jsonl")
    rule = json.loads((Path(schemas.__file__).parent / "generated_document.json").read_text())
    for record in records:
        jsonschema.validate(record, rule)
        assert record["attributes"] == draw(read_attributes(), 13, record["qid"])
    assert Counter(record["grade"] for record in records) == {3: 3, 2: 3, 1: 3, 0: 3}
    assert [record["docid"] for record in records[:4]] == ["q1-g3", "q1-g2", "q1-g1", "q1-g0"]
    assert [(one.qid, one.docid, one.grade) for one in iter_qrels(out / "qrels" / "train.tsv")] == [
        (record["qid"], record["docid"], record["grade"]) for record in records
    ]
    assert {row["_id"]: row["text"] for row in read(out / "queries.jsonl")} == QUERIES
    texts = {row["_id"]: row["text"] for row in read(out / "corpus.jsonl")}
    assert list(texts) == [record["docid"] for record in records]
    assert all(text.strip() and (one_by_one or len(text) <= 24) for text in texts.values())
    with Generated(out) as found:
        assert found.kind == "documents"
        assert found.count() == 12
    assert manifest(out)["counts"]["texts"] == 12


def test_the_next_command_has_lists_to_train_on(write: Write) -> None:
    words = shlex.split(write().next_command)
    assert words[:3] == ["gradir", "train", "dense"]
    value = words[words.index("--set") + 1].partition("=")
    assert value[0] == "lists"
    with GradedLists({"lists": json.loads(value[2])}) as lists:
        assert len(lists) == 3
        assert sorted(doc.grade for doc in lists.draw(0, 0).docs) == [0, 1, 2, 3]


def test_our_own_prompt(write: Write, tmp_path: Path) -> None:
    write(prompt=None, grades=[3, 0], limit=1)
    (one, other) = read(tmp_path / "out" / "records.jsonl")
    assert (one["prompt"], one["grade"], other["grade"]) == ("sycl", 3, 0)


def test_some_grades_several_of_each(write: Write, tmp_path: Path) -> None:
    write(one_by_one=True, grades=[0, 2], per_grade=2, attributes="none", limit=2)
    records = read(tmp_path / "out" / "records.jsonl")
    names = [record["docid"].partition("-")[2] for record in records]
    assert names == ["g0.0", "g2.0", "g0.1", "g2.1"] * 2
    assert len({record["qid"] for record in records}) == 2
    assert all(record["attributes"] == {} for record in records)


def test_test_queries_are_left_out_or_named(write: Write, tmp_path: Path) -> None:
    """A BEIR folder holds the queries of all splits in one file."""
    beir = collection(tmp_path / "beir", {}, QUERIES, judged=[("q2", "d", 1)])
    qrels(beir / "qrels" / "train.tsv", [("q3", "d", 1), ("q1", "d", 0), ("q9", "d", 1)])
    train = str(beir / "qrels" / "train.tsv")
    flags = {"topics": str(beir), "one_by_one": True, "grades": [3], "attributes": "none"}
    said = write("all", **flags).message
    assert f"1 of the queries are judged in {beir / 'qrels' / 'test.tsv'}" in said
    assert f"--qrels {train}" in said
    assert "are judged in" not in write("some", **flags, qrels=train).message
    assert [row["_id"] for row in read(tmp_path / "some" / "queries.jsonl")] == ["q1", "q3"]
    write("one", **flags, qrels=train, limit=1)
    assert {row["_id"] for row in read(tmp_path / "one" / "queries.jsonl")} < {"q1", "q3"}
    with pytest.raises(GradirError, match="--qrels says which of the --topics"):
        write("none", from_documents=str(beir), topics=None, qrels=train)


def test_another_seed(write: Write, tmp_path: Path) -> None:
    write("a", limit=1, attributes="none")
    write("b", limit=1, attributes="none", seed=14)
    assert files(tmp_path / "a") != files(tmp_path / "b")


def test_the_store_is_used_again(write: Write, tmp_path: Path) -> None:
    write()
    first = files(tmp_path / "out")
    write(overwrite=True)
    measured = manifest(tmp_path / "out")["measured"]
    assert (measured["asked"], measured["reused"]) == (0, 3)
    assert files(tmp_path / "out") == first
    with pytest.raises(GradirError, match="seed: 13 -> 14"):
        write(seed=14)


def test_examples_are_those_of_a_file_or_of_judgements(write: Write, tmp_path: Path) -> None:
    given = lines(tmp_path / "given.jsonl", [{"query": "why", "grade_3": "because", "grade_0": "bread"}])
    judged = [("q3", "a", 3), ("q3", "b", 0), ("q2", "a", 1)]
    beir = collection(tmp_path / "beir", {"a": "thin layer of air", "b": "a loaf"}, judged=judged)
    seen = {}
    for name, flags in {
        "given": {"examples": str(given)},
        "judged": {"examples": str(beir / "qrels" / "test.tsv"), "corpus": str(beir), "shots": 1},
        "none": {},
    }.items():
        write(name, one_by_one=True, grades=[3, 0], limit=1, max_tokens=8, **flags)
        seen[name] = manifest(tmp_path / name)["measured"]["paid_prompt_tokens"]
    assert seen["given"] > seen["none"]
    assert seen["judged"] > seen["none"]
    assert read_qrels(tmp_path / "judged" / "examples.tsv") == {"q3": {"a": 3, "b": 0}}
    assert not (tmp_path / "given" / "examples.tsv").exists()


def test_finished_work_loads_nothing(write: Write, tmp_path: Path, tiny_llm: Path, topics: Path) -> None:
    write(one_by_one=True)
    said = command(tiny_llm, topics, tmp_path, "out", "--prompt", tmp_path / "each.yaml")
    run = f"from gradir.generate.__main__ import main; main({said[3:]!r})"
    code = f"import sys; {run}; assert 'torch' not in sys.modules; print('light')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is finished; nothing to do" in ended.stderr
    assert ended.stdout.strip() == "light"


def command(model: Path, topics: Path, folder: Path, output: str, *more: object) -> list[str]:
    words = [sys.executable, "-m", "gradir.generate", "documents", "--llm", f"hf:{model}", "--topics", topics]
    words += ["--output", folder / output, "--one-by-one", "--max-tokens", 16, *more]
    return list(map(str, words))


def test_killed_and_begun_again(prompts: dict[bool, str], tmp_path: Path, tiny_llm: Path) -> None:
    many = lines(tmp_path / "many.jsonl", ({"_id": f"q{i}", "text": f"query {i}"} for i in range(6)))
    flags = ["--prompt", tmp_path / "each.yaml", "--llm-option", "batch_size=2"]
    killed, whole = (command(tiny_llm, many, tmp_path, name, *flags) for name in ("killed", "whole"))
    stored = tmp_path / "killed.requests" / "replies.jsonl"
    kill(killed, stored, 3)
    assert not (tmp_path / "killed").exists()
    before = stored.read_bytes().count(b"\n")
    assert before < 12
    finish(killed)
    finish(whole)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert manifest(tmp_path / "killed")["counts"] == manifest(tmp_path / "whole")["counts"]
    assert manifest(tmp_path / "killed")["measured"]["reused"] >= 2 * before
    keys = [key for line in stored.read_text().splitlines() for key in json.loads(line)["keys"]]
    assert len(keys) == len(set(keys)) == 24
    assert not list(tmp_path.glob(".killed*"))


def test_answers_that_are_cut_off(write: Write, tmp_path: Path) -> None:
    with pytest.raises(GradirError, match=r"nothing came of 3 requests: .* \(12\)\. A higher --max-tokens"):
        write(max_tokens=8)
    assert not (tmp_path / "out").exists()


def test_all_that_is_wrong_at_once(write: Write, tmp_path: Path) -> None:
    with pytest.raises(GradirError) as error:
        write(from_documents="x", grades=[3, 7], per_grade=0, shots=2, temperature=-1.0)
    for part in ("--topics", "--grades 7", "--per-grade 0", "--shots", "--temperature -1.0", "no slot {document}"):
        assert part in str(error.value)
    with pytest.raises(GradirError, match=r"no slot \{names\}.*give --one-by-one"):
        write(prompt=str(tmp_path / "each.yaml"))
    with pytest.raises(GradirError, match=r"no slot \{grade\}, which --one-by-one needs"):
        write(prompt=str(tmp_path / "short.yaml"), one_by_one=True)
    with pytest.raises(GradirError, match="give --corpus"):
        write(examples="qrels.tsv")
    with pytest.raises(GradirError, match="no prompt 'sicl', did you mean 'sycl'"):
        write(prompt="sicl")
    with pytest.raises(InputError, match="no such file"):
        write(topics=str(tmp_path / "nowhere.jsonl"))
    assert not (tmp_path / "out").exists()


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with (
        pytest.raises(GradirError, match=r"No space left.*Finished requests stay in .*x\.requests"),
        new_output(Asking("hf:none", tmp_path / "x", load("sycl"))),
        (tmp_path / "full").open("w") as stream,
    ):
        stream.write("y" * 100_000)
    assert not (tmp_path / "x").exists()
