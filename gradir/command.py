"""Commands made from functions: the flags of a stage are the arguments of its public function, the help is its docstring.

    def run(corpus: str, output: Path, batch_size: int = 64) -> Outcome:
        '''Count the documents.

        Args:
            corpus: BEIR folder or file.
            output: Where the count goes.
            batch_size: Documents at a time.
        '''

gives `--corpus --output --batch-size`. `bool` becomes a switch, `list[...]` takes several values, `Literal` its choices,
`X | None` an optional value.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.errors import GradirError


@dataclass(frozen=True)
class Outcome:
    """What a stage did.

    Attributes:
        output: The artefact written, if any.
        message: One line for people (stderr).
        next_command: The command to type next (last line of stderr).
        text: The result itself (stdout).
        exit_code: The exit code of the command.
    """

    output: Path | None = None
    message: str = ""
    next_command: str = ""
    text: str = ""
    exit_code: int = 0


def parser_for(function: Callable[..., Any], prog: str, positional: Collection[str] = ()) -> argparse.ArgumentParser:
    """The argument parser of a public function.

    Args:
        function: Fully annotated, with a Google-style docstring.
        prog: The command as the user types it.
        positional: Arguments given without a flag, in the function's order; one that has a default may be left out.
    """
    summary, described = _docstring(function)
    parser = argparse.ArgumentParser(
        prog=prog, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        if name in positional:
            options = _value_options(hints[name], default) | {"metavar": name.upper()}
            options |= {} if required else {"nargs": "?"}
            parser.add_argument(name, help=_help(described.get(name, ""), default, hints[name]), **options)
            continue
        parser.add_argument(
            flag_of(name),
            dest=name,
            required=required,
            default=default,
            help=_help(described.get(name, ""), default, hints[name]),
            **_value_options(hints[name], default),
        )
    return parser


def flag_of(name: str) -> str:
    """The flag of an argument: `batch_size` is `--batch-size`, `set_` (Python's own `set` kept clear of) `--set`."""
    return "--" + name.rstrip("_").replace("_", "-")


class _Collect(argparse.Action):
    """Several values, and a flag that is repeated adds to them rather than taking their place."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, list(values) if before is self.default else [*before, *values])


def execute(
    function: Callable[..., Outcome],
    argv: Sequence[str] | None,
    prog: str,
    aliases: Mapping[str, str] | None = None,
    positional: Collection[str] = (),
) -> int:
    """Parse `argv`, call the function, print its outcome; returns the exit code (1: an error the user can mend).

    Args:
        function: A stage's public function.
        argv: The words after the command; those of this process if None.
        prog: The command as the user types it.
        aliases: Other toolkits' flags, accepted but not shown: `{"--model": "--encoder"}`.
        positional: Arguments given without a flag, in the function's order.
    """
    words = [_unalias(word, aliases or {}) for word in (sys.argv[1:] if argv is None else argv)]
    arguments = vars(parser_for(function, prog, positional).parse_args(words))
    return guarded(lambda: function(**arguments))


def _unalias(word: str, aliases: Mapping[str, str]) -> str:
    flag, equals, value = word.partition("=")
    return aliases.get(flag, flag) + equals + value


def guarded(action: Callable[[], Outcome]) -> int:
    """Run `action` and print its outcome, or its error without a traceback. `GRADIR_TRACEBACK=1` shows the traceback."""
    try:
        outcome = action()
        if outcome.text:
            print(outcome.text)
            sys.stdout.flush()
    except GradirError as error:
        if os.environ.get("GRADIR_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`gradir … | head`): not an error, but nothing more can be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if outcome.message:
        print(outcome.message, file=sys.stderr)
    if outcome.next_command:
        print(f"next: {outcome.next_command}", file=sys.stderr)
    return outcome.exit_code


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The text before `Args:`, and the description of each argument."""
    text = inspect.getdoc(function) or ""
    summary, _, rest = text.partition("\nArgs:\n")
    arguments = re.split(r"\n\n(?=\S)", rest)[0]  # the section ends at the next heading
    described = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", arguments, flags=re.MULTILINE)
    return summary.strip(), {name: " ".join(words.split()) for name, words in described}


def _help(description: str, default: Any, hint: Any) -> str:
    shown = default is not None and default != [] and hint is not bool
    return description.replace("%", "%%") + (f" (default: {default})" if shown else "")


def _value_options(hint: Any, default: Any) -> dict[str, Any]:
    """argparse options for a value of type `hint`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction if default else "store_true"}
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) is list:
        return _value_options(typing.get_args(hint)[0], None) | {"nargs": "+", "action": _Collect}
    return {"type": hint, "metavar": {int: "N", float: "X", Path: "PATH"}.get(hint, "TEXT")}


def command_line(prog: str, arguments: Mapping[str, Any]) -> str:
    """The command that calls a stage with these arguments: what `parser_for` reads, written. None and False are left out."""
    words = prog.split()
    for name, value in arguments.items():
        if value is None or value is False:
            continue
        words.append(flag_of(name))
        if value is not True:
            words += [str(one) for one in (value if isinstance(value, list) else [value])]
    return shlex.join(words)
