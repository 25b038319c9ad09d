"""A recipe: variables, steps that are gradir commands, and the scores expected of them.

    format: 1
    about: one line
    papers: [arXiv ids]
    needs: {gpu_gib: 16, ram_gib: 32, disk_gib: 40, llm: false, data: [msmarco]}   # data: variables whose files must exist
    variables: {msmarco: data/msmarco, steps: 300}                      # ${msmarco}; --set steps=20 overrides
    steps:
      - {include: _pydocs.yaml}                                         # the steps and variables of a part beside this file
      - {name: train, run: train splade, with: {config: {…}, output: "${here}/model"}}
    expect:
      - {run: "${here}/test.trec", qrels: …, measure: nDCG@10, value: 0.6, tolerance: 0.01, collection_sha: 5bd23a15}
      - {run: "${here}/test.trec", over: "${here}/start.trec", qrels: …, measure: nDCG@10, p: 0.05}
      - {file: "${here}/audit/audit.json", at: monotone.all.p, below: 0.01}   # or above; a number, or another place in the file

A part's name begins with an underscore. Its variables are defaults, its expectations stand before the recipe's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradir.data.jsonl import check_format
from gradir.errors import GradirError, nearest
from gradir.reproduce.lines import Lined, read_yaml

_PART = ("format", "about", "variables", "steps", "expect")
_RECIPE = (*_PART, "papers", "needs")
_STEP = ("name", "run", "with")
_EXPECT = ("run", "qrels", "measure", "value", "tolerance", "min_grade", "collection_sha", "over", "p")
BOUNDS = ("above", "below")
_IN_FILE = ("file", "at", *BOUNDS)
_NUMBERS = ("gpu_gib", "ram_gib", "disk_gib")
_NEEDS = (*_NUMBERS, "llm", "data")


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: Names it for `--until`; unique in a recipe.
        command: Such as `mine negatives`.
        values: Flag, with underscores or dashes: value; may refer to variables.
        where: `file:line`.
    """

    name: str
    command: str
    values: dict[str, Any]
    where: str


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file and its parts say, nothing filled in.

    Attributes:
        path: The file.
        about: One line.
        papers: arXiv ids.
        needs: What the machine must have.
        variables: Defaults.
        steps: In order.
        expect: Expectations as written.
    """

    path: Path
    about: str
    papers: list[str]
    needs: dict[str, Any]
    variables: dict[str, Any]
    steps: list[Step]
    expect: list[Lined]

    @property
    def name(self) -> str:
        """Its file's name, without the ending."""
        return self.path.stem


