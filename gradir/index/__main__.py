"""`gradir index …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.index.stage import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir index`; returns its exit code."""
    aliases = {"--vectors": "--input", "--corpus": "--input", "--index": "--output", "--M": "--m"}
    aliases |= {
        "--efC": "--ef-construction",
        "--memoryBuffer": "--memory-buffer",
        "--storeDocvectors": "--store-docvectors",
    }
    return execute(run, argv, "gradir index", aliases)


if __name__ == "__main__":
    sys.exit(main())
