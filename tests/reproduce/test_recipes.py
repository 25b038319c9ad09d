"""The recipes that come with gradir: each can be planned, so that every command, flag, variable and training key in it exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradir.reproduce.finding import find_recipe, recipe_folders, recipes
from gradir.reproduce.lines import read_yaml
from gradir.reproduce.recipe import read_recipe
from gradir.reproduce.stage import make_plan

WANTED = [
    "sycl-wasserstein",
    "sycl-infonce",
    "sycl-real-plus-synthetic",
    "inpars-monot5",
    "inpars-retriever",
    "splade-max",
    "splade-distil-marginmse",
    "splade-ensembledistil",
    "splade-selfdistil",
    "splade-v3",
    "splade-doc",
    "splade-efficient",
    "splade-graded",
]
ADDED = {"sycl-real-plus-synthetic": {"infonce"}}  # its twin says why
TWINS = {"inpars-monot5": "inpars-reranker-mini"}


@pytest.mark.parametrize("path", recipes(), ids=lambda path: path.stem)
def test_every_recipe_can_be_planned(path, minilm):
    plan = make_plan(read_recipe(path), {}, Path("here"))
    assert plan.calls
    assert plan.expect


@pytest.mark.parametrize("name", WANTED)
def test_every_pipeline_has_a_recipe_and_a_small_twin(name):
    full, small = read_recipe(find_recipe(name)), read_recipe(find_recipe(TWINS.get(name, f"{name}-mini")))
    assert full.needs["gpu_gib"] > 0
    assert full.needs["data"]
    assert "gpu_gib" not in small.needs
    assert "data" not in small.needs  # it runs from its one command
    commands = {step.command for step in full.steps}
    kept = {command for command in commands if command.startswith(("train", "mine scores"))}
    assert kept <= {step.command for step in small.steps}


def test_minis_train_with_the_losses_of_their_models():
    for name in WANTED:
        twin = TWINS.get(name, f"{name}-mini")
        if name != "inpars-monot5":  # `generation` is for T5 alone
            assert _losses(twin) == _losses(name) | ADDED.get(name, set()), name


def _losses(name: str) -> set[str]:
    config = read_recipe(find_recipe(name)).steps
    (step,) = [step for step in config if step.name == "train"]
    return {one if isinstance(one, str) else one["name"] for one in step.values["config"]["losses"]}


def test_steps_that_recipes_share_are_equal(minilm):
    """Two recipes that write the same file outside their folders do so by the same command: the second finds it finished."""
    made: dict[str, str] = {}
    for path in recipes():
        for call in make_plan(read_recipe(path), {}, Path("here")).calls:
            output = str(call.arguments.get("output", ""))
            if output and not output.startswith("here/"):
                shown = f"{call.shown()} {sorted(call.files.items(), key=str)}"
                assert made.setdefault(output, shown) == shown, path


def test_every_part_is_included_somewhere():
    for folder in recipe_folders():
        parts = {path.name for path in folder.glob("_*.yaml")}
        included = {
            step["include"]
            for path in folder.glob("*.yaml")
            for step in read_yaml(path).get("steps", [])
            if "include" in step
        }
        assert parts == {name for name in included if "/" not in name}  # a recipe may take another folder's parts too
