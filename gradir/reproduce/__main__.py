"""`gradir reproduce RECIPE …` and `gradir reproduce --list`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.reproduce.stage import list_recipes, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir reproduce`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--list" in words:
        return execute(list_recipes, [word for word in words if word != "--list"], "gradir reproduce --list")
    return execute(run, words, "gradir reproduce", positional=("recipe",))


if __name__ == "__main__":
    sys.exit(main())
