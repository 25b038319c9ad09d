from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import Literal

import pytest

from gradir.command import Outcome, execute, guarded, parser_for
from gradir.errors import GradirError, InputError, MissingDependency, nearest


def stage(
    corpus: str,
    output: Path,
    batch_size: int = 64,
    margin: float = 0.95,
    runs: list[Path] | None = None,
    mode: Literal["max", "mean"] = "max",
    names: list[str] = [],  # noqa: B006
    overwrite: bool = False,
    lower: bool = True,
    limit: int | None = None,
    pick: Literal["a", "b"] | None = None,
) -> Outcome:
    """Count the documents.

    A second paragraph.

    Args:
        corpus: BEIR folder
            or file.
        output: Where 100% of the counts go.
        batch_size: Documents at a time.
        mode: How.
        overwrite: Start afresh.

    Raises:
        GradirError: never: really.
    """
    return Outcome(text=repr({name: value for name, value in sorted(locals().items())}))


DEFAULTS = {
    "corpus": "c",
    "output": Path("o"),
    "batch_size": 64,
    "margin": 0.95,
    "runs": None,
    "mode": "max",
    "names": [],
    "overwrite": False,
    "lower": True,
    "limit": None,
    "pick": None,
}
CASES: dict[str, dict[str, object]] = {
    "": {},
    "--batch-size 5 --margin 1": {"batch_size": 5, "margin": 1.0},
    "--batch-size=5": {"batch_size": 5},
    "--runs a b --names x": {"runs": [Path("a"), Path("b")], "names": ["x"]},
    "--overwrite": {"overwrite": True},
    "--no-lower": {"lower": False},
    "--lower": {"lower": True},
    "--limit 3 --mode mean --pick b": {"limit": 3, "mode": "mean", "pick": "b"},
    "--size 7": {"batch_size": 7},
    "--size=8": {"batch_size": 8},
}


@pytest.mark.parametrize("words", CASES)
def test_flags_are_the_arguments_of_the_function(words):
    seen = {}

    def run(**arguments: object) -> Outcome:
        seen.update(arguments)
        return Outcome()

    run.__signature__ = inspect.signature(stage)  # type: ignore[attr-defined]
    run.__annotations__, run.__doc__ = typing.get_type_hints(stage), stage.__doc__
    assert execute(run, ["--corpus", "c", "--output", "o", *words.split()], "gradir x", {"--size": "--batch-size"}) == 0
    assert seen == DEFAULTS | CASES[words]
    assert {name: type(value) for name, value in seen.items()} == {
        name: type(value) for name, value in (DEFAULTS | CASES[words]).items()
    }


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--output o", "the following arguments are required: --corpus"),
        ("--corpus c --output o --batch-size x", "argument --batch-size: invalid int value: 'x'"),
        ("--corpus c --output o --mode min", "argument --mode: invalid choice: 'min'"),
        ("--corpus c --output o --pick z", "argument --pick: invalid choice: 'z'"),
        ("--corpus c --output o --batch 5", "unrecognized arguments: --batch 5"),  # no abbreviations
        ("--corpus c --output o --no-overwrite", "unrecognized arguments: --no-overwrite"),
        ("--corpus c --output o --runs", "argument --runs: expected at least one argument"),
    ],
)
def test_wrong_words_are_refused_with_exit_code_2(capsys, words, problem):
    with pytest.raises(SystemExit) as caught:
        execute(stage, words.split(), "gradir x")
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_named_arguments_stand_without_a_flag(capsys):
    assert execute(stage, ["c", "--output", "o", "--limit", "3"], "gradir count", positional=["corpus"]) == 0
    assert capsys.readouterr().out == repr(dict(sorted((DEFAULTS | {"limit": 3}).items()))) + "\n"
    assert "CORPUS" in parser_for(stage, "gradir count", ["corpus"]).format_help()
    with pytest.raises(SystemExit):
        execute(stage, ["--output", "o"], "gradir count", positional=["corpus"])


def test_the_help_is_the_docstring():
    text = " ".join(parser_for(stage, "gradir x").format_help().split())
    assert text.startswith("usage: gradir x [-h] --corpus TEXT --output PATH [--batch-size N] [--margin X]")
    for words in [
        "Count the documents. A second paragraph.",
        "--corpus TEXT BEIR folder or file.",
        "--output PATH Where 100% of the counts go.",
        "--batch-size N Documents at a time. (default: 64)",
        "--mode {max,mean} How. (default: max)",
        "--overwrite Start afresh. --lower",
        "--runs PATH [PATH ...]",
    ]:
        assert words in text
    assert "never: really" not in text
    assert "--size" not in text


def test_results_go_to_stdout_and_the_next_command_is_the_last_line_of_stderr(capsys):
    outcome = Outcome(text="0.52", message="3 documents", next_command="gradir index", exit_code=3)
    assert guarded(lambda: outcome) == 3
    assert capsys.readouterr() == ("0.52\n", "3 documents\nnext: gradir index\n")
    assert guarded(Outcome) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GradirError("no"), "error: no\n"),
        (InputError("f.tsv", "bad", "Mend it", 3), "error: f.tsv:3: bad. Mend it\n"),
        (InputError(Path("f"), "bad"), "error: f: bad\n"),
        (
            MissingDependency("p", "X", "pip install p"),
            "error: X needs p, which is not installed. Install it: pip install p\n",
        ),
    ],
)
def test_our_errors_are_printed_without_a_traceback(capsys, monkeypatch, error, text):
    def action() -> Outcome:
        raise error

    monkeypatch.delenv("GRADIR_TRACEBACK", raising=False)
    assert guarded(action) == 1
    assert capsys.readouterr() == ("", text)
    monkeypatch.setenv("GRADIR_TRACEBACK", "1")
    with pytest.raises(GradirError):
        guarded(action)


def test_other_errors_are_not_hidden_and_an_interrupt_is_said():
    def broken() -> Outcome:
        raise ZeroDivisionError

    def interrupted() -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        guarded(broken)
    assert guarded(interrupted) == 130


def test_a_reader_that_has_gone_is_no_error():
    code = (
        "import sys; from gradir.command import Outcome, guarded\n"
        "sys.stdin.readline(); sys.exit(guarded(lambda: Outcome(text='x' * 10**6)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_the_nearest_word():
    assert nearest("qurey", ["query", "docs"]) == ", did you mean 'query'?"
    assert nearest("zzz", ["query", "docs"]) == ""


def test_an_input_error_keeps_its_parts():
    error = InputError(Path("f"), "bad", "Mend it", 3)
    assert (error.path, error.problem, error.fix, error.line) == ("f", "bad", "Mend it", 3)
    assert isinstance(error, ValueError)
