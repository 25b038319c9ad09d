from __future__ import annotations

import pytest

from gradir.errors import GradirError, InputError
from gradir.reproduce.lines import read_yaml, write_yaml
from gradir.reproduce.recipe import read_recipe
from tests.reproduce.conftest import FUSE


def test_a_recipe_is_read_as_written(write):
    recipe = read_recipe(write("papers: [2504.12345]\nneeds: {disk_gib: 1, data: [left]}\n" + FUSE))
    assert (recipe.name, recipe.about, recipe.papers) == ("small", "a test", ["2504.12345"])
    assert recipe.needs == {"disk_gib": 1, "data": ["left"]}
    assert recipe.variables == {"left": "a.trec", "depth": 3}
    assert [(step.name, step.command) for step in recipe.steps] == [("fuse", "fuse"), ("look", "evaluate")]
    assert recipe.steps[0].values["runs"] == ["${left}", "b.trec"]
    assert recipe.steps[0].where.endswith("small.yaml:7")


def test_all_problems_are_named_at_once_with_their_lines(write):
    path = write(
        """needs: {gpu_gb: 8, disk_gib: much, data: [lefd]}
variables: {left: 1}
stepz: []
steps:
  - {name: a, run: fuse, wiht: {}}
  - {run: fuse}
  - {name: a, run: evaluate}
  - {name: ../x, run: evaluate}
  - evaluate
expect:
  - {run: x, qrels: y, mesure: z}
  - {run: x, qrels: y, measure: z, value: high, tolerance: 0.1}
  - {run: x, qrels: y, measure: z, value: 0.5}
  - {run: x, qrels: y, measure: z, value: 0.5, tolerance: 0.1, over: w}
  - {file: x, at: a.p, belov: 0.01}
  - {file: x, below: 0.01}
  - {file: x, at: a, below: 0.01, above: 0}
  - {file: x, at: a, below: [1]}
"""
    )
    with pytest.raises(GradirError) as caught:
        read_recipe(path)
    told = str(caught.value)
    for problem in (
        "small.yaml:1: a recipe has no key 'stepz', did you mean 'steps'?",
        "small.yaml:7: a step has no key 'wiht', did you mean 'with'?",
        "small.yaml:8: a step has no name",
        "small.yaml:9: two steps are called 'a'",
        "small.yaml:10: a step's name is part of file names: '../x' cannot be",
        "step 5 is no mapping",
        "small.yaml:13: an expectation has no key 'mesure', did you mean 'measure'?",
        "small.yaml:13: an expectation has no measure",
        "small.yaml:14: value 'high' is no number",
        "small.yaml:15: an expectation with a value has a tolerance",
        "small.yaml:16: an expectation has either a value, or a run",
        "small.yaml:17: an expectation of a file has no key 'belov', did you mean 'below'?",
        "small.yaml:18: an expectation of a file says `at` which place",
        "small.yaml:19: a number is above or below, not both",
        "small.yaml:20: below [1] is no number and no place",
        "small.yaml:3: needs has no key 'gpu_gb', did you mean 'gpu_gib'?",
        "small.yaml:3: needs: disk_gib 'much' is no number",
        "small.yaml:3: needs: data names no variable of this recipe: 'lefd', did you mean 'left'?",
    ):
        assert problem in told, told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("format: 2\n", "2"),
        ("- a\n", "holds no mapping"),
        ("format: 1\na: {b: 1, b: 2}\n", ":2: not YAML that gradir reads ('b' is given twice)"),
        ("a: [\n", "not YAML"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
    ],
)
def test_files_that_are_no_recipes(write, text, told):
    with pytest.raises(InputError) as caught:
        read_recipe(write(text, head=""))
    assert told in str(caught.value)


def test_a_missing_file_and_a_missing_format(write, files):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read_recipe(files / "none.yaml")
    with pytest.raises(GradirError, match="says no format"):
        read_recipe(write("about: x\nsteps: [{name: a, run: fuse}]", head=""))


def test_a_part_brings_steps_and_defaults_in_its_place(write):
    write(
        "variables: {depth: 9, base: p}\nsteps: [{name: first, run: fuse}]\nexpect: [{run: a, qrels: b, measure: c}]",
        "_p.yaml",
    )
    recipe = read_recipe(
        write(
            """variables: {depth: 1}
steps:
  - {name: zero, run: fuse}
  - {include: _p.yaml}
  - {name: last, run: fuse}
"""
        )
    )
    assert recipe.variables == {"depth": 1, "base": "p"}
    assert [step.name for step in recipe.steps] == ["zero", "first", "last"]
    assert "_p.yaml:4" in recipe.steps[1].where
    assert len(recipe.expect) == 1


def test_parts_are_flat_and_have_fewer_keys(write):
    write("papers: [1]\nsteps: [{include: _p.yaml}]", "_p.yaml")
    with pytest.raises(GradirError) as caught:
        read_recipe(write("steps: [{include: _p.yaml}]"))
    assert "a part includes no part" in str(caught.value)
    assert "a part has no key 'papers'" in str(caught.value)


def test_yaml_is_written_as_it_was_read(write):
    """Anchors and merges are resolved, numbers survive: what a training step gets is what the recipe says."""
    path = write(
        "a: &a {rate: 2.0e-5, whole: true, map: {1: 2}, none: null}\nb: {<<: *a, whole: false}\nc: [*a, 'ü: x', '1e-5']\n"
    )
    read = read_yaml(path)
    assert read["b"] == {"rate": 2e-5, "whole": False, "map": {1: 2}, "none": None}
    again = write(write_yaml(read), head="")
    assert read_yaml(again) == read
    assert "&" not in again.read_text(encoding="utf-8")
