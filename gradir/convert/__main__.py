"""`gradir convert …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.convert.stage import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir convert`; returns its exit code."""
    return execute(run, argv, "gradir convert", {"--model": "--encoder"}, positional=["foreign"])


if __name__ == "__main__":
    sys.exit(main())
