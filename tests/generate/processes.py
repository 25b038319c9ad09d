"""Commands in processes of their own with one thread each: what is asked alike is then answered alike, to the last digit."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    # With other threads, as other tests may have left them in this process, sums are taken in another order.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def finish(words: Sequence[str]) -> None:
    """Run a command to its end."""
    process = _start(words)
    _, said = process.communicate()
    assert process.returncode == 0, said[-4000:]


def kill(words: Sequence[str], replies: Path, lines: int) -> None:
    """Run a command and kill it with -9 as soon as `replies` has so many lines."""
    process = _start(words)
    try:
        while not replies.exists() or replies.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "the process was to be killed at work"
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
