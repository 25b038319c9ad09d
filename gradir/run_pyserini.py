"""`gradir pyserini MODULE ARGS…`: an unmodified Pyserini command in a process whose JVM is prepared."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from gradir import jvm
from gradir.command import Outcome, guarded
from gradir.errors import MissingDependency

HELP = """usage: gradir pyserini MODULE ARGS…

Runs `python -m pyserini.MODULE ARGS…` unchanged, with Java, Anserini's class path and the heap set up, and returns
its exit code. MODULE may be written with or without the leading `pyserini.`.

Where --encoder of encode, encode.query, search.lucene, search.faiss or search.hybrid names a folder with gradir.json, gradir's
encoder is used, with the folder's own pooling, prefixes, lengths and scale. --encoder-class CLASS asks for Pyserini's
encoder, --encoder-class gradir for gradir's on any folder.

examples:
  gradir pyserini index.lucene --collection JsonVectorCollection --input vectors --index impact-index \\
      --generator DefaultLuceneDocumentGenerator --threads 4 --impact --pretokenized
  gradir pyserini search.lucene --impact --index impact-index --topics topics.tsv --output run.trec --hits 1000
  gradir pyserini eval.trec_eval -c -m ndcg_cut.10 qrels.trec run.trec

gradir pyserini MODULE --help shows the flags of a module. GRADIR_HEAP=16g sets the heap of the JVM (default: 4g)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one Pyserini command; returns its exit code (2: there is no such command)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        guarded(lambda: Outcome(text=HELP))
        return 0 if words else 2
    name, arguments = words[0].removeprefix("pyserini."), words[1:]
    refused = guarded(lambda: _prepare(name)) or guarded(lambda: _plug_in(name, arguments))
    return refused or _run(f"pyserini.{name}", arguments)


def commands() -> list[str]:
    """The Pyserini modules that do something when they are run, without the leading `pyserini.`; imports nothing.

    Raises:
        MissingDependency: Pyserini is not installed.
    """
    root = _package()
    # A module without a main block can be run as well, but prints nothing; naming it would help nobody.
    runs = re.compile(r"^if __name__ == ['\"]__main__['\"]", re.MULTILINE)
    modules = (file for file in root.rglob("*.py") if runs.search(file.read_text(encoding="utf-8", errors="replace")))
    packages = (file.parent for file in root.rglob("__main__.py"))
    found = {_dotted(file.relative_to(root)) for file in (*modules, *packages)}
    return sorted(found - {""})


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix("__main__").removesuffix(".")


def _package() -> Path:
    spec = importlib.util.find_spec("pyserini")
    if not spec or not spec.submodule_search_locations:
        raise MissingDependency("Pyserini", "gradir pyserini", jvm.INSTALL)
    return Path(spec.submodule_search_locations[0])


def _prepare(name: str) -> Outcome:
    """Set up this process, unless there is no such command."""
    place = _package().joinpath(*name.split("."))
    runs = place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    if not runs or not re.fullmatch(r"\w+(\.\w+)*", name):
        return Outcome(message=f"error: Pyserini has no command '{name}'. {_hint(name, commands())}", exit_code=2)
    _prepare_children(jvm.ensure(keep_interrupts=False))
    return Outcome()


def _plug_in(name: str, arguments: list[str]) -> Outcome:
    """Put gradir's encoders in place, and the arguments as Pyserini shall see them."""
    from gradir.pyserini_plugin import prepare

    arguments[:], lines = prepare(name, arguments)
    return Outcome(message="\n".join(lines))


def _hint(name: str, known: Sequence[str]) -> str:
    inside = [command for command in known if command.startswith(f"{name}.") or command.endswith(f".{name}")]
    near = inside or difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if 0 < len(near) < 4 else f"It has {', '.join(near or known)}"


def _prepare_children(started: jvm.Jvm) -> None:
    """Make `python -m pyserini...` work in the shells that Pyserini's `2cr` and `search` open."""
    # They type `python`, which need not be this one.
    java, *rest = os.environ["PATH"].split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([java, str(Path(sys.executable).parent), *rest])
    if not started.java.has_vector_module:
        # Finding no jar there, Pyserini leaves its JVM options alone, and pyjnius takes CLASSPATH.
        os.environ["ANSERINI_CLASSPATH"] = str(started.jar.parent / "not-here-see-CLASSPATH")
        theirs = os.environ.get("CLASSPATH")
        os.environ["CLASSPATH"] = os.pathsep.join([str(started.jar), *([theirs] if theirs else [])])


def _run(module: str, words: Sequence[str]) -> int:
    """Run a module as `python -m` does; what Python would make of its SystemExit is the exit code."""
    before = sys.argv
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    finally:
        sys.argv = before
    return 0
