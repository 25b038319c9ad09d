"""`gradir encode …`, also `python -m gradir.encode …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.encode.stage import run

_ALIASES = {
    "--model": "--encoder",
    "--model-name-or-path": "--encoder",
    "--queries": "--topics",
    "--embeddings": "--output",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir encode`; returns its exit code."""
    return execute(run, argv, "gradir encode", _ALIASES)


if __name__ == "__main__":
    sys.exit(main())
