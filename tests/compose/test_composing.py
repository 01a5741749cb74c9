"""What the words of a command and the files they name become: the order of things, groups, recipes on recipes."""

from __future__ import annotations

import shutil

import pytest

from runner.registry import PACKAGED, Library
from runner.schema import key_paths

RECIPES = sorted(path.stem for path in (PACKAGED / "recipe").glob("*.yaml"))


def test_the_glob_finds_the_recipes_that_ship() -> None:
    assert {"shapes", "shapes_scheduler_grid", "sd15", "ays_sd15", "ays_sdxl"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_packaged_recipe_composes_under_its_own_name(here, name) -> None:
    composition = here.compose(f"recipe={name}")
    assert composition.recipe_name == name
    assert all(job.recipe.name == name for job in composition.jobs)


@pytest.mark.parametrize("name", RECIPES)
def test_every_packaged_recipe_is_short_and_headed_by_its_command(name) -> None:
    lines = (PACKAGED / "recipe" / f"{name}.yaml").read_text().splitlines()
    assert lines[1] == f"# run recipe={name}"
    assert len(lines) <= 16


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g in ("checkpoint", "scheduler", "schedule", "backend") for o in Library((PACKAGED,)).choices(g)],
)
def test_every_packaged_choice_fits_the_default_recipe_and_says_what_it_is(here, group, option) -> None:
    from runner.compose.documents import document

    here.compose(f"{group}={option}")
    assert document(Library((PACKAGED,)).choices(group)[option], group).summary


def test_every_scheduler_class_can_be_chosen(here) -> None:
    """A class that is dropped into components/schedulers wants a file in recipes/scheduler that names it."""
    from components.schedulers import scheduler_classes

    chosen = {here.recipe(f"scheduler={name}").scheduler.name for name in Library((PACKAGED,)).choices("scheduler")}
    assert chosen == set(scheduler_classes())


def test_nothing_said_is_the_shapes_recipe(here) -> None:
    recipe = here.recipe()
    assert (recipe.name, recipe.checkpoint.repo, recipe.steps) == ("shapes", "demo:shapes", 20)


def test_ays_sdxl_is_the_published_setting(here) -> None:
    recipe = here.recipe("recipe=ays_sdxl")
    assert recipe.checkpoint.repo == "SG161222/RealVisXL_V4.0"
    assert recipe.scheduler.options["algorithm_type"] == "sde-dpmsolver++"
    assert recipe.schedule.timesteps == [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]  # arXiv 2404.14507
    assert recipe.steps is None
    assert recipe.seed == 2487854446


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_the_base(here) -> None:
    here.put("recipes/recipe/mine.yaml", "seed: 5\nguidance_scale: 3.0\n")
    recipe = here.recipe("recipe=mine", "seed=6")
    assert (recipe.seed, recipe.guidance_scale, recipe.num_images) == (6, 3.0, 1)


def test_a_recipe_builds_on_another_and_its_own_values_win(here) -> None:
    here.put("recipes/recipe/mine.yaml", "defaults:\n  - ays_sdxl\nseed: 1\n")
    recipe = here.recipe("recipe=mine")
    assert recipe.seed == 1
    assert recipe.checkpoint.repo == "SG161222/RealVisXL_V4.0"
    assert recipe.name == "mine"


def test_of_two_recipes_built_on_the_later_one_wins(here) -> None:
    here.put("recipes/recipe/a.yaml", "defaults:\n  - override /scheduler: euler\nseed: 1\nsteps: 11\n")
    here.put("recipes/recipe/b.yaml", "defaults:\n  - override /scheduler: lms\nseed: 2\n")
    here.put("recipes/recipe/mine.yaml", "defaults: [a, b]\n")
    recipe = here.recipe("recipe=mine")
    assert (recipe.scheduler.name, recipe.seed, recipe.steps) == ("LMSDiscreteScheduler", 2, 11)


def test_a_users_choice_wins_over_the_packaged_one_of_the_same_name(here) -> None:
    here.put("recipes/scheduler/euler.yaml", "# mine\nname: HeunDiscreteScheduler\n")
    assert here.recipe("scheduler=euler").scheduler.name == "HeunDiscreteScheduler"


def test_a_users_choice_may_build_on_a_packaged_one(here) -> None:
    here.put("recipes/scheduler/mine.yaml", "defaults: [euler]\ntimestep_spacing: trailing\n")
    scheduler = here.recipe("scheduler=mine").scheduler
    assert (scheduler.name, scheduler.options) == ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"})


def test_an_option_that_no_file_lists_can_be_set(here) -> None:
    recipe = here.recipe("scheduler.use_karras_sigmas=true")
    assert recipe.scheduler.options["use_karras_sigmas"] is True


VALUES_UNDER_A_GROUP = """
    defaults:
      - override /scheduler: dpmpp_2m_sde
      - override /checkpoint: sd15
    scheduler:
      solver_type: heun
    checkpoint:
      variant: fp16
    """


def test_values_under_a_group_are_kept_with_the_recipes_own_choice(here) -> None:
    here.put("recipes/recipe/mine.yaml", VALUES_UNDER_A_GROUP)
    for words in ([], ["scheduler=dpmpp_2m_sde"], ["seed=1"]):
        recipe = here.recipe("recipe=mine", *words)
        assert recipe.scheduler.options["solver_type"] == "heun"
        assert recipe.checkpoint.variant == "fp16"