@dataclass
class _Reading:
    """What has been read so far, and all that is wrong with it."""

    problems: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    expect: list[Lined] = field(default_factory=list)

    def wrong(self, path: Path, line: int, problem: str) -> None:
        self.problems.append(f"{path}:{line}: {problem}")

    def check_keys(self, path: Path, found: Lined, known: tuple[str, ...], what: str) -> None:
        for key in found:
            if key not in known:
                self.wrong(path, found.line, f"{what} has no key '{key}'{nearest(str(key), known)}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe and its parts.

    Raises:
        InputError: A file cannot be read, is no YAML, or of a newer format.
        GradirError: Whatever else is wrong, all at once.
    """
    reading = _Reading()
    value = _read_file(path, _RECIPE, reading)
    own = _of_kind(value, "variables", Lined, path, reading)
    needs = _of_kind(value, "needs", Lined, path, reading)
    papers = _of_kind(value, "papers", list, path, reading)
    _read_steps(path, value, reading, parts=True)
    reading.variables |= own
    _check(path, value, needs, reading)
    if reading.problems:
        raise GradirError("\n  ".join([f"{path} is no recipe that gradir can run:", *reading.problems]))
    return Recipe(
        path,
        str(value.get("about", "")),
        [str(one) for one in papers],
        dict(needs),
        reading.variables,
        reading.steps,
        reading.expect,
    )


def _read_file(path: Path, known: tuple[str, ...], reading: _Reading) -> Lined:
    value = read_yaml(path)
    if "format" not in value:
        reading.wrong(path, 1, "says no format. Add `format: 1`")
    else:
        check_format(path, value)
    reading.check_keys(path, value, known, "a part" if known == _PART else "a recipe")
    return value


def _of_kind(value: Lined, key: str, kind: type, path: Path, reading: _Reading) -> Any:
    found = value.get(key)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        reading.wrong(path, value.line, f"'{key}' is no {'list' if kind is list else 'mapping'}")
        return kind()
    return found


def _read_steps(path: Path, value: Lined, reading: _Reading, parts: bool) -> None:
    """Steps and expectations of a file, those of its parts in their places."""
    for number, one in enumerate(_of_kind(value, "steps", list, path, reading), start=1):
        if not isinstance(one, Lined):
            reading.wrong(path, value.line, f"step {number} is no mapping with name, run and with")
        elif "include" in one:
            reading.check_keys(path, one, ("include",), "an include")
            if not parts:
                reading.wrong(path, one.line, "a part includes no part")
            else:
                _include(path.parent / str(one["include"]), reading)
        else:
            _read_step(path, one, reading)
    for one in _of_kind(value, "expect", list, path, reading):
        if isinstance(one, Lined):
            _check_expectation(path, one, reading)
            reading.expect.append(one)
        else:
            reading.wrong(path, value.line, "an expectation is no mapping with run, qrels and measure, or file and at")


def _include(path: Path, reading: _Reading) -> None:
    part = _read_file(path, _PART, reading)
    reading.variables |= _of_kind(part, "variables", Lined, path, reading)
    _read_steps(path, part, reading, parts=False)


def _read_step(path: Path, one: Lined, reading: _Reading) -> None:
    reading.check_keys(path, one, _STEP, "a step")
    missing = [key for key in ("name", "run") if not one.get(key)]
    if missing:
        reading.wrong(path, one.line, f"a step has no {' and no '.join(missing)}")
        return
    name, values = str(one["name"]), _of_kind(one, "with", Lined, path, reading)
    if "/" in name or name.startswith("."):
        reading.wrong(path, one.line, f"a step's name is part of file names: '{name}' cannot be")
    if any(step.name == name for step in reading.steps):
        reading.wrong(path, one.line, f"two steps are called '{name}'")
    reading.steps.append(Step(name, " ".join(str(one["run"]).split()), values, f"{path}:{one.line}"))


def _check_expectation(path: Path, one: Lined, reading: _Reading) -> None:
    if "file" in one:
        _check_place(path, one, reading)
        return
    reading.check_keys(path, one, _EXPECT, "an expectation")
    missing = [key for key in ("run", "qrels", "measure") if key not in one]
    if missing:
        reading.wrong(path, one.line, f"an expectation has no {' and no '.join(missing)}")
    for key in ("value", "tolerance", "p"):
        if not isinstance(one.get(key, 0.0), int | float | None) or isinstance(one.get(key), bool):
            reading.wrong(path, one.line, f"{key} {one[key]!r} is no number")
    if "over" in one and "value" in one:
        reading.wrong(path, one.line, "an expectation has either a value, or a run that this one is better than (over)")
    if one.get("value") is not None and "tolerance" not in one:
        reading.wrong(path, one.line, "an expectation with a value has a tolerance")


def _check_place(path: Path, one: Lined, reading: _Reading) -> None:
    reading.check_keys(path, one, _IN_FILE, "an expectation of a file")
    if "at" not in one:
        reading.wrong(path, one.line, "an expectation of a file says `at` which place its number stands")
    bounds = [key for key in BOUNDS if key in one]
    if len(bounds) > 1:
        reading.wrong(path, one.line, "a number is above or below, not both")
    for key in bounds:
        if not isinstance(one[key], int | float | str) or isinstance(one[key], bool):
            reading.wrong(path, one.line, f"{key} {one[key]!r} is no number and no place in the file")


def _check(path: Path, value: Lined, needs: Lined, reading: _Reading) -> None:
    """What is checked of the recipe as a whole."""
    reading.check_keys(path, needs, _NEEDS, "needs")
    for key in _NUMBERS:
        if not isinstance(needs.get(key, 0), int | float):
            reading.wrong(path, needs.line, f"needs: {key} {needs[key]!r} is no number")
    for name in _of_kind(needs, "data", list, path, reading):
        if name not in reading.variables:
            known = nearest(str(name), reading.variables)
            reading.wrong(path, needs.line, f"needs: data names no variable of this recipe: '{name}'{known}")
    if not value.get("about"):
        reading.wrong(path, value.line, "a recipe says in one line what it is `about`")
    if not reading.steps:
        reading.wrong(path, value.line, "a recipe has steps")
