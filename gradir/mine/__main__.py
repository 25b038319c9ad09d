"""`gradir mine WHAT …`, also `python -m gradir.mine WHAT …`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from gradir.command import Outcome, execute
from gradir.errors import nearest
from gradir.mine.negatives_stage import negatives
from gradir.mine.queries_stage import queries
from gradir.mine.scores_stage import scores
from gradir.mine.split_stage import split

_WHAT: dict[str, tuple[Callable[..., Outcome], str]] = {
    "negatives": (negatives, "hard negatives from runs, as graded lists"),
    "scores": (scores, "teacher scores of cross-encoders and encoders, also of several together"),
    "queries": (queries, "queries that a corpus asks by itself: a sentence or the title of each document"),
    "split": (split, "judged queries into train and dev, without a shared relevant document"),
}
_ALIASES = {
    "--runs": "--run",
    "--queries": "--topics",
    "--num-negatives": "--k",
    "--sampling-strategy": "--pick",
    "--model-name-or-path": "--model",
    "--reranker": "--model",
    "--cross-encoder": "--model",
    "--depth": "--hits",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir mine …`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        lines = [f"  {name:<11}{text}" for name, (_, text) in _WHAT.items()]
        usage = "\n".join(["usage: gradir mine WHAT [--help] …", "", *lines, ""])
        (sys.stdout if words else sys.stderr).write(usage)
        return 0 if words else 2
    if words[0] not in _WHAT:
        sys.stderr.write(
            f"error: nothing called '{words[0]}' is mined{nearest(words[0], _WHAT)} See gradir mine --help.\n"
        )
        return 2
    return execute(_WHAT[words[0]][0], words[1:], f"gradir mine {words[0]}", _ALIASES)


if __name__ == "__main__":
    sys.exit(main())
