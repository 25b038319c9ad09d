"""`gradir COMMAND …`: each command is a module with `main(argv) -> exit code`, imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from gradir import __version__
from gradir.errors import nearest

# command: (module with main(argv), one line of help), in the order of the pipeline
COMMANDS = {
    "doctor": ("gradir.doctor", "what is installed, missing or clashing, with the fix"),
    "demo": ("gradir.demo.__main__", "the whole job on the built-in collection or a BEIR folder"),
    "collection": ("gradir.collection.__main__", "the built-in demonstration collection"),
    "generate": ("gradir.generate.__main__", "an LLM turns a corpus, or queries, into graded training data"),
    "mine": ("gradir.mine.__main__", "hard negatives and teacher scores into graded lists"),
    "train": ("gradir.train.__main__", "dense and SPLADE encoders, rerankers, from graded lists"),
    "export": (
        "gradir.export.__main__",
        "an encoder to one folder for Pyserini, Anserini, sentence-transformers and ONNX",
    ),
    "encode": ("gradir.encode.__main__", "corpora and topics to vector shards"),
    "convert": ("gradir.convert.__main__", "Pyserini's embeddings, FAISS and Lucene indexes to vector shards"),
    "index": ("gradir.index.__main__", "vector shards to Lucene impact and FAISS indexes"),
    "search": ("gradir.search.__main__", "topics and an index to a TREC run"),
    "fuse": ("gradir.fuse.__main__", "several runs to one"),
    "rerank": ("gradir.rerank.__main__", "a run's best documents put in order by a cross-encoder"),
    "reproduce": ("gradir.reproduce.__main__", "a recipe from the first step to checked scores"),
    "evaluate": ("gradir.evaluate.__main__", "runs and qrels to measures"),
    "pyserini": ("gradir.run_pyserini", "any unmodified Pyserini command with the JVM prepared"),
}


def usage() -> str:
    """The text of `gradir --help`."""
    lines = [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gradir COMMAND [--help] …",
            "",
            "Graded training data, SPLADE and dense encoders, and the indexes and runs made with them,",
            "for Pyserini and Anserini.",
            "",
            *lines,
            "",
            "gradir COMMAND --help shows a command's flags; gradir --version the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"gradir {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        print(f"error: no command '{command}'{nearest(command, COMMANDS)} See gradir --help.", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[command][0])
    return int(module.main(rest))


if __name__ == "__main__":
    sys.exit(main())
