"""`gradir search …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.search.stage import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir search`; returns its exit code."""
    aliases = {
        "--model": "--encoder",
        "--queries": "--topics",
        "--k": "--hits",
        "--depth": "--hits",
        "--runtag": "--tag",
        "--encoded-queries": "--encoded-topics",
        "--runs": "--run",
    }
    return execute(run, argv, "gradir search", aliases)


if __name__ == "__main__":
    sys.exit(main())
