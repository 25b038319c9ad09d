"""`gradir train WHAT …`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from gradir.command import execute
from gradir.errors import nearest

# what: (module, function, one line of help)
_WHAT = {
    "dense": ("gradir.train.stage", "dense", "a dense encoder from graded lists"),
    "splade": ("gradir.train.stage", "splade", "a SPLADE encoder from graded lists"),
    "reranker": ("gradir.train.cross_stage", "reranker", "a cross-encoder or monoT5 from graded lists"),
    "init-splade": ("gradir.train.init_splade", "run", "a SPLADE encoder to start from, without training"),
    "mlm": ("gradir.train.mlm", "run", "masked-language modelling on a corpus, before the rest"),
    "writer": ("gradir.train.writer_stage", "writer", "a small language model from prompts and their answers"),
}
_ALIASES = {
    "--model": "--encoder",
    "--model-name-or-path": "--encoder",
    "--output-dir": "--output",
    "--train-group-size": "--group-size",
    "--per-device-train-batch-size": "--batch-size",
    "--num-train-epochs": "--epochs",
    "--query-max-len": "--max-query-length",
    "--passage-max-len": "--max-passage-length",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir train`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in _WHAT:
        asked = bool(words) and words[0] in ("-h", "--help")
        wrong = f"error: no '{words[0]}' to train{nearest(words[0], _WHAT)}\n" if words and not asked else ""
        lines = [f"  {name:<12}{text}" for name, (_, _, text) in _WHAT.items()]
        sys.stderr.write("\n".join([f"{wrong}usage: gradir train WHAT [--help] …", "", *lines, ""]))
        return 0 if asked else 2
    module, name, _ = _WHAT[words[0]]
    function = getattr(importlib.import_module(module), name)
    positional = ["config"] if words[0] in ("dense", "splade", "reranker") else []
    return execute(function, words[1:], f"gradir train {words[0]}", _ALIASES, positional)


if __name__ == "__main__":
    sys.exit(main())
