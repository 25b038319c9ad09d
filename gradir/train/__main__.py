"""`gradir train WHAT …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.train.init_splade import run as init_splade

_WHAT = {"init-splade": init_splade}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir train`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in _WHAT:
        asked = words and words[0] in ("-h", "--help")
        sys.stderr.write(f"usage: gradir train {{{','.join(_WHAT)}}} [--help] …\n")
        return 0 if asked else 2
    return execute(_WHAT[words[0]], words[1:], f"gradir train {words[0]}", {"--model": "--encoder"})


if __name__ == "__main__":
    sys.exit(main())
