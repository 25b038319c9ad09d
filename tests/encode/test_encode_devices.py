"""Several devices: a process each, whose parts are those of one device, byte for byte."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gradir import encode
from gradir.data.vectors import VectorShards
from gradir.encode import workers
from gradir.encode.parts import VectorParts
from gradir.encode.pipeline import Work
from gradir.encode.rows import Texts
from gradir.encode.stage import OpenEncoder

FAST: dict[str, Any] = {"dtype": "float32", "part_size": 10}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "manifest.json"}


def test_two_processes_write_what_one_writes(tiny: Any, corpus: Path, tmp_path: Path) -> None:
    encoder = str(tiny("bert", head=True))
    encode.run(encoder, tmp_path / "one", corpus=str(corpus), device="cpu", **FAST)
    outcome = encode.run(encoder, tmp_path / "two", corpus=str(corpus), device="cpu,cpu", **FAST)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert "66 vectors" in outcome.message
    assert "tokens/s" in outcome.message
    assert "nothing to do" in encode.run(encoder, tmp_path / "two", corpus=str(corpus), device="cpu", **FAST).message


def test_a_killed_worker_ends_the_run_and_the_same_command_goes_on(
    tiny: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises_error: Any
) -> None:
    """Its parts may leave gaps between those of the other."""
    started: list[Any] = []
    listen = workers._listen

    def listening(processes: Any, progress: Any, written: Any) -> None:
        started.extend(process for _, process in processes.values())

        def killing(counts: Any) -> None:
            written(counts)
            os.kill(started[0].pid, signal.SIGKILL)

        listen(processes, progress, killing)

    encode.run(str(tiny("bert")), tmp_path / "one", corpus=str(corpus), device="cpu", **FAST)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_listen", listening)
        with raises_error("the process of device cpu was ended by SIGKILL", "the same command goes on"):
            encode.run(str(tiny("bert")), tmp_path / "two", corpus=str(corpus), device="cpu,cpu", **FAST)
    assert not any(process.is_alive() for process in started)
    assert 0 < len(list((tmp_path / "two").glob("part-*"))) < 7
    with raises_error("is not finished"):
        VectorShards(tmp_path / "two")
    encode.run(str(tiny("bert")), tmp_path / "two", corpus=str(corpus), device="cpu", **FAST)
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.fixture
def work(tiny: Any, corpus: Path, tmp_path: Path) -> Work:
    opener = OpenEncoder(str(tiny("bert")), "float32", "torch", None, None, "passage", {})
    parts = VectorParts(tmp_path / "parts", opener("cpu").description())
    parts.folder.mkdir()
    return Work(Texts(str(corpus), "passage"), opener, parts, 10, ("cpu", "cpu"))


def told(work: Work, description: dict[str, Any], listened: bool = True) -> list[Any]:
    """What a worker says, run here."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    if not listened:
        ours.close()
    before = signal.getsignal(signal.SIGINT)
    try:
        workers._worker(work, 1, description, theirs)
    finally:
        signal.signal(signal.SIGINT, before)
    said = []
    while listened and ours.poll():
        said.append(ours.recv())
    return said


def test_a_worker_writes_its_share_and_tells(work: Work) -> None:
    said = told(work, dict(work.parts.metadata))
    assert [path.name for path in sorted(work.parts.folder.iterdir())] == [f"part-0000{i}.parquet" for i in (1, 3, 5)]
    assert said[-1] == ("done",)
    assert sum(values[0] for kind, *values in said if kind == "progress") == 30
    assert sum(values[0].texts for kind, *values in said if kind == "written") == 30


def test_the_error_of_a_worker_is_told(work: Work, corpus: Path) -> None:
    with corpus.open("a") as stream:
        stream.write("{broken\n")
    kind, text = told(work, dict(work.parts.metadata))[-1]
    assert kind == "error"
    assert f"{corpus}:67: not a JSON object" in text


def test_a_worker_that_would_encode_otherwise_is_refused(work: Work) -> None:
    kind, text = told(work, dict(work.parts.metadata) | {"dtype": "bfloat16"})[-1]
    assert (kind, "dtype 'float32'" in text) == ("error", True)


def test_a_worker_ends_when_nobody_listens(work: Work) -> None:
    told(work, dict(work.parts.metadata), listened=False)
    assert len(list(work.parts.folder.glob("part-*"))) < 2


@pytest.mark.parametrize("device", ["gpu0", "cpu,", "cuda:x", "", "cpu,cuda:99"])
def test_devices_that_are_none(tiny: Any, corpus: Path, tmp_path: Path, raises_error: Any, device: str) -> None:
    with raises_error("--device ", "Try --device cpu"):
        encode.run(str(tiny("bert")), tmp_path / "v", corpus=str(corpus), device=device, **FAST)
    assert not (tmp_path / "v").exists()
