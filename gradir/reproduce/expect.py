"""What was expected and what was measured.

A value is OK within its tolerance, OKish within twice that, else FAIL: a score that is too high was not reproduced either.
One that is expected to be better than another run's must be so by a paired two-sided t-test over the queries (Student, 1908).
A number in a JSON file, such as an audit's, is above or below another number, or another place of the same file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradir.data.atomic import new_text
from gradir.data.jsonl import FORMAT
from gradir.data.measures import Scores, evaluate_run
from gradir.data.qrels import read_qrels
from gradir.data.significance import paired_p
from gradir.errors import GradirError, InputError
from gradir.reproduce.recipe import BOUNDS

OK, OKISH, FAIL = "OK", "OKish", "FAIL"
DIFFERS = "collection differs"
SHORTEST_SHA = 8
_EPSILON = 1e-9  # .62 - .60 is a little more than .02 in floating point


@dataclass(frozen=True)
class Checked:
    """One expectation, checked.

    Attributes:
        run: The run, or the JSON file.
        over: The run that it should beat, if any.
        measure: Name of the measure, or the place in the file.
        expected: The value, the highest p or the bound; None to print only.
        tolerance: Of the value.
        measured: The mean, or the difference of the means.
        p: Of the paired test.
        verdict: OK, OKish, FAIL, "collection differs", or empty where nothing is expected.
        bound: Of a number in a file: above or below.
    """

    run: str
    over: str | None
    measure: str
    expected: float | None
    tolerance: float | None
    measured: float
    p: float | None
    verdict: str
    bound: str | None = None


def verdict(measured: float, expected: float, tolerance: float) -> str:
    """OK, OKish or FAIL."""
    off = abs(measured - expected)
    if off <= tolerance + _EPSILON:
        return OK
    return OKISH if off <= 2 * tolerance + _EPSILON else FAIL


def check(expectation: dict[str, Any]) -> Checked:
    """Measure what an expectation is about.

    Args:
        expectation: As the recipe has it, nothing left to fill in.

    Raises:
        GradirError: Its run, qrels or file cannot be read, its measure is none, or its file has no such number.
    """
    if "file" in expectation:
        return _check_number(expectation)
    run, measure, over = str(expectation["run"]), str(expectation["measure"]), expectation.get("over")
    found = _scores(expectation, run)
    mean, tolerance, p = found.means[measure], expectation.get("tolerance"), None
    expected = expectation.get("value") if over is None else expectation.get("p")
    said = ""
    if over is not None:
        base = _scores(expectation, str(over))
        mean -= base.means[measure]
        p = paired_p(
            [row[measure] for row in found.per_query.values()], [row[measure] for row in base.per_query.values()]
        )
        said = "" if expected is None else (OK if mean > 0 and p < expected else FAIL)
    elif expected is not None:
        said = verdict(mean, float(expected), float(tolerance or 0.0))
    if said and _differs(expectation):
        said = DIFFERS
    return Checked(run, over, measure, expected, tolerance, mean, p, said)


def _check_number(expectation: dict[str, Any]) -> Checked:
    path, place = Path(str(expectation["file"])), str(expectation["at"])
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"is no JSON file that can be read ({error})", "Run the step that writes it") from None
    measured = _number_at(path, value, place)
    for bound in BOUNDS:
        if bound in expectation:
            other = expectation[bound]
            limit = _number_at(path, value, other) if isinstance(other, str) else float(other)
            said = OK if (measured > limit if bound == "above" else measured < limit) else FAIL
            return Checked(str(path), None, place, limit, None, measured, None, said, bound)
    return Checked(str(path), None, place, None, None, measured, None, "")


def _number_at(path: Path, value: Any, place: str) -> float:
    """What stands at `a.b.c`."""
    found = value
    for key in place.split("."):
        if not isinstance(found, dict) or key not in found:
            known = f" Here it has {', '.join(map(str, found))}." if isinstance(found, dict) else ""
            raise GradirError(f"{path}: has no '{key}' of '{place}'.{known}")
        found = found[key]
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise GradirError(f"{path}: '{place}' is no number but {json.dumps(found)[:60]}. Name one that is.")
    return float(found)


def _scores(expectation: dict[str, Any], run: str) -> Scores:
    grade = int(expectation.get("min_grade") or 1)
    return evaluate_run(read_qrels(str(expectation["qrels"])), Path(run), [str(expectation["measure"])], grade)


def _differs(expectation: dict[str, Any]) -> bool:
    """Whether the qrels' collection, a BEIR folder, is not the one that the value was measured on."""
    sha = str(expectation.get("collection_sha") or "")
    if not sha:
        return False
    if len(sha) < SHORTEST_SHA:
        raise GradirError(f"collection_sha '{sha}': give at least {SHORTEST_SHA} digits.")
    from gradir.collection.pydocs import collection_hash

    try:
        return not collection_hash(Path(str(expectation["qrels"])).parent.parent).startswith(sha)
    except OSError:  # not of this layout, so certainly not the same
        return True


def format_table(rows: Sequence[Checked]) -> str:
    """The rows for people, aligned."""
    cells = [["run", "measure", "expected", "measured", "verdict"], *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _cells(row: Checked) -> list[str]:
    if row.bound is not None:
        return [row.run, row.measure, f"{row.bound} {row.expected:.4g}", f"{row.measured:.4g}", row.verdict]
    if row.over is None:
        expected = "-" if row.expected is None else f"{row.expected:.4f} ±{row.tolerance or 0:.4f}"
        return [row.run, row.measure, expected, f"{row.measured:.4f}", row.verdict or "-"]
    expected = "-" if row.expected is None else f"better, p < {row.expected:g}"
    return [
        f"{row.run} over {row.over}",
        row.measure,
        expected,
        f"{row.measured:+.4f}, p = {row.p:.2g}",
        row.verdict or "-",
    ]


def write_scores(
    here: Path, recipe: str, given: dict[str, Any], seconds: dict[str, float], rows: Sequence[Checked]
) -> str:
    """Write `scores.json` and `scores.txt`; returns the table.

    Args:
        here: The recipe's folder.
        recipe: Its name.
        given: Variables that the user set.
        seconds: Of each step.
        rows: What was checked.
    """
    table = format_table(rows)
    value = {
        "format": FORMAT,
        "recipe": recipe,
        "set": given,
        "seconds": seconds,
        "scores": [asdict(row) for row in rows],
    }
    with new_text(here / "scores.json") as stream:
        stream.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    with new_text(here / "scores.txt") as stream:
        stream.write(table + "\n")
    return table