def test_values_under_a_group_go_when_the_command_line_chooses_another(here) -> None:
    here.put("recipes/recipe/mine.yaml", VALUES_UNDER_A_GROUP)
    recipe = here.recipe("recipe=mine", "scheduler=dpmpp_2m")
    assert "solver_type" not in recipe.scheduler.options
    assert recipe.checkpoint.variant == "fp16", "another group's values stay"
    assert here.recipe("recipe=mine", "checkpoint=sd15").checkpoint.variant == "fp16"
    assert here.recipe("recipe=mine", "checkpoint=shapes").checkpoint.variant is None


def test_values_under_a_group_go_when_a_recipe_on_top_chooses_another(here) -> None:
    here.put("recipes/recipe/lower.yaml", VALUES_UNDER_A_GROUP)
    here.put("recipes/recipe/upper.yaml", "defaults:\n  - lower\n  - override /scheduler: dpmpp_2m\n")
    here.put("recipes/recipe/same.yaml", "defaults:\n  - lower\nscheduler: {solver_order: 3}\n")
    assert "solver_type" not in here.recipe("recipe=upper").scheduler.options
    same = here.recipe("recipe=same").scheduler.options
    assert (same["solver_type"], same["solver_order"]) == ("heun", 3)


def test_values_under_a_group_without_a_choice_belong_to_the_choice_in_force(here) -> None:
    here.put("recipes/recipe/mine.yaml", "scheduler:\n  solver_order: 3\n")
    assert here.recipe("recipe=mine").scheduler.options["solver_order"] == 3
    assert here.recipe("recipe=mine", "scheduler=euler").scheduler.options == {}


def test_values_under_a_group_on_the_command_line_are_for_its_choice(here) -> None:
    scheduler = here.recipe("scheduler=ddim", "scheduler.eta=0.5").scheduler
    assert (scheduler.name, scheduler.options) == ("DDIMScheduler", {"eta": 0.5})


@pytest.mark.parametrize(
    "prompt",
    [
        "A cat, sitting (at home) = fun",
        "it's 5",
        "1984",
        "true",
        "null",
        'she said "no"',
        "a, b, c",
        "[masterpiece], a cat",
        "{a} $b \\c ~d +e @f #g %h &i *j !k ?l",
        "  two  spaces  ",
        "",
        "key=value",
        "50% off: 100$",
        "één 猫 🎨",
        "a\nb",
        "(cat:1.3)",
        "???",
    ],
)
def test_a_prompt_is_taken_as_typed(here, prompt) -> None:
    assert here.recipe(f"prompt={prompt}").prompt == prompt
    assert here.compose(f"prompt={prompt}", multirun=True).jobs[0].recipe.prompt == prompt
    if prompt != "null":
        assert here.recipe(f"negative_prompt={prompt}").negative_prompt == prompt


def test_a_negative_prompt_can_be_taken_away(here) -> None:
    assert here.recipe("recipe=ays_sdxl").negative_prompt == ""
    assert here.recipe("recipe=ays_sdxl", "negative_prompt=null").negative_prompt is None


def test_names_and_revisions_are_taken_as_typed(here) -> None:
    recipe = here.recipe("checkpoint=sd15", "checkpoint.revision=1234567", "output.dir=my pictures (new), 2")
    assert recipe.checkpoint.revision == "1234567"
    assert recipe.output.dir == "my pictures (new), 2"


def test_values_follow_the_grammar_of_overrides(here) -> None:
    recipe = here.recipe("schedule.timesteps=[999, 500, 1.5]", "steps=null", "noise={device: device}")
    assert recipe.schedule.timesteps == [999, 500, 1.5]
    assert recipe.steps is None
    assert recipe.noise.device == "device"


def test_a_component_can_come_from_elsewhere(here) -> None:
    vae = here.recipe("checkpoint=sd15", "checkpoint.components.vae.repo=stabilityai/sd-vae-ft-mse").checkpoint
    assert vae.components["vae"].repo == "stabilityai/sd-vae-ft-mse"


def test_a_key_can_refer_to_another(here) -> None:
    here.put("recipes/recipe/mine.yaml", "seed: 7\nprompt: seed ${seed} and ${schedule.timesteps}\nsteps: ${seed}\n")
    assert "leads to no single value" in here.error("recipe=mine")
    here.put("recipes/recipe/mine.yaml", "seed: 7\nprompt: seed ${seed}\nsteps: ${seed}\n")
    recipe = here.recipe("recipe=mine", "seed=9")
    assert (recipe.prompt, recipe.steps) == ("seed 9", 9)


def test_every_field_says_what_it_is_and_whether_it_decides_the_picture() -> None:
    for path, info in key_paths().items():
        assert info.description, path
        assert isinstance(info.json_schema_extra, dict), path
        assert isinstance(info.json_schema_extra["decides_picture"], bool), path


def test_the_repositorys_own_recipes_folder_counts_once(monkeypatch) -> None:
    monkeypatch.chdir(PACKAGED.parent)
    assert Library.at().folders == (PACKAGED,)


def test_an_installed_copy_runs_inside_a_checkout_of_its_own_sources(here) -> None:
    """README's first command: not editable, called where ./recipes is the project's own folder."""
    shutil.copytree(PACKAGED, here.folder / "recipes")
    assert here.recipe("recipe=shapes").name == "shapes"
    here.put("recipes/config.yaml", (PACKAGED / "config.yaml").read_text(encoding="utf-8") + "\n# mine")
    assert "this file would be in charge" in here.error("recipe=shapes")
