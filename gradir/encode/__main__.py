"""`gradir encode …`, also `python -m gradir.encode …`, in its own form and in that of `pyserini.encode`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.encode import pyserini_form
from gradir.encode.stage import run

_ALIASES = {
    "--model": "--encoder",
    "--model-name-or-path": "--encoder",
    "--queries": "--topics",
    "--embeddings": "--output",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir encode`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in pyserini_form.PARTS:
        return pyserini_form.main(words)
    return execute(run, words, "gradir encode", _ALIASES)


if __name__ == "__main__":
    sys.exit(main())
