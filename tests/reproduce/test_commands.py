from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gradir.command import parser_for
from gradir.reproduce.commands import COMMANDS, prepare


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("fuse", {"runs": ["a b", "c"], "output": "o", "rrf-k": 5, "method": "combsum", "weights": None}),
        ("fuse", {"runs": ["a", "b"], "output": "o", "weights": [0.5, 1], "overwrite": True}),
        ("index", {"input": "v", "output": "i", "type": "bm25", "optimize": False}),
        ("export", {"encoder": "my model", "output": "e", "onnx": True}),
        ("encode", {"encoder": "m", "output": "o", "corpus": "c", "max_length": 128, "vector_dtype": "float16"}),
        ("evaluate", {"qrels": "q", "run": "r", "measures": ["nDCG@10", "R@100"]}),
    ],
)
def test_a_call_is_what_the_shown_command_parses_to(command, values):
    """The oracle is the command's own parser, given the words that a user would type."""
    call, problems = prepare("s", command, values, Path("h"))
    assert problems == []
    told = COMMANDS[command]
    words = shlex.split(call.shown())[1 + len(command.split()) :]
    parsed = vars(parser_for(told.load(), "x", told.positional).parse_args(words))
    assert {name: parsed[name] for name in call.arguments} == call.arguments
    defaults = {name: value for name, value in parsed.items() if name not in call.arguments}
    parser = parser_for(told.load(), "x", told.positional)
    assert defaults == {name: parser.get_default(name) for name in defaults}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rnus": ["a"]}, "gradir fuse has no flag 'rnus', did you mean 'runs'?"),
        ({"rrf_k": "many"}, "rrf_k: 'many' is not an integer"),
        ({"rrf_k": 2.5}, "rrf_k: 2.5 is not an integer"),
        ({"alpha": "x"}, "alpha: 'x' is not a number"),
        ({"method": "rff"}, "did you mean 'rrf'?"),
        ({"overwrite": "yes"}, "overwrite: is a switch, 'yes' is not true or false"),
        ({"depth": True}, "depth: takes one value"),
        ({"depth": [1]}, "depth: takes one value"),
        ({"runs": []}, "runs: is an empty list"),
    ],
)
def test_wrong_values_are_told(values, told):
    _, problems = prepare("s", "fuse", {"runs": ["a", "b"], "output": "o"} | values, Path("h"))
    assert any(told in problem for problem in problems), problems


def test_missing_flags_and_unknown_commands_are_told():
    assert prepare("s", "fuse", {"runs": [1]}, Path("h"))[1] == ["gradir fuse needs 'output'"]
    assert prepare("s", "fues", {}, Path("h"))[1] == ["gradir has no command 'fues', did you mean 'fuse'?"]
    problems = prepare("s", "fuse", {"runs": True, "outptu": "o"}, Path("h"))[1]
    assert len(problems) == 3  # a wrong value, an unknown flag, a missing one; `runs` is not missing as well


def test_a_mapping_becomes_a_file():
    call, problems = prepare("tune", "encode", {"encoder": {"a": [1]}, "output": "o"}, Path("h"))
    assert problems == []
    assert call.arguments["encoder"] == "h/tune.yaml"
    assert call.files == {Path("h/tune.yaml"): {"format": 1, "a": [1]}}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_table_is_one_of_gradir(command):
    from gradir.cli import COMMANDS as OF_GRADIR

    assert command.split()[0] in OF_GRADIR
    parser = parser_for(COMMANDS[command].load(), command, COMMANDS[command].positional)
    assert set(COMMANDS[command].positional) <= {action.dest for action in parser._actions}


CONFIG = {"encoder": "e", "steps": 5, "lists": [{"lists": "l.jsonl", "corpus": "c"}]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"stpes": 5}, "unknown key `stpes`, did you mean 'steps'?"),
        ({"losses": ["infonec"]}, "no loss 'infonec', did you mean 'infonce'?"),
        ({"lists": [{"lists": "l.jsonl", "copus": "c"}]}, "copus"),
        ({"matryoshka": [8]}, "`matryoshka` is for dense, not for splade"),
    ],
)
def test_a_training_configuration_in_a_recipe_is_checked_without_its_files(changes, told):
    _, problems = prepare("t", "train splade", {"config": CONFIG | changes, "output": "o"}, Path("h"))
    assert bool(problems) == bool(told)
    assert all(told in problem for problem in problems), problems
