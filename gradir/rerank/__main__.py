"""`gradir rerank …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.rerank.stage import run

_ALIASES = {
    "--encoder": "--model",
    "--model-name-or-path": "--model",
    "--reranker": "--model",
    "--queries": "--topics",
    "--depth": "--hits",
    "--k": "--hits",
    "--runtag": "--tag",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir rerank`; returns its exit code."""
    return execute(run, argv, "gradir rerank", _ALIASES)


if __name__ == "__main__":
    sys.exit(main())
