"""Java and xgrammar in one process: the Java machine reads null pointers off SIGSEGV, and xgrammar's run-time takes that signal.

The run-time (apache-tvm-ffi) puts a handler in its place when it is loaded, to print a trace. If the Java machine runs already, its
next null check ends the process. So what stood there before is put back.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from types import ModuleType

_STRUCT_SIGACTION = 512  # bytes; more than any system's


def import_xgrammar() -> ModuleType:
    """xgrammar, imported without a change of this process's signal handlers.

    Raises:
        ImportError: It is not installed.
    """
    if "xgrammar" in sys.modules or sys.platform == "win32":
        import xgrammar

        return xgrammar
    libc = ctypes.CDLL(None)
    before = ctypes.create_string_buffer(_STRUCT_SIGACTION)
    libc.sigaction(int(signal.SIGSEGV), None, before)
    try:
        import xgrammar
    finally:
        libc.sigaction(int(signal.SIGSEGV), before, None)
    return xgrammar
