"""One full build from the installed libraries, checked against what the design promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gradir.collection.pydocs import HASHED_FILES, SPLITS, collection_hash
from gradir.collection.queries import names_itself, words


def command(output: Path, seed: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gradir.collection", "pydocs", "--output", str(output), *flags],
        env=os.environ | {"PYTHONHASHSEED": seed},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pydocs")
    started = os.times()
    done = command(folder / "one", "1", folder)
    ended = os.times()
    assert done.returncode == 0, done.stderr
    # Processor time: the limit is for an idle machine, and tests may share theirs.
    assert ended.children_user + ended.children_system - started.children_user - started.children_system < 60
    return folder / "one"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judgements(built: Path) -> dict[str, list[tuple[str, str, int]]]:
    table = {}
    for split in SPLITS:
        rows = [line.split("\t") for line in (built / "qrels" / f"{split}.tsv").read_text().splitlines()]
        assert rows[0] == ["query-id", "corpus-id", "score"]
        table[split] = [(qid, docid, int(grade)) for qid, docid, grade in rows[1:]]
    return table


def test_documents(built: Path) -> None:
    corpus = lines(built / "corpus.jsonl")
    assert len(corpus) >= 8000
    assert len({document["_id"] for document in corpus}) == len(corpus)
    assert all(re.fullmatch(r"\S+", document["_id"]) for document in corpus)
    assert all(len(document["text"].split()) >= 10 for document in corpus)
    texts = Counter(" ".join(words(document["text"])) for document in corpus)
    assert texts.most_common(1)[0][1] == 1
    libraries = Counter(document["_id"].split(".")[0] for document in corpus)
    assert len(libraries) == 6
    assert max(libraries.values()) <= len(corpus) / 4


def test_no_markup_is_left(built: Path) -> None:
    texts = [document["text"] for document in lines(built / "corpus.jsonl")]
    for pattern, allowed in [
        (r">>> ", 0),
        (r"\.\. \w+::", 5),
        (r":(func|class|meth|ref):`", 10),
        (r"``", 10),
        (r"%\(\w+\)s", 5),
    ]:
        assert sum(re.search(pattern, text) is not None for text in texts) <= allowed, pattern


def test_queries(built: Path) -> None:
    corpus = {document["_id"]: document["text"] for document in lines(built / "corpus.jsonl")}
    topics = {query["_id"]: query["text"] for query in lines(built / "queries.jsonl")}
    table = judgements(built)
    assert {qid for rows in table.values() for qid, _, _ in rows} == set(topics)
    assert len({" ".join(words(text)) for text in topics.values()}) == len(topics)
    for qid, text in topics.items():
        docid = qid.removeprefix("q:")
        assert 4 <= len(text.split()) <= 30
        assert f" {' '.join(words(text))} " not in f" {' '.join(words(corpus[docid]))} "
        assert not names_itself(text, re.sub(r"-\d+$", "", docid).rpartition(".")[2]), qid


def test_numbers_promised_by_the_design(built: Path) -> None:
    table = judgements(built)
    graded = {split: Counter(qid for qid, _, _ in rows) for split, rows in table.items()}
    several = {split: sum(count >= 3 for count in counts.values()) for split, counts in graded.items()}
    assert len(graded["test"]) >= 2000
    assert len(graded["train"]) >= 1500
    assert len(graded["dev"]) >= 200
    assert sum(several.values()) >= 600
    assert several["test"] >= 300


def test_grades_and_splits(built: Path) -> None:
    docids = {document["_id"] for document in lines(built / "corpus.jsonl")}
    table = judgements(built)
    relevant = {}
    for split, rows in table.items():
        assert {docid for _, docid, _ in rows} <= docids
        assert {grade for _, _, grade in rows} == {1, 2, 3}
        assert [qid for qid, docid, grade in rows if grade == 3] == list(dict.fromkeys(qid for qid, _, _ in rows))
        assert all(qid == f"q:{docid}" for qid, docid, grade in rows if grade == 3)
        relevant[split] = {docid for _, docid, grade in rows if grade >= 2}
    assert not relevant["train"] & relevant["test"]
    assert not relevant["train"] & relevant["dev"]
    assert not relevant["dev"] & relevant["test"]


def test_readme_and_manifest_state_what_the_files_hold(built: Path) -> None:
    readme = (built / "README.md").read_text(encoding="utf-8")
    manifest = json.loads((built / "manifest.json").read_text(encoding="utf-8"))
    documents, topics = lines(built / "corpus.jsonl"), lines(built / "queries.jsonl")
    assert f"{len(documents)} documents, {len(topics)} queries" in readme
    assert collection_hash(built) in readme
    assert manifest["counts"]["collection_sha256"] == collection_hash(built)
    by_library = Counter(document["_id"].split(".")[0] for document in documents)
    with_query = Counter(query["_id"].removeprefix("q:").split(".")[0] for query in topics)
    for library, version in manifest["config"]["libraries"].items():
        assert f"| {library} | {version} | {by_library[library]} | {with_query[library]} |" in readme
    for split, rows in judgements(built).items():
        counts, grades = Counter(qid for qid, _, _ in rows), Counter(grade for _, _, grade in rows)
        several = sum(count >= 3 for count in counts.values())
        assert f"| {split} | {len(counts)} | {several} | {grades[3]} | {grades[2]} | {grades[1]} |" in readme
    for reason, count in manifest["counts"]["dropped"].items():
        assert f"| {reason} | {count} |" in readme


def test_byte_equal_from_another_folder_with_another_hash_seed(built: Path, tmp_path: Path) -> None:
    done = command(tmp_path / "two", "2", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in (*HASHED_FILES, "README.md"):
        assert (built / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_finished_work_is_not_done_again(built: Path, tmp_path: Path) -> None:
    before = (built / "corpus.jsonl").stat().st_mtime_ns
    started = time.perf_counter()
    done = command(built, "3", tmp_path)
    assert done.returncode == 0
    assert "is finished" in done.stderr
    assert time.perf_counter() - started < 5
    assert (built / "corpus.jsonl").stat().st_mtime_ns == before


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    assert command(tmp_path / "mine", "0", tmp_path).returncode == 1
    assert command(tmp_path / "mine", "0", tmp_path, "--overwrite").returncode == 1
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"


def test_the_hash_depends_on_every_file(built: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    assert collection_hash(copy) == collection_hash(built)
    with (copy / "qrels" / "dev.tsv").open("a") as stream:
        stream.write("q:x\tx\t1\n")
    assert collection_hash(copy) != collection_hash(built)


def test_unknown_collection_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from gradir.collection.__main__ import main

    assert main(["pydoc"]) == 2
    assert "did you mean 'pydocs'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "pydocs --output" in capsys.readouterr().out
