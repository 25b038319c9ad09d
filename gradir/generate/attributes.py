"""Random attributes of what is to be written (length, difficulty, style, persona): drawn for each query, recorded with it.

They keep thousands of answers to the same instruction from sounding alike (SyCL, arXiv 2503.23239). All grades of a query
share one draw, so that no attribute tells the grades apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gradir.data.list_order import salt
from gradir.errors import GradirError, InputError, nearest

Kind = Literal["documents", "queries"]
Value = str | int | float | None
_KEYS = ("format", "attributes")
_OF_ONE = ("say", "values")
_EXPECTED = "Expected attributes: {NAME: {say: 'a sentence with {value}', values: [null, …]}}"


class Attribute(NamedTuple):
    """One list to draw from.

    Attributes:
        name: Under which the drawn value is recorded.
        say: A sentence of the instruction, with the slot `{value}`.
        values: Each as likely as the others; None: the instruction says nothing of it.
    """

    name: str
    say: str
    values: tuple[Value, ...]


def read_attributes(path: str | Path | None = None, kind: Kind = "documents") -> tuple[Attribute, ...]:
    """The attributes of a YAML file; without one, gradir's own.

    Args:
        path: The file.
        kind: What is written: gradir has a list for each.

    Raises:
        InputError: It is no such file: all problems at once.
    """
    import yaml

    own = resources.files("gradir.generate") / f"attributes-{kind}.yaml"
    where = str(path or own.name)
    try:
        value = yaml.safe_load((Path(path) if path else own).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            where, f"cannot be read ({getattr(error, 'strerror', None) or error})", "Check the path"
        ) from None
    except yaml.YAMLError as error:
        raise InputError(where, f"not YAML ({' '.join(str(error).split())})", _EXPECTED) from None
    if not isinstance(value, dict) or not isinstance(value.get("attributes"), dict) or not value["attributes"]:
        raise InputError(where, "holds no attributes", _EXPECTED)
    problems = [f"unknown key `{key}`{nearest(str(key), _KEYS)}" for key in value if key not in _KEYS]
    if value.get("format", 1) != 1:
        problems.append(f"`format` is {value['format']!r}, this gradir reads 1")
    for name, one in value["attributes"].items():
        problems += [f"`{name}`: {problem}" for problem in _problems(one)]
    if problems:
        raise InputError(where, "; ".join(problems), _EXPECTED)
    return tuple(Attribute(str(name), one["say"], tuple(one["values"])) for name, one in value["attributes"].items())


def _problems(one: Any) -> list[str]:
    if not isinstance(one, dict):
        return ["not a mapping with `say` and `values`"]
    problems = [f"unknown key `{key}`{nearest(str(key), _OF_ONE)}" for key in one if key not in _OF_ONE]
    if not isinstance(one.get("say"), str) or "{value}" not in one["say"]:
        problems.append("`say` is not a sentence with {value}")
    values = one.get("values")
    sound = isinstance(values, list) and values and all(isinstance(value, Value) for value in values)
    return problems if sound else [*problems, "`values` is not a list of texts, numbers or null"]


def draw(attributes: Sequence[Attribute], seed: int, qid: str, number: int = 0) -> dict[str, Value]:
    """A value of each attribute. It depends on these arguments and the attribute's name alone, not on what was drawn before.

    Args:
        attributes: What to draw from.
        seed: Of the job.
        qid: Of the query that is written for.
        number: Of several draws for it.
    """
    return {one.name: one.values[salt(seed, qid, number, one.name) % len(one.values)] for one in attributes}


def instruction(attributes: Sequence[Attribute], drawn: Mapping[str, Value]) -> str:
    """The sentences that ask for what was drawn, with a space between them; empty where nothing was."""
    said = ((one.say, drawn[one.name]) for one in attributes)
    return " ".join(say.replace("{value}", str(value)) for say, value in said if value is not None)


def attributes_of(given: str | None, kind: Kind) -> tuple[Attribute, ...]:
    """What `--attributes` asks for: a file, `none`, or gradir's own list for what is written.

    Raises:
        InputError: As `read_attributes`.
        GradirError: Neither a file nor `none`.
    """
    if given == "none":
        return ()
    if given is not None and not Path(given).is_file():
        raise GradirError(f"--attributes {given}: no such file. Give a YAML file, or none")
    return read_attributes(given, kind)
