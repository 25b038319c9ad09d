"""`gradir generate WHAT …`, also `python -m gradir.generate WHAT …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from gradir.command import execute
from gradir.errors import nearest


class _What(NamedTuple):
    module: str
    function: str
    help: str


_WHAT = {
    "queries": _What("queries_stage", "queries", "queries for documents (InPars, Promptagator)"),
    "documents": _What(
        "documents_stage", "documents", "documents at grades 3, 2, 1, 0 for queries (SyCL), or the reverse"
    ),
    "judgements": _What("judgements_stage", "judgements", "grades for pairs of query and document"),
    "pairs": _What("pairs_stage", "pairs", "prompts with answers from judgements, to train a writer on"),
    "filter": _What("filter_stage", "filter_", "a generated set without what is not good enough, and why"),
    "audit": _What("audit_stage", "audit", "one page on a generated set"),
    "prompt": _What("prompt_stage", "", "the prompts: list, show, render"),
}
_PROMPT = {
    "list": _What("prompt_stage", "list_", "all prompts, or those of a kind"),
    "show": _What("prompt_stage", "show", "a prompt as YAML, to start one's own from"),
    "render": _What("prompt_stage", "render", "what the model sees, to the letter"),
}
_COMMON = {"--model": "--llm", "--max-new-tokens": "--max-tokens", "--n-fewshot": "--shots", "--queries": "--topics"}
_TOKENS = {"--max-doc-length": "--document-tokens"}
_ALIASES = {  # of the commands that ask a model
    "queries": {
        **_COMMON,
        **_TOKENS,
        "--n": "--documents",
        "--num-docs": "--documents",
        "--queries-per-document": "--per-document",
    },
    "documents": {**_COMMON, "--n": "--limit"},
    "judgements": {**_COMMON, **_TOKENS, "--k": "--depth"},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradir generate …`; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["prompt"]:
        return _run("gradir generate prompt", _PROMPT, words[1:])
    return _run("gradir generate", _WHAT, words)


def _run(prog: str, table: dict[str, _What], words: list[str]) -> int:
    """Dispatch to one of a table; only its module is imported."""
    if not words or words[0] in ("-h", "--help"):
        lines = [f"  {name:<12}{one.help}" for name, one in table.items()]
        usage = "\n".join([f"usage: {prog} WHAT [--help] …", "", *lines, ""])
        (sys.stdout if words else sys.stderr).write(usage)
        return 0 if words else 2
    if words[0] not in table:
        sys.stderr.write(f"error: no '{words[0]}' in {prog}{nearest(words[0], table)} See {prog} --help.\n")
        return 2
    one = table[words[0]]
    function = getattr(import_module(f"gradir.generate.{one.module}"), one.function)
    return execute(
        function, words[1:], f"{prog} {words[0]}", _ALIASES.get(words[0], {}), ("name",) if table is _PROMPT else ()
    )


if __name__ == "__main__":
    sys.exit(main())
