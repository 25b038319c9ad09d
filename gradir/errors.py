"""The errors gradir raises on purpose. Each says what is wrong, where, and what to do; commands print them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class GradirError(Exception):
    """Something the user can mend. The text states what happened and the fix."""


class InputError(GradirError, ValueError):
    """Bad input in a file: `path:line: problem. Fix.`

    Args:
        path: The file (or folder) at fault.
        problem: What is wrong, without the place.
        fix: What to do about it.
        line: The line at fault, counted from 1, where there is one.
    """

    def __init__(self, path: str | Path, problem: str, fix: str = "", line: int | None = None):
        self.path, self.problem, self.fix, self.line = str(path), problem, fix, line
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {problem}" + (f". {fix}" if fix else ""))


class MissingDependency(GradirError, ImportError):
    """An optional package is not installed; the text holds the command that installs it."""

    def __init__(self, package: str, purpose: str, command: str):
        super().__init__(f"{purpose} needs {package}, which is not installed. Install it: {command}")


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known word closest to `word`, or the empty string where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
