"""Keeping freed memory, so that the steps of training do not fetch and clear the same pages again and again."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_MOST = 2**30


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed for the next allocation, up to 1 GiB in one piece.

    As it comes, glibc hands every block of 32 MiB or more, and the end of its heap, back to the system when it is freed; the next
    step faults it in again, page by page. The peak of the process stays the same, and it holds that peak from then on, as torch's
    own allocator does on a GPU.

    Returns:
        Whether there is such a C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(bool(mallopt(what, _MOST)) for what in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
