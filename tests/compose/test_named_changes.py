"""Changes of a recipe by name, in which groups are chosen as they are in the recipe itself."""

from __future__ import annotations

from typing import Any

import pytest
from extended import Stage, extended  # noqa: F401 - a fixture

from runner.compose import load_file, to_yaml
from runner.compose.yaml_text import parse
from runner.schema import Recipe
from runner.sweep.identity import image_id

pytestmark = pytest.mark.usefixtures("extended")

MINE = """
stages:
  refine: {checkpoint: sdxl, scheduler: euler_karras, steps: 5}
"""


@pytest.fixture
def mine(here) -> None:
    here.put("recipes/recipe/mine.yaml", MINE)


def stage(recipe: Any, name: str = "refine") -> Stage:
    return recipe.stages[name]


def test_a_choice_by_name_stands_for_its_node(here, mine) -> None:
    refine = stage(here.recipe("recipe=mine"))
    assert refine.checkpoint == here.recipe("checkpoint=sdxl").checkpoint
    assert refine.scheduler == here.recipe("scheduler=euler_karras").scheduler
    assert (refine.schedule, refine.steps) == (None, 5)
    assert here.recipe("recipe=mine").scheduler == here.recipe("recipe=shapes").scheduler


def test_names_of_other_tools_choose_too_and_a_schedule_in_one_goes_beside(here, mine) -> None:
    here.put("recipes/recipe/theirs.yaml", "stages: {refine: {scheduler: Euler a Karras}}\n")
    typed = here.recipe("stages.refine.scheduler=Euler a Karras")
    for refine in (stage(here.recipe("recipe=theirs")), stage(typed)):
        assert refine.scheduler == here.recipe("scheduler=euler_a").scheduler
        assert refine.schedule == here.recipe("schedule=karras").schedule


def test_keys_stand_beside_a_name_and_files_that_build_on_it_change_them(here, mine) -> None:
    here.put(
        "recipes/recipe/a.yaml", "stages: {refine: {scheduler: {name: euler, s_churn: 2.0}, schedule: ays_sdxl}}\n"
    )
    here.put("recipes/recipe/b.yaml", "defaults: [a]\nstages: {refine: {scheduler: {s_noise: 1.5}}}\n")
    here.put("recipes/recipe/c.yaml", "defaults: [b]\nstages: {refine: {scheduler: lms, schedule: null}}\n")
    here.put("recipes/recipe/d.yaml", "defaults: [mine]\nstages: {refine: {scheduler: {s_churn: 1.0}}}\n")
    euler = here.recipe("scheduler=euler").scheduler.name
    assert stage(here.recipe("recipe=a")).scheduler.options == {"s_churn": 2.0}
    assert stage(here.recipe("recipe=a")).schedule == here.recipe("schedule=ays_sdxl").schedule
    assert stage(here.recipe("recipe=b")).scheduler.options == {"s_churn": 2.0, "s_noise": 1.5}
    assert stage(here.recipe("recipe=b")).scheduler.name == euler
    assert stage(here.recipe("recipe=c")).scheduler == here.recipe("scheduler=lms").scheduler
    assert stage(here.recipe("recipe=c")).schedule is None
    assert stage(here.recipe("recipe=d")).scheduler.options == {"use_karras_sigmas": True, "s_churn": 1.0}


def test_the_command_line_chooses_and_sets_options_in_any_order(here, mine) -> None:
    words = ("stages.refine.scheduler.s_churn=1.5", "stages.refine.scheduler=euler")
    for order in (words, words[::-1]):
        assert stage(here.recipe("recipe=mine", *order)).scheduler.options == {"s_churn": 1.5}
    kept = stage(here.recipe("recipe=mine", "stages.refine.scheduler.s_churn=1.5")).scheduler.options
    assert kept == {"use_karras_sigmas": True, "s_churn": 1.5}
    assert stage(here.recipe("recipe=mine", "stages.refine.scheduler=null")).scheduler is None
    assert stage(here.recipe("recipe=mine", "stages.refine.prompt=a cat, asleep")).prompt == "a cat, asleep"
    fresh = here.recipe("stages.hires.checkpoint=sd15", "stages.hires.checkpoint.variant=null")
    assert stage(fresh, "hires").checkpoint.variant is None


def test_they_are_axes(here, mine) -> None:
    made = here.compose("recipe=mine", "stages.refine.scheduler=euler,lms", "scheduler=ddim,euler", multirun=True)
    found = [(stage(job.recipe).scheduler.name, job.recipe.scheduler.name, job.label) for job in made.jobs]
    names = {name: here.recipe(f"scheduler={name}").scheduler.name for name in ("euler", "lms", "ddim")}
    assert [one[:2] for one in found] == [(names[a], names[b]) for a in ("euler", "lms") for b in ("ddim", "euler")]
    assert found[0][2] == "refine.scheduler-euler_scheduler-ddim"
    here.put("saved.yaml", to_yaml(made.base))
    assert [job.recipe for job in load_file(here.folder / "saved.yaml").jobs] == [job.recipe for job in made.jobs]
    here.put("recipes/recipe/swept.yaml", "defaults: [mine]\nsweep: {stages.refine.scheduler: [euler, null]}\n")
    assert [bool(stage(job.recipe).scheduler) for job in here.compose("recipe=swept").jobs] == [True, False]


def test_mistakes_have_their_place_and_the_nearest_choice(here, mine) -> None:
    here.put("recipes/recipe/wrong.yaml", "stages:\n  refine:\n    scheduler: eulr\n    checkpoint: sdxk\n")
    said = here.error("recipe=wrong")
    assert "wrong.yaml:3 stages.refine.scheduler: there is no scheduler 'eulr'. Did you mean 'euler'?" in said
    assert "wrong.yaml:4 stages.refine.checkpoint: there is no checkpoint 'sdxk'. Did you mean 'sdxl'?" in said
    said = here.error("recipe=mine", "stages.refine.scheduler=eulr", "stages.refine.shedule=karras")
    assert "stages.refine.scheduler=eulr: there is no scheduler 'eulr'. Did you mean 'euler'?" in said
    assert "there is no key 'stages.refine.shedule'. Did you mean 'stages.refine.schedule'?" in said
    here.put("recipes/recipe/wrong.yaml", "defaults: [mine]\nsweep:\n  stages.refine.scheduler: [euler, eulr]\n")
    assert "there is no scheduler 'eulr'. Did you mean 'euler'?" in here.error("recipe=wrong")


def test_saved_they_are_complete_and_later_keys_in_them_count_only_where_set(here, mine) -> None:
    recipe = here.recipe("recipe=mine")
    saved = parse(to_yaml(recipe)).data["stages"]["refine"]
    assert saved["scheduler"] == {"name": "EulerDiscreteScheduler", "use_karras_sigmas": True}
    assert saved["checkpoint"]["repo"] and "prediction_type" not in saved["checkpoint"]
    file = here.put("saved.yaml", to_yaml(recipe))
    assert load_file(file).base == recipe
    assert stage(load_file(file, ["stages.refine.scheduler=lms"]).base).scheduler.name == "LMSDiscreteScheduler"
    said = image_id(recipe, "x")
    assert said == image_id(here.recipe("recipe=mine", "stages.refine.checkpoint.allow_pickle=true"), "x")
    assert said != image_id(here.recipe("recipe=mine", "stages.refine.scheduler=lms"), "x")
    assert isinstance(recipe, Recipe)
