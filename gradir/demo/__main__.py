"""`gradir demo …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.demo.stage import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir demo`; returns its exit code."""
    return execute(run, argv, "gradir demo", {"--corpus": "--collection", "--model": "--encoder"})


if __name__ == "__main__":
    sys.exit(main())
