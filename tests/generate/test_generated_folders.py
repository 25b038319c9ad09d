"""Outputs: what they must not take the place of, and a disk without room."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gradir.errors import GradirError
from gradir.generate import filter_, judgements, queries
from gradir.generate.audit_stage import audit
from gradir.generate.writing import apart
from tests.generate.made import RIB, SPAR, TOWN, collection, documents_folder, lines, read, run
from tests.generate.scripted import Scripted

CONTENTS = {("q1", 3): SPAR, ("q1", 0): TOWN, ("q2", 3): RIB}


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """A generated folder as a command leaves it, which --overwrite may remove."""
    folder = documents_folder(tmp_path / "graded", {"q1": "what is a spar", "q2": "what are ribs"}, CONTENTS)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    manifest = {"format": 1, "command": "x", "config": {}, "versions": {}, "inputs": [], "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").touch()
    for output in ("in", "in/deep", "in/deep/file", "in/../in"):
        with pytest.raises(GradirError, match="would take the place of what is read"):
            apart(tmp_path / output, [tmp_path / "elsewhere", tmp_path / "in" / "deep" / "file"])
    apart(tmp_path / "in" / "deep" / "out", [tmp_path / "in" / "deep"])  # beside what is read
    apart(tmp_path / "in2", [tmp_path / "in"])
    apart(tmp_path / "out", ["org/model", "ir_datasets:x"])


def test_no_command_removes_its_input(graded: Path, tiny_llm: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in graded.rglob("*") if path.is_file()}
    with pytest.raises(GradirError, match="take the place"):
        audit(graded, graded, overwrite=True)
    with pytest.raises(GradirError, match="is inside --input"):
        filter_(graded, graded, overwrite=True)
    with pytest.raises(GradirError, match="take the place"):
        filter_(graded, tmp_path, overwrite=True)
    with pytest.raises(GradirError, match="take the place"):
        judgements(f"hf:{tiny_llm}", graded, input=graded, overwrite=True)
    with pytest.raises(GradirError, match="take the place"):
        queries(str(graded), f"hf:{tiny_llm}", graded, overwrite=True)
    with pytest.raises(GradirError, match="is in the output"):
        queries(str(graded), f"hf:{tiny_llm}", tmp_path / "out", requests=tmp_path / "out" / "requests")
    assert {path: path.read_bytes() for path in graded.rglob("*") if path.is_file()} == before


def test_no_query_at_all_is_an_error(tiny_llm: Path, tmp_path: Path) -> None:
    corpus = collection(tmp_path / "beir", {"d1": SPAR, "d2": " "})
    with pytest.raises(GradirError, match=r"no query was written:(.|\n)*left out: --min-length +1"):
        queries(str(corpus), f"hf:{tiny_llm}", tmp_path / "out", min_length=5000)
    assert not (tmp_path / "out").exists()


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("command", ["filter", "audit"])
def test_no_room_for_what_is_made_of_a_folder(graded: Path, tmp_path: Path, command: str) -> None:
    make: Any = {"filter": filter_, "audit": audit}[command]
    with little_room(150), pytest.raises(GradirError, match=r"out cannot be written \(File too large\)"):
        make(graded, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert make(graded, tmp_path / "out").output == tmp_path / "out"


COMMANDS = {
    "queries": ["--corpus", "beir", "--documents", "0"],
    "documents": ["--topics", "topics.jsonl", "--one-by-one", "--attributes", "none", "--prompt", "each.yaml"],
    "judgements": ["--run", "run.trec", "--topics", "beir", "--corpus", "beir"],
}
EACH = 'format: 1\nkind: documents\nbody: "Query: {query}\\nGrade: {grade}\\nText:"\n'


@pytest.mark.parametrize("command", COMMANDS)
def test_no_room_for_finished_requests(tmp_path: Path, tiny_llm: Path, command: str) -> None:
    """The store fills up: what was stored stays, and the same command goes on from there, to the same bytes."""
    texts = {f"d{i}": f"{SPAR} {i}" for i in range(8)}
    collection(tmp_path / "beir", texts, {"q1": "what is a spar"})
    lines(tmp_path / "topics.jsonl", ({"_id": f"q{i}", "text": f"query {i}"} for i in range(3)))
    run(tmp_path / "run.trec", {"q1": [(docid, 1.0) for docid in texts]})
    (tmp_path / "each.yaml").write_text(EACH)
    words = [command, *COMMANDS[command], "--llm", f"hf:{tiny_llm}", "--llm-option", "batch_size=2", "device=cpu"]
    words += ["--max-tokens", "8"] if command != "judgements" else []

    def go(output: str, size: int | None) -> subprocess.CompletedProcess[str]:
        limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));" if size else ""
        code = f"import resource, sys; from gradir.generate.__main__ import main; {limit} sys.exit(main(sys.argv[1:]))"
        told = [sys.executable, "-c", code, *words, "--output", output]
        return subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)

    assert go("whole", None).returncode == 0
    store = tmp_path / "out.requests" / "replies.jsonl"
    room = (tmp_path / "whole.requests" / "replies.jsonl").stat().st_size // 2
    ended = go("out", room)
    assert ended.returncode == 1
    assert "replies.jsonl: cannot be written (File too large)" in ended.stderr
    assert "the same command goes on from there" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
    stored = store.read_bytes()
    assert 0 < len(stored) <= room
    assert stored.endswith(b"\n")
    assert go("out", None).returncode == 0
    assert store.read_bytes().startswith(stored)
    assert store.read_bytes() == (tmp_path / "whole.requests" / "replies.jsonl").read_bytes()
    made = [path for path in (tmp_path / "whole").rglob("*") if path.is_file() and path.name != "manifest.json"]
    for path in made:
        assert (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def test_no_room_for_a_hundred_thousand_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after some of them; with room the same command asks for the others alone."""
    engine = Scripted(lambda request: "how strong is this spar")
    monkeypatch.setattr("gradir.llm.open_llm", lambda llm, store, *_: engine.behind(store))
    corpus = lines(tmp_path / "corpus.jsonl", ({"_id": f"d{i}", "text": f"Spar {i} of wood."} for i in range(100_000)))
    flags: Any = {"prompt": "question", "documents": 0, "min_length": 1}
    room = 2_000_000
    with little_room(room), pytest.raises(GradirError, match=r"replies\.jsonl: cannot be written \(File too large\)"):
        queries(str(corpus), "hf:scripted", tmp_path / "out", **flags)
    store = tmp_path / "out.requests" / "replies.jsonl"
    stored = store.read_bytes().count(b"\n")
    assert not (tmp_path / "out").exists()
    assert room * 0.9 < store.stat().st_size <= room
    assert stored < len(engine.asked) < 100_000
    engine.asked.clear()
    queries(str(corpus), "hf:scripted", tmp_path / "out", **flags)
    assert len(engine.asked) == 100_000 - stored
    assert len(read(tmp_path / "out" / "records.jsonl")) == 100_000


KILLED = """
import os, signal, sys
from gradir.generate.__main__ import main
os.rename = os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["filter", "audit"])
def test_kill_nine_when_all_is_written(graded: Path, tmp_path: Path, command: str) -> None:
    """What is made of a folder is there as a whole, or not at all; the same command makes it again."""
    words = [command, "--input", str(graded), "--output", str(tmp_path / "out")]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    make: Any = {"filter": filter_, "audit": audit}[command]
    for output in ("out", "whole"):
        make(graded, tmp_path / output)
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    for name in (name for name in files if name.name != "manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"graded", "out", "whole"}
