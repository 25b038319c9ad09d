"""`gradir index` as a stage: done once, refused when it differs, whole or not there at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradir import index
from gradir.errors import GradirError


def test_a_finished_index_is_left_alone(dense_shards: Any, tmp_path: Path) -> None:
    shards, out = dense_shards(np.eye(3)), tmp_path / "index"
    first = index.run(shards, out, "flat")
    assert "3 documents" in first.message
    assert first.next_command == f"gradir search --index {out} --topics TOPICS --encoder ENCODER --output RUN"
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert "nothing to do" in index.run(shards, out, "flat").message
    assert before == {file: file.stat().st_mtime_ns for file in out.iterdir()}


def test_the_manifest_holds_the_encoder_and_the_counts(dense_shards: Any, tmp_path: Path) -> None:
    index.run(dense_shards(np.eye(3)), tmp_path / "index", "hnsw", m=8, ef_construction=40, ef_search=50)
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["command"] == "gradir index"
    assert manifest["config"] | {"encoder": None} == {
        "type": "hnsw",
        "m": 8,
        "ef_construction": 40,
        "ef_search": 50,
        "encoder": None,
    }
    assert manifest["config"]["encoder"]["weights_sha256"] == "1d"
    assert manifest["counts"] == {"documents": 3, "dimensions": 3}
    assert sorted(manifest["files"]) == ["docid", "index"]
    assert {path.name for path in (tmp_path / "index").iterdir()} == {"docid", "index", "manifest.json"}


def test_other_work_is_refused_until_overwrite(dense_shards: Any, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index.run(dense_shards(np.eye(3)), out, "flat")
    with pytest.raises(GradirError, match=r"type: 'flat' -> 'hnsw'[\s\S]*--overwrite"):
        index.run(tmp_path / "v", out, "hnsw")
    with pytest.raises(GradirError, match="other content"):
        index.run(dense_shards(np.eye(4), to="other"), out, "flat")
    index.run(tmp_path / "other", out, "flat", overwrite=True)
    assert len((out / "docid").read_text().splitlines()) == 4


def test_a_folder_of_somebody_else_is_never_removed(dense_shards: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(GradirError, match=r"mine"):
            index.run(dense_shards(np.eye(3)), tmp_path / "mine", "flat", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "dear"


@pytest.mark.parametrize("where", ["v", ".", "v/index"])
def test_the_input_is_never_removed(dense_shards: Any, tmp_path: Path, where: str) -> None:
    shards = dense_shards(np.eye(3))
    (shards / "manifest.json").write_text(
        json.dumps(
            {"format": 1, "command": "gradir encode", "config": {}, "inputs": [], "files": ["part-00000.parquet"]}
        )
    )
    with pytest.raises(GradirError, match="Choose another --output"):
        index.run(shards, tmp_path / where, "flat", overwrite=True)
    assert (shards / "part-00000.parquet").exists()


_SLOW = """
import sys, time
from pathlib import Path
from gradir.index import run
from gradir.index.source import Source
def slowly(read):
    def parts(self):
        for number, part in enumerate(read(self)):
            yield part
            if number == 1:
                Path(sys.argv[1]).touch()
                time.sleep(60)
    return parts
Source.sparse, Source.dense = slowly(Source.sparse), slowly(Source.dense)
run(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
"""


def _open_index(folder: Path, type: str) -> None:
    """Open an index as `gradir search` does."""
    from gradir.search.faiss_search import FaissSearcher
    from gradir.search.impact import ImpactSearcher
    from gradir.search.indexes import describe

    describe(folder, None)
    if type == "impact":
        ImpactSearcher(folder, ["a", "b"], 1)
    else:
        FaissSearcher(folder, 1)


@pytest.mark.parametrize("type", ["impact", "flat"])
def test_a_killed_writer_leaves_nothing_and_a_second_run_works(
    type: Any, sparse_shards: Any, dense_shards: Any, raises_error: Any, tmp_path: Path
) -> None:
    vectors = np.arange(1, 13).reshape(6, 2)
    shards = sparse_shards(vectors, ["a", "b"], parts=3) if type == "impact" else dense_shards(vectors * 1.0, parts=3)
    halfway, out = tmp_path / "halfway", tmp_path / "out" / "index"
    command = [sys.executable, "-c", _SLOW, str(halfway), str(shards), str(out), type]
    writer = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"GRADIR_HEAP": "500m"})
    try:
        until = time.monotonic() + 100
        while not halfway.exists() and writer.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert halfway.exists(), writer.communicate()[1].decode()
        with raises_error(str(out), f"is being written by process {writer.pid}"):
            index.run(shards, out, type)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    (left,) = out.parent.iterdir()
    assert left.name.startswith(".index.partial-")
    for found in (out, left):
        with raises_error(str(found)):
            _open_index(found, type)
    index.run(shards, out, type)
    assert [path.name for path in out.parent.iterdir()] == ["index"]
    assert json.loads((out / "manifest.json").read_text())["counts"]["documents"] == 6


_FULL = """
import json, resource, sys
from pathlib import Path
from gradir.errors import GradirError
from gradir.index import run
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for shards, out, type, flags in json.loads(sys.argv[1]):
    try:
        run(Path(shards), Path(out), type, **flags)
        print(type, "was written")
    except GradirError as error:
        print(type, error)
"""


def test_a_disk_that_fills_leaves_nothing(sparse_shards: Any, dense_shards: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 100_000, (1000, 120))
    vectors = rng.normal(size=(1000, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sparse, dense = sparse_shards(matrix, [f"t{i}" for i in range(120)], to="s"), dense_shards(vectors, to="d")
    sparse_types: Any = [("impact", {}), ("impact", {"to_json": True}), ("impact", {"forward": True, "top_k": 9})]
    dense_types: Any = [("flat", {}), ("hnsw", {}), ("faiss", {"factory": "SQfp16"}), ("lucene-flat", {})]
    kinds = [(sparse, *one) for one in (*sparse_types, ("opensearch-bulk", {}))] + [
        (dense, *one) for one in dense_types
    ]
    tasks = [(str(shards), str(tmp_path / "out" / str(i)), *rest) for i, (shards, *rest) in enumerate(kinds)]
    command = [sys.executable, "-c", _FULL, json.dumps(tasks)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"GRADIR_HEAP": "500m"}, timeout=200
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [type for _, _, type, _ in tasks], done.stdout
    for line in lines:
        assert "File too large" in line, line
    assert list((tmp_path / "out").iterdir()) == []


def test_no_moment_shows_an_index_without_its_manifest(
    dense_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # killed right after the folder has got its name: a second run must know the index as finished
    import gradir.data.atomic

    replace = os.replace

    def killed(source: Any, target: Any) -> None:
        replace(source, target)
        if Path(target).name == "index" and Path(target).is_dir():
            raise KeyboardInterrupt

    monkeypatch.setattr(gradir.data.atomic.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        index.run(dense_shards(np.eye(3)), tmp_path / "index", "flat")
    monkeypatch.undo()
    assert "nothing to do" in index.run(tmp_path / "v", tmp_path / "index", "flat").message


@pytest.mark.parametrize("command", ["index", "search"])
def test_help_imports_nothing_heavy(command: str) -> None:
    heavy = ("torch", "transformers", "pyserini", "faiss", "jnius", "jnius_config", "pyarrow")
    code = f"""
import sys
from gradir.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit as end:
    assert not end.code
assert not [name for name in {heavy!r} if name in sys.modules], sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"usage: gradir {command}" in done.stdout
    assert "--overwrite" in done.stdout
