from __future__ import annotations

from pathlib import Path

import pytest

from gradir.errors import GradirError
from gradir.reproduce.finding import default_output, find_recipe, recipes


def package(root: Path, recipe_root: Path) -> Path:
    """A made-up installation: the folder of the package, recipes elsewhere."""
    (root / "gradir").mkdir(parents=True)
    for place in ("encode/one.yaml", "encode/_part.yaml", "runs/two.yaml", "encode/one/train.yaml"):
        (recipe_root / place).parent.mkdir(parents=True, exist_ok=True)
        (recipe_root / place).write_text("format: 1\n", encoding="utf-8")
    return root / "gradir"


def test_in_a_checkout_recipes_stand_beside_the_package(tmp_path):
    inside = package(tmp_path, tmp_path)
    assert recipes(inside) == []  # a folder `encode` in site-packages is somebody else's
    (tmp_path / "pyproject.toml").touch()
    assert [path.stem for path in recipes(inside)] == ["one", "two"]
    assert find_recipe("two", inside) == tmp_path / "runs" / "two.yaml"


def test_installed_recipes_stand_inside_the_package(tmp_path):
    inside = package(tmp_path, tmp_path / "gradir" / "recipes")
    assert find_recipe("one", inside) == inside / "recipes" / "encode" / "one.yaml"


def test_a_path_goes_before_names_and_unknown_names_tell_the_nearest(tmp_path, monkeypatch):
    inside = package(tmp_path / "site", tmp_path / "site" / "gradir" / "recipes")
    own = tmp_path / "one.yaml"
    own.write_text("format: 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert find_recipe("one.yaml", inside) == Path("one.yaml")
    with pytest.raises(GradirError, match=r"no recipe 'ome', did you mean 'one'\?"):
        find_recipe("ome", inside)
    with pytest.raises(GradirError, match=r"other\.yaml: no such file"):
        find_recipe("other.yaml", inside)


def test_what_a_recipe_makes_goes_to_its_folder_s_name():
    assert default_output(Path("/x/encode/one.yaml")) == Path("encode/one")
    assert default_output(Path("/x/index/one.yaml")) == Path("index/one")
    assert default_output(Path("/x/mine/one.yaml")) == Path("runs/one")
