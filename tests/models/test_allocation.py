"""Freed memory stays with the process, as its size in the system tells."""

from __future__ import annotations

import subprocess
import sys

import pytest

# 64 MiB in one piece: above the size from which glibc maps a piece of its own, and gives it back when it is freed.
SCRIPT = """
import ctypes, sys
from pathlib import Path
from gradir.models.allocation import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
pages = lambda: int(Path("/proc/self/statm").read_text().split()[1])
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = pages()
place = libc.malloc(64 * 2**20)
ctypes.memset(place, 1, 64 * 2**20)
full = pages()
libc.free(place)
print((pages() - before) / (full - before))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
@pytest.mark.parametrize(("how", "least", "most"), [("plain", -0.1, 0.1), ("keep", 0.9, 1.1)])
def test_freed_memory_is_kept(how: str, least: float, most: float) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    assert least < float(run.stdout) < most


@pytest.mark.parametrize("lacking", ["platform", "mallopt"])
def test_where_there_is_no_such_library(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradir.models import allocation

    if lacking == "platform":
        monkeypatch.setattr(allocation.sys, "platform", "darwin")
    else:
        monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())
    assert not allocation.keep_freed_memory()
