"""Encoding, killed ten times at random moments and started again, ends with the bytes of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gradir.data.manifest import read_manifest

KILLS = 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    """600 texts, of one to six sentences."""
    draw = random.Random(7)
    path = tmp_path_factory.mktemp("killed") / "corpus.jsonl"
    rows = [{"_id": f"d{i}", "text": " ".join(draw.choices(sentences, k=draw.randint(1, 12)))} for i in range(1200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# In a process with all imports done, a child is forked for each start: what is killed is the encoding, not the start of Python.
RUNNER = """
import os, sys
from pathlib import Path
import torch
from gradir import encode
from gradir.encode import estimate, perform
import gradir.engine.encoder, gradir.models.loading, transformers
torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            encode.run(sys.argv[1], Path(line.strip()), corpus=sys.argv[2], device="cpu", part_size=20, max_length=64)
        finally:
            os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_ten_kills(splade_dir: Path, corpus: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUNNER, str(splade_dir), str(corpus)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runner:
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        assert run(runner, whole) == 0
        draw, ended, progress = random.Random(13), [], []
        for _ in range(KILLS):
            # at the start, while it looks at what is there, or while it encodes and writes
            ended.append(run(runner, broken, kill_after=draw.choice([0, 1, 2, 3]), delay=draw.uniform(0, 1)))
            progress.append(len(list(broken.glob("part-*.parquet"))))
        assert run(runner, broken) == 0
        assert runner.stdin
        runner.stdin.close()
    assert ended.count(signal.SIGKILL) >= KILLS - 2, (ended, progress)
    assert len(set(progress)) > 3, progress  # it was killed at different places
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in broken.iterdir()) == names
    for name in names:
        if name != "manifest.json":
            assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    first, second = ({k: v for k, v in read_manifest(folder).items() if k != "measured"} for folder in (whole, broken))
    assert first == second


def run(runner: subprocess.Popen[str], output: Path, kill_after: int | None = None, delay: float = 0.0) -> int:
    """The signal that ended a run (0: none). It is killed so many seconds after it has written so many parts."""
    assert runner.stdin
    assert runner.stdout
    there = len(list(output.glob("part-*.parquet")))
    runner.stdin.write(f"{output}\n")
    runner.stdin.flush()
    child = int(runner.stdout.readline())
    if kill_after is not None:
        while len(list(output.glob("part-*.parquet"))) < there + kill_after and not (output / "manifest.json").exists():
            time.sleep(0.01)
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(int(runner.stdout.readline()))
