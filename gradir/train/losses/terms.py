"""The `losses:` of a configuration: names and options checked, all problems told at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from gradir.errors import GradirError, nearest
from gradir.train.losses import LOSSES, LossKind, Scope

_GIVEN_BY_US = ("scores", "target", "mask", "relevant")
_POSITIVE = ("weight", "positive_grade", "k", "sigma", "mu", "margin")


@dataclass(frozen=True)
class LearntTemperature:
    """A temperature that is trained: where it starts, and between what it stays."""

    start: float = 0.05
    least: float = 0.001
    most: float = 100.0


@dataclass(frozen=True)
class Term:
    """One summand of the objective.

    Attributes:
        name: Of the loss, a key of `LOSSES`.
        label: What it is called in the log: the name, and a number where the loss stands there twice.
        kind: The loss.
        weight: Factor in the sum.
        scope: The query's own documents, or those of the batch.
        positive_grade: Documents graded so or higher are positives.
        in_batch_label: The grade that documents of other queries get (`mask`: they take no part); scope batch alone.
        learnt: The temperature, where it is trained.
        options: Further arguments of the function.
    """

    name: str
    label: str
    kind: LossKind
    weight: float = 1.0
    scope: Scope = "own"
    positive_grade: float = 1
    in_batch_label: float | Literal["mask"] = 0.0
    learnt: LearntTemperature | None = None
    options: dict[str, Any] = field(default_factory=dict)


def terms_of(entries: Sequence[Any], positive_grade: float = 1, where: str = "losses") -> list[Term]:
    """The summands that a configuration names.

    Args:
        entries: Names of losses, or mappings with `name`, `weight`, `scope` and options of the loss.
        positive_grade: For losses that take one and whose entry gives none.
        where: What the entries are called in messages.

    Raises:
        GradirError: With all that is wrong: unknown names and options (with the nearest known), bad values, nothing at all.
    """
    problems: list[str] = []
    terms: list[Term] = []
    for place, entry in enumerate(entries):
        given = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            problems.append(f"{where}[{place}]: {entry!r} is neither a name nor a mapping with a name")
        elif given["name"] not in LOSSES:
            problems.append(f"{where}[{place}]: no loss '{given['name']}'{nearest(given['name'], LOSSES)}")
        else:
            problems += [f"{where}[{place}] ({given['name']}): {problem}" for problem in _problems(given)]
            terms.append(_term(dict(given), positive_grade, [term.name for term in terms]))
    if not entries:
        problems.append(f"{where}: none is given; there are {', '.join(LOSSES)}")
    if problems:
        raise GradirError("cannot train with these losses: " + "; ".join(problems))
    return terms


def _term(given: dict[str, Any], positive_grade: float, before: list[str]) -> Term:
    name = given.pop("name")
    kind = LOSSES[name]
    same = before.count(name)
    label = f"{name}-{same + 1}" if same else name
    common: dict[str, Any] = {key: given.pop(key) for key in ("weight", "scope", "in_batch_label") if key in given}
    learnt = None
    if given.get("temperature") == "learn":
        del given["temperature"]
        ends = {"temperature_start": "start", "temperature_min": "least", "temperature_max": "most"}
        learnt = LearntTemperature(**{ends[key]: given.pop(key) for key in ends if key in given})
    common["positive_grade"] = given.pop("positive_grade", positive_grade)
    if "positive_grade" in inspect.signature(kind.function).parameters:
        given["positive_grade"] = common["positive_grade"]
    return Term(name, label, kind, **{"scope": kind.scope, **common}, learnt=learnt, options=given)


def _types(kind: LossKind) -> dict[str, Any]:
    """The options of a loss and their types."""
    parameters = inspect.signature(kind.function).parameters
    hints = get_type_hints(kind.function)
    types = {key: hints[key] for key in parameters if key not in _GIVEN_BY_US}
    return types | {"positive_grade": float} if "relevant" in parameters else types


def _problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with one entry, whose loss is known."""
    kind = LOSSES[given["name"]]
    types = {"name": str, "weight": float, "scope": Scope, **_types(kind)}
    scope = given.get("scope", kind.scope)
    if scope == "batch" and kind.target == "grades":
        types["in_batch_label"] = float | Literal["mask"]
    learning = given.get("temperature") == "learn"
    if learning:
        types |= {"temperature_start": float, "temperature_min": float, "temperature_max": float}
    found = [f"no option '{key}'{nearest(key, types)}" for key in given if key not in types]
    if learning and not kind.learns_temperature:
        found.append("its temperature cannot be learnt: give a number")
    if kind.learns_temperature:
        types["temperature"] = float | Literal["learn"]
    for key, value in given.items():
        if key in types and not (learning and key == "temperature"):
            found += _wrong(key, value, types[key])
    if given.get("symmetric") and scope == "own":
        found.append("symmetric needs `scope: batch`, in which the columns are the same documents for every query")
    if learning and not found:
        ends = LearntTemperature()
        least, most = given.get("temperature_min", ends.least), given.get("temperature_max", ends.most)
        if not least <= given.get("temperature_start", ends.start) <= most:
            found.append("temperature_start must lie between temperature_min and temperature_max")
    return found


def _wrong(key: str, value: Any, hint: Any) -> list[str]:
    """The problem with an option's value, if any."""
    choices = [choice for choice in _leaves(hint) if choice is not Tensor]
    words = [choice for choice in choices if isinstance(choice, str)]
    kind = type(value)
    if kind in (int, float) and float in choices:
        fine = math.isfinite(value)
    else:
        fine = any(choice is kind or (type(choice) is kind and choice == value) for choice in choices)
    if not fine:
        return [f"{key} is not {value!r}{nearest(str(value), words)}; it is {_described(choices)}"]
    positive = key in _POSITIVE or "temperature" in key
    return [f"{key} must be above 0, not {value}"] if positive and kind in (int, float) and value <= 0 else []


def _leaves(hint: Any) -> list[Any]:
    """The types and literal words that a hint allows."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return [leaf for part in get_args(hint) for leaf in _leaves(part)]
    return list(get_args(hint)) if origin is Literal else [hint]


def _described(choices: list[Any]) -> str:
    named = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    choices = [choice for choice in choices if choice is not int or float not in choices]
    return " or ".join(
        named.get(choice, str(choice)) if isinstance(choice, type) else repr(choice) for choice in choices
    )
