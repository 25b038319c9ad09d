"""The commands that a step can be: their functions, the check of their flags, and how they are typed by hand."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from gradir.command import Outcome, flag_of, parser_for
from gradir.data.jsonl import FORMAT
from gradir.errors import GradirError, nearest


class Command(NamedTuple):
    """Where a command's public function stands.

    Attributes:
        module: Imported when a recipe uses the command.
        function: Its name there.
        positional: Arguments that are typed without a flag.
    """

    module: str
    function: str = "run"
    positional: tuple[str, ...] = ()

    def load(self) -> Callable[..., Outcome]:
        """The function."""
        found: Callable[..., Outcome] = getattr(importlib.import_module(self.module), self.function)
        return found


COMMANDS = {
    "collection pydocs": Command("gradir.collection.pydocs", "pydocs"),
    "generate queries": Command("gradir.generate.queries_stage", "queries"),
    "generate documents": Command("gradir.generate.documents_stage", "documents"),
    "generate judgements": Command("gradir.generate.judgements_stage", "judgements"),
    "generate pairs": Command("gradir.generate.pairs_stage", "pairs"),
    "generate filter": Command("gradir.generate.filter_stage", "filter_"),
    "generate audit": Command("gradir.generate.audit_stage", "audit"),
    "mine negatives": Command("gradir.mine.negatives_stage", "negatives"),
    "mine queries": Command("gradir.mine.queries_stage", "queries"),
    "mine scores": Command("gradir.mine.scores_stage", "scores"),
    "mine split": Command("gradir.mine.split_stage", "split"),
    "train dense": Command("gradir.train.stage", "dense", ("config",)),
    "train splade": Command("gradir.train.stage", "splade", ("config",)),
    "train reranker": Command("gradir.train.cross_stage", "reranker", ("config",)),
    "train init-splade": Command("gradir.train.init_splade"),
    "train mlm": Command("gradir.train.mlm"),
    "train writer": Command("gradir.train.writer_stage", "writer"),
    "export": Command("gradir.export.stage", positional=("encoder",)),
    "encode": Command("gradir.encode.stage"),
    "convert": Command("gradir.convert.stage", positional=("foreign",)),
    "index": Command("gradir.index.stage"),
    "search": Command("gradir.search.stage"),
    "fuse": Command("gradir.fuse.stage"),
    "rerank": Command("gradir.rerank.stage"),
    "evaluate": Command("gradir.evaluate.stage"),
    "evaluate parity": Command("gradir.evaluate.parity", positional=("a", "b")),
}

TRAINING = ("train dense", "train splade", "train reranker")


class Call(NamedTuple):
    """A step ready to run.

    Attributes:
        name: The step's.
        command: A key of `COMMANDS`.
        arguments: Of the public function.
        files: What stands written out in the recipe and is passed on as a file: path, YAML value.
    """

    name: str
    command: str
    arguments: dict[str, Any]
    files: dict[Path, Any]

    def words(self) -> list[str]:
        """The command as it is typed."""
        positional = COMMANDS[self.command].positional
        words = ["gradir", *self.command.split()]
        words += [str(self.arguments[name]) for name in positional if name in self.arguments]
        for name, value in self.arguments.items():
            if name not in positional:
                words += _flag(flag_of(name), value)
        return words

    def shown(self) -> str:
        """The same, quoted for a shell."""
        return shlex.join(self.words())

    def run(self) -> Outcome:
        """Call the command's function."""
        return COMMANDS[self.command].load()(**self.arguments)


def prepare(name: str, command: str, values: Mapping[str, Any], here: Path) -> tuple[Call, list[str]]:
    """A step as a call, and all that is wrong with it.

    Args:
        name: The step's.
        command: Its command.
        values: Flag: value, nothing left to fill in. A mapping becomes the file `here/NAME.yaml`, with its format.
        here: The recipe's folder.
    """
    if command not in COMMANDS:
        return Call(name, command, {}, {}), [f"gradir has no command '{command}'{nearest(command, COMMANDS)}"]
    parser = parser_for(COMMANDS[command].load(), f"gradir {command}")
    actions = {action.dest.rstrip("_"): action for action in parser._actions if action.dest != "help"}
    call, problems = Call(name, command, {}, {}), []
    for key, value in values.items():
        flag = str(key).replace("-", "_")
        if flag not in actions:
            problems.append(f"gradir {command} has no flag '{key}'{nearest(flag, actions)}")
        elif value is not None:  # null: what the command takes if not told
            if isinstance(value, dict):
                path = here / f"{name}.yaml"
                call.files[path], value = {"format": FORMAT} | value, str(path)
            try:
                call.arguments[actions[flag].dest] = _convert(actions[flag], value)
            except ValueError as error:
                problems.append(f"{key}: {error}")
    missing = [flag for flag, action in actions.items() if action.required and action.dest not in call.arguments]
    absent = [flag for flag in missing if all(str(key).replace("-", "_") != flag for key in values)]
    problems += [f"gradir {command} needs '{flag}'" for flag in absent]
    if command in TRAINING and not problems:
        problems += training_problems(command, call)
    return call, problems


def training_problems(command: str, call: Call) -> list[str]:
    """What is wrong with a training configuration that is written out in a recipe, as far as can be told without its files."""
    from gradir.data.composition import parse_composition
    from gradir.train.config import What, parse
    from gradir.train.losses.terms import terms_of

    what = cast(What, command.split()[1])
    for values in call.files.values():
        output = {"output": str(call.arguments["output"])} if "output" in call.arguments else {}
        rest = {key: value for key, value in values.items() if key != "format"}
        try:
            config = parse(rest | output, what, "config")
            parse_composition({"seed": config.seed, "lists": config.lists}, "config", files=False)
            terms_of([one for one in config.losses if not _of_t5(one)] or ["infonce"])
        except GradirError as error:
            return [str(error)]
    return []


def _of_t5(loss: Any) -> bool:
    """Whether it is the loss that T5 rerankers alone have, over words and not over scores."""
    return (loss.get("name") if isinstance(loss, dict) else loss) == "generation"


_KINDS: Mapping[Any, str] = {int: "an integer", float: "a number"}


def _convert(action: argparse.Action, value: Any) -> Any:
    """The value as the command's own parser would have it; ValueError with the reason if it does not take it."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"is a switch, {value!r} is not true or false")
        return value
    if action.nargs == "+":
        several = value if isinstance(value, list) else [value]
        if not several:
            raise ValueError("is an empty list; leave it out, or give values")
        return [_one(action, one) for one in several]
    return _one(action, value)


def _one(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, list | dict | bool):
        raise ValueError(f"takes one value that is not true or false, not {value!r}")
    if action.choices is not None:
        if value not in action.choices:
            known = [str(one) for one in action.choices]
            raise ValueError(f"{value!r} is none of {', '.join(known)}{nearest(str(value), known)}")
        return value
    kind: Any = action.type
    try:
        return kind(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not {_KINDS.get(kind, 'of the right kind')}") from None


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [name if value else f"--no-{name[2:]}"]
    return [name, *(str(one) for one in (value if isinstance(value, list) else [value]))]
