"""Where recipes are: in the three folders of a checkout, or inside the installed package, or at any path."""

from __future__ import annotations

from pathlib import Path

import gradir
from gradir.errors import GradirError, nearest

FOLDERS = ("encode", "index", "runs")


def recipe_folders(package: Path | None = None) -> list[Path]:
    """The folders with the recipes of this gradir.

    Args:
        package: The folder of the package `gradir`; the imported one if None.
    """
    package = package or Path(gradir.__file__).parent
    checkout = package.parent
    # A folder `runs` beside an installed package is somebody else's
    root = checkout if (checkout / "pyproject.toml").exists() else package / "recipes"
    return [root / name for name in FOLDERS if (root / name).is_dir()]


def recipes(package: Path | None = None) -> list[Path]:
    """All recipes by name; parts, whose names begin with an underscore, are none."""
    return [
        path
        for folder in recipe_folders(package)
        for path in sorted(folder.glob("*.yaml"))
        if not path.name.startswith("_")
    ]


def find_recipe(recipe: str, package: Path | None = None) -> Path:
    """The file of a recipe.

    Args:
        recipe: Its path, or its name.
        package: As for `recipe_folders`.

    Raises:
        GradirError: There is none.
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise GradirError(f"{recipe}: no such file. gradir reproduce --list shows the recipes by name.")
        return path
    named = {one.stem: one for one in recipes(package)}
    if recipe not in named:
        raise GradirError(f"no recipe '{recipe}'{nearest(recipe, named) or '.'} gradir reproduce --list shows them.")
    return named[recipe]


def default_output(path: Path) -> Path:
    """Where what a recipe makes goes, if the user does not say: `encode/NAME` for a recipe of the folder encode."""
    folder = path.resolve().parent.name
    return Path(folder if folder in FOLDERS else "runs") / path.stem
