"""`gradir collection pydocs …` and `python -m gradir.collection pydocs …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.errors import nearest

_USAGE = "usage: gradir collection pydocs --output DIR [--overwrite]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir collection …`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE + "\n")
        return 0 if words else 2
    name, *rest = words
    if name != "pydocs":
        sys.stderr.write(f"error: no collection '{name}'{nearest(name, ['pydocs'])} {_USAGE}\n")
        return 2
    from gradir.collection.pydocs import pydocs

    return execute(pydocs, rest, "gradir collection pydocs")


if __name__ == "__main__":
    sys.exit(main())
