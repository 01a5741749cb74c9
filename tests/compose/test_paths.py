"""One rule for the folders that a recipe names: they lead from the file that says them, else from where one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.compose import load_file, to_yaml
from runner.compose.yaml_text import parse

RECIPE = "scheduler: {name: ddim}\ncheckpoint:\n  repo: models/a\n  components: {vae: {repo: ../vae}}\n"


@pytest.fixture
def models(here) -> Path:
    """A recipe beside its models, two folders below the working directory; another vae is there, too."""
    for folder in ("project/recipes/models/a", "project/vae", "vae", "models/b"):
        (here.folder / folder).mkdir(parents=True)
    here.put("project/recipes/mine.yaml", RECIPE)
    return here.folder / "project"


def sources(recipe) -> tuple[str, str | None]:
    return recipe.checkpoint.repo, recipe.checkpoint.components["vae"].repo


def test_a_path_leads_from_the_file_that_says_it(models: Path) -> None:
    recipe = load_file(models / "recipes/mine.yaml").base
    assert sources(recipe) == (str(models / "recipes/models/a"), str(models / "vae"))


def test_from_the_command_line_and_where_nothing_is_beside_the_file_it_leads_from_here(here, models: Path) -> None:
    words = ["checkpoint.repo=models/b", "checkpoint.components.vae.repo=./vae"]
    assert sources(load_file(models / "recipes/mine.yaml", words).base) == ("models/b", "./vae")
    here.put("project/recipes/mine.yaml", RECIPE.replace("models/a", "models/b").replace("../vae", "./vae"))
    assert sources(load_file(models / "recipes/mine.yaml").base) == ("models/b", "./vae")


def test_so_it_does_from_the_file_of_a_checkpoint_and_of_a_recipe_of_ones_own(here) -> None:
    (here.folder / "recipes/checkpoint/weights").mkdir(parents=True)
    here.put("recipes/checkpoint/own.yaml", "repo: ./weights\n")
    here.put("recipes/recipe/mine.yaml", "defaults: [override /checkpoint: own]\n")
    for words in (["checkpoint=own"], ["recipe=mine"]):
        assert here.recipe(*words).checkpoint.repo == str(here.folder / "recipes/checkpoint/weights")


@pytest.mark.parametrize("repo", ["demo:shapes", "org/name"])
def test_other_sources_stay_as_they_are_said(here, repo: str) -> None:
    here.put("deep/mine.yaml", f"scheduler: {{name: ddim}}\ncheckpoint: {{repo: {repo!r}}}\n")
    assert load_file(here.folder / "deep/mine.yaml").base.checkpoint.repo == repo


def test_a_saved_recipe_has_paths_as_they_lead_from_its_folder(here, models: Path) -> None:
    recipe = load_file(models / "recipes/mine.yaml").base
    (here.folder / "outputs/run").mkdir(parents=True)
    file = here.put("outputs/run/recipe.yaml", to_yaml(recipe, folder=here.folder / "outputs/run"))
    saved = parse(file.read_text()).data["checkpoint"]
    assert saved["repo"] == "../../project/recipes/models/a"
    assert saved["components"]["vae"]["repo"] == "../../project/vae"
    assert load_file(file).base == recipe
    (here.folder / "moved").mkdir()
    for name in ("outputs", "project"):
        (here.folder / name).rename(here.folder / "moved" / name)
    moved = load_file(here.folder / "moved/outputs/run/recipe.yaml").base
    assert sources(moved) == (
        str(here.folder / "moved/project/recipes/models/a"),
        str(here.folder / "moved/project/vae"),
    )


def test_a_picture_carries_names_and_no_path_of_the_machine(here, models: Path) -> None:
    recipe = load_file(models / "recipes/mine.yaml", [f"output.dir={here.folder / 'mine'}"]).base
    text = to_yaml(recipe, carried=True)
    saved = parse(text).data
    assert (saved["checkpoint"]["repo"], saved["checkpoint"]["components"]["vae"]["repo"]) == ("a", "vae")
    assert str(here.folder) not in text and saved["output"]["dir"] == "outputs"
    hub = here.recipe("recipe=sd15")
    assert to_yaml(hub, carried=True) == to_yaml(hub, folder=here.folder) == to_yaml(hub)
