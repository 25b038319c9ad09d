"""`gradir export ENCODER …`, also `python -m gradir.export ENCODER …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.export.stage import run

_FLAGS = ("--encoder", "--model", "--model-name-or-path")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir export`; returns its exit code."""
    words = _without_flag(list(sys.argv[1:] if argv is None else argv))
    return execute(run, words, "gradir export", positional=("encoder",))


def _without_flag(words: list[str]) -> list[str]:
    """`--encoder DIR`, as the other commands have it, is `DIR`."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in _FLAGS:
            rest = words[place + 1 :] if equals else words[place + 2 :]
            return [*([value] if equals else words[place + 1 : place + 2]), *words[:place], *rest]
    return words


if __name__ == "__main__":
    sys.exit(main())
