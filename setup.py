"""What pyproject.toml cannot say: the recipes, which stand beside the package in a checkout, are inside it in the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("encode", "index", "runs")
PATTERNS = ("*.yaml", "README.md")  # right inside the folders: below them stands what recipes have made


class BuildWithRecipes(build_py):
    """Builds the package, then copies the recipes into it. A checkout that is installed to be edited has them already."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        recipes = Path(self.build_lib) / "gradir" / "recipes"
        shutil.rmtree(recipes, ignore_errors=True)  # of an earlier build, with recipes that there may be no more
        for folder in FOLDERS:
            target = recipes / folder
            target.mkdir(parents=True)
            for pattern in PATTERNS:
                for path in sorted(Path(folder).glob(pattern)):
                    self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithRecipes})
