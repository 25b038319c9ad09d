"""Options of an engine: KEY=VALUE from the command line, read into a dataclass."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from gradir.errors import GradirError, nearest

Settings = TypeVar("Settings")
PRICES = ("price_in", "price_out")  # known to every engine, read by those who count

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_options(kind: type[Settings], engine: str, options: Mapping[str, str]) -> Settings:
    """A dataclass filled from text, each value read as its field's type says; prices are left out.

    Raises:
        GradirError: Names all unknown keys, each with the nearest known one, and all values that cannot be read.
    """
    hints, values, problems = typing.get_type_hints(kind), {}, []
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key, text in options.items():
        if key in PRICES:
            continue
        if key not in known:
            problems.append(f"unknown option '{key}'{nearest(key, [*known, *PRICES])}")
            continue
        try:
            values[key] = _value(text, hints[key])
        except (KeyError, ValueError):
            problems.append(f"{key}={text} is not {_named(hints[key])}")
    if problems:
        listed = "; ".join(problems)
        raise GradirError(f"--llm-option for {engine}: {listed}. Known are {', '.join([*known, *PRICES])}.")
    return kind(**values)


def _value(text: str, hint: Any) -> Any:
    plain = _plain(hint)
    return _WORDS[text.lower()] if plain is bool else plain(text)


def _plain(hint: Any) -> Any:
    """The type of `X | None` without None."""
    return next((one for one in typing.get_args(hint) if one is not type(None)), hint)


def _named(hint: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false"}[_plain(hint)]
