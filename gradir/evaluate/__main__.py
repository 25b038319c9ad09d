"""`gradir evaluate`, `gradir evaluate parity A B`, `python -m gradir.evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.evaluate.stage import run

_ALIASES = {
    "--runs": "--run",
    "--measure": "--measures",
    "--metrics": "--measures",
    "--metric": "--measures",
    "-m": "--measures",
    "-l": "--min-grade",
}
_SEVERAL = ("--run", "--measures")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate runs, or compare two; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["parity"]:
        from gradir.evaluate import parity

        return execute(
            parity.run, words[1:], "gradir evaluate parity", {"--queries": "--topics"}, positional=["a", "b"]
        )
    return execute(run, _together(words), "gradir evaluate")


def _together(words: Sequence[str]) -> list[str]:
    """`-m A -m B`, as trec_eval wants it, becomes `--measures A B`; argparse would keep the last one only."""
    kept: list[str] = []
    several: dict[str, list[str]] = {flag: [] for flag in _SEVERAL}
    values = kept
    for word in words:
        name, equals, value = word.partition("=")
        flag = _ALIASES.get(name, name)
        if not word.startswith("-"):
            values.append(word)
        elif flag in several:
            values = several[flag]
            values += [value] if equals else []
        else:
            values = kept
            kept.append(flag + equals + value)
    return kept + [word for flag, given in several.items() if given for word in (flag, *given)]


if __name__ == "__main__":
    sys.exit(main())
