"""`gradir fuse …`, also with the flags of `python -m pyserini.fusion`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.fuse.stage import run

_ALIASES = {"--run": "--runs", "--rrf.k": "--rrf-k", "--k": "--hits", "--runtag": "--tag"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir fuse`; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    # Pyserini's switch for sorting the runs first, which is always done here
    return execute(run, [word for word in words if word != "--resort"], "gradir fuse", _ALIASES)


if __name__ == "__main__":
    sys.exit(main())
