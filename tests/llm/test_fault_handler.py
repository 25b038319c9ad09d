"""Whoever holds SIGSEGV keeps it: the Java machine needs it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes
from gradir.llm.fault_handler import import_xgrammar

libc = ctypes.CDLL(None)
def holder():
    now = ctypes.create_string_buffer(512)
    libc.sigaction(11, None, now)
    return now.raw[:8]  # the function's address

before = holder()
xgrammar = import_xgrammar()
print(xgrammar.__name__, holder() == before, import_xgrammar() is xgrammar)
"""


def test_importing_xgrammar_changes_no_signal_handler() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["xgrammar", "True", "True"], done.stderr
