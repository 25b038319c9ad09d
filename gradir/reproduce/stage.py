"""`gradir reproduce`: the steps of a recipe one after another, then its scores beside the expected ones."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradir.command import Outcome
from gradir.data.atomic import new_text
from gradir.errors import GradirError, nearest
from gradir.reproduce import needs
from gradir.reproduce.commands import Call, prepare
from gradir.reproduce.finding import default_output, find_recipe, recipes
from gradir.reproduce.lines import write_yaml
from gradir.reproduce.recipe import Recipe, read_recipe
from gradir.reproduce.variables import Variables, parse_settings


def run(
    recipe: str,
    output: Path | None = None,
    set: list[str] | None = None,
    until: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Run a recipe: every step in order, then a table of the expected scores and the measured ones.

    Each step is a gradir command, shown as it is typed by hand. What is finished is not done again, and an interrupted recipe
    goes on where it stopped. OK is a score within its tolerance, OKish within twice that; FAIL makes the exit code 1. On
    another collection the verdict is "collection differs", which is no failure.

    gradir reproduce --list shows the recipes and what they need.

    Args:
        recipe: Its name, or the path of a YAML file.
        output: Folder for what it makes (default: encode/NAME, index/NAME or runs/NAME).
        set: Its variables in place of the defaults: KEY=VALUE, several.
        until: The last step to run.
        dry_run: Run nothing; print the commands as a shell script.
        force: Run although the machine lacks what the recipe needs.
        overwrite: Start afresh with what is to be made inside the output; what it uses from elsewhere stays.
    """
    found = read_recipe(find_recipe(recipe))
    here = output or default_output(found.path)
    given = parse_settings(set or [], found.variables)
    plan = make_plan(found, given, here, until)
    if dry_run:
        return Outcome(text=script(plan))
    lacking = [] if force else needs.unmet(found.needs, plan.variables, here)
    if lacking:
        raise GradirError("\n  ".join([f"recipe {found.name} needs (--force runs it all the same):", *lacking]))
    started, seconds = time.perf_counter(), {}
    for number, call in enumerate(plan.calls, start=1):
        sys.stderr.write(f"\n[{number}/{len(plan.calls)}] {call.name}\n$ {call.shown()}\n")
        seconds[call.name] = _perform(call, here, overwrite)
        sys.stderr.write(f"{call.name}: {seconds[call.name]:.1f} s\n")
    done = f"recipe {found.name}: {len(plan.calls)} steps, {time.perf_counter() - started:.0f} s"
    if until:
        return Outcome(here, done, shlex.join(["gradir", "reproduce", recipe]))
    return _conclude(plan, given, seconds, done)


def list_recipes() -> Outcome:
    """Show the recipes: name, what the machine must have, what it is about."""
    paths = recipes()
    if not paths:
        raise GradirError("this gradir has no recipes. Give the path of one: gradir reproduce FILE.yaml")
    read = [read_recipe(path) for path in paths]
    width = max(len(one.name) for one in read)
    lines = [f"{one.name.ljust(width)}  {one.about}\n{' ' * width}  needs: {needs.describe(one.needs)}" for one in read]
    return Outcome(text="\n".join(lines), next_command="gradir reproduce NAME --dry-run")


@dataclass(frozen=True)
class Plan:
    """A recipe with everything filled in and checked.

    Attributes:
        recipe: As written.
        variables: With the user's settings.
        here: The folder.
        calls: Steps to run.
        expect: Expectations.
    """

    recipe: Recipe
    variables: Variables
    here: Path
    calls: list[Call]
    expect: list[dict[str, Any]]


def make_plan(recipe: Recipe, given: dict[str, Any], here: Path, until: str | None = None) -> Plan:
    """Fill in the variables and check every step before the first one runs.

    Raises:
        GradirError: All that is wrong.
    """
    variables, problems = Variables(recipe.variables, given, here), []
    calls, expect = [], []
    for step in recipe.steps:
        try:
            call, wrong = prepare(step.name, step.command, variables.fill(step.values), here)
        except GradirError as error:
            problems.append(f"{step.where}: step '{step.name}': {error}")
            continue
        calls.append(call)
        problems += [f"{step.where}: step '{step.name}': {one}" for one in wrong]
    for written in recipe.expect:
        try:
            expect.append(variables.fill(written))
        except GradirError as error:
            problems.append(f"{recipe.path}: expect: {error}")
    names = [step.name for step in recipe.steps]
    if until is not None and until not in names:
        problems.append(f"--until: no step '{until}'{nearest(until, names) or '.'} The steps: {', '.join(names)}")
    if problems:
        raise GradirError("\n  ".join([f"recipe {recipe.name} cannot run:", *problems]))
    return Plan(recipe, variables, here, calls[: names.index(until) + 1] if until else calls, expect)


def script(plan: Plan) -> str:
    """The steps as a shell script, with the files that stand written out in the recipe."""
    lines = [f"# {plan.recipe.name}: {plan.recipe.about}", "set -e"]
    for call in plan.calls:
        lines += ["", f"# {call.name}"]
        for path, value in call.files.items():
            quoted = shlex.quote(str(path))
            lines += [f"mkdir -p {shlex.quote(str(path.parent))}", f"cat > {quoted} <<'YAML'"]
            lines += [write_yaml(value).rstrip("\n"), "YAML"]
        lines.append(call.shown())
    return "\n".join(lines)


def _perform(call: Call, here: Path, overwrite: bool) -> float:
    """Run one step; returns its seconds: those it took when it was done, where that was earlier."""
    for path, value in call.files.items():
        with new_text(path) as stream:
            stream.write(write_yaml(value))
    output = call.arguments.get("output")
    if overwrite and output is not None and here.resolve() in Path(output).resolve().parents:
        call.arguments["overwrite"] = True
    started = time.perf_counter()
    try:
        outcome = call.run()
    except GradirError as error:
        raise GradirError(f"step '{call.name}': {error}\n(the same command goes on from this step)") from error
    for text in (outcome.text, outcome.message):
        sys.stderr.write(f"{text}\n" if text else "")
    if outcome.exit_code:
        raise GradirError(f"step '{call.name}' failed, see above (the same command goes on from this step)")
    return _recorded_seconds(output) or round(time.perf_counter() - started, 3)


def _recorded_seconds(output: Any) -> float | None:
    from gradir.data.manifest import manifest_path, read_manifest

    if output is None or not manifest_path(output).exists():
        return None
    seconds = read_manifest(output).get("measured", {}).get("seconds")
    return float(seconds) if seconds is not None else None


def _conclude(plan: Plan, given: dict[str, Any], seconds: dict[str, float], done: str) -> Outcome:
    if not plan.expect:
        return Outcome(plan.here, done)
    from gradir.reproduce.expect import FAIL, check, write_scores

    rows = [check(one) for one in plan.expect]
    table = write_scores(plan.here, plan.recipe.name, given, seconds, rows)
    failed = sum(row.verdict == FAIL for row in rows)
    said = _verdicts([row.verdict for row in rows])
    return Outcome(plan.here, f"{done}; {said}; {plan.here / 'scores.json'}", "", table, exit_code=1 if failed else 0)


def _verdicts(found: Sequence[str]) -> str:
    """`2 OK, 1 FAIL`."""
    said = [one or "without an expected value" for one in found]
    return ", ".join(f"{said.count(one)} {one}" for one in dict.fromkeys(said))
