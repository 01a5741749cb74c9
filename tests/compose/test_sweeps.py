"""Sweeps: which jobs there are, in which order, what their folders are called, and what the command line changes."""

from __future__ import annotations

import string

import pytest

from runner.compose import load_file, sweep, to_yaml

GRID = """
    defaults: [shapes]
    sweep:
      scheduler: [euler, lms]
      seed: [1, 2]
    """


def jobs(composition) -> list[dict]:
    assert composition.is_sweep
    return [job.overrides for job in composition.jobs]


def test_a_sweep_node_is_the_product_of_its_axes_without_m(here) -> None:
    here.put("recipes/recipe/grid.yaml", GRID)
    composition = here.compose("recipe=grid")
    assert jobs(composition) == [
        {"scheduler": "euler", "seed": 1},
        {"scheduler": "euler", "seed": 2},
        {"scheduler": "lms", "seed": 1},
        {"scheduler": "lms", "seed": 2},
    ]
    assert [job.recipe.scheduler.name for job in composition.jobs[1:3]] == [
        "EulerDiscreteScheduler",
        "LMSDiscreteScheduler",
    ]
    assert [job.recipe.seed for job in composition.jobs] == [1, 2, 1, 2]
    assert all(job.recipe.sweep is None for job in composition.jobs), "a job is one run"
    assert composition.base.sweep == {"scheduler": ["euler", "lms"], "seed": [1, 2]}


def test_m_is_the_short_form(here) -> None:
    here.put("recipes/recipe/grid.yaml", GRID)
    short = here.compose("scheduler=euler,lms", "seed=1,2", multirun=True)
    assert jobs(short) == jobs(here.compose("recipe=grid"))


@pytest.mark.parametrize(
    ("word", "key", "values"),
    [
        ("seed=1,2,3", "seed", [1, 2, 3]),
        ("seed=range(1,4)", "seed", [1, 2, 3]),
        ("seed=choice(3,1)", "seed", [3, 1]),
        ("guidance_scale=1,2.5", "guidance_scale", [1, 2.5]),
        ("steps=null,10", "steps", [None, 10]),
        ("scheduler.use_karras_sigmas=true,false", "scheduler.use_karras_sigmas", [True, False]),
        ("schedule.timesteps=[999,10],[999,500,10]", "schedule.timesteps", [[999, 10], [999, 500, 10]]),
        ("scheduler=euler,lms", "scheduler", ["euler", "lms"]),
        ("scheduler=glob(euler*)", "scheduler", ["euler", "euler_a", "euler_karras"]),
        ("output.format=png,jpg", "output.format", ["png", "jpg"]),
        ('prompt=["a, b","c = d"]', "prompt", ["a, b", "c = d"]),
        ("prompt=['it\\'s', \"5\"]", "prompt", ["it's", "5"]),
    ],
)
def test_values_of_a_sweep(here, word, key, values) -> None:
    assert [job[key] for job in jobs(here.compose(word, multirun=True))] == values


def test_a_comma_in_a_prompt_does_not_split_it(here) -> None:
    composition = here.compose("prompt=a cat, a dog", "seed=1,2", multirun=True)
    assert {job.recipe.prompt for job in composition.jobs} == {"a cat, a dog"}
    assert len(composition.jobs) == 2


def test_m_with_single_values_is_one_run(here) -> None:
    assert not here.compose("seed=1", multirun=True).is_sweep


def test_the_command_line_pins_or_replaces_an_axis_of_the_node(here) -> None:
    here.put("recipes/recipe/grid.yaml", GRID)
    pinned = here.compose("recipe=grid", "seed=7")
    assert jobs(pinned) == [{"scheduler": "euler"}, {"scheduler": "lms"}]
    assert {job.recipe.seed for job in pinned.jobs} == {7}
    replaced = here.compose("recipe=grid", "scheduler=heun", "seed=8,9", multirun=True)
    assert jobs(replaced) == [{"seed": 8}, {"seed": 9}]
    assert {job.recipe.scheduler.name for job in replaced.jobs} == {"HeunDiscreteScheduler"}
    assert not here.compose("recipe=grid", "sweep=null").is_sweep


def test_a_swept_choice_drops_the_values_meant_for_the_recipes_own(here) -> None:
    here.put("recipes/recipe/mine.yaml", "scheduler: {solver_order: 3}\nsweep: {scheduler: [dpmpp_2m, euler]}\n")
    with_order, without = here.compose("recipe=mine").jobs
    assert with_order.recipe.scheduler.options["solver_order"] == 3
    assert without.recipe.scheduler.options == {}


def test_options_and_prompts_can_be_swept_in_a_file(here) -> None:
    here.put(
        "recipes/recipe/mine.yaml",
        "sweep:\n  scheduler.use_karras_sigmas: [true, false]\n  prompt: ['a, b', c]\n  schedule.spacing: [null]\n",
    )
    swept = jobs(here.compose("recipe=mine"))
    assert len(swept) == 4
    assert swept[0] == {"scheduler.use_karras_sigmas": True, "prompt": "a, b", "schedule.spacing": None}


def test_recipes_can_be_swept_on_the_command_line_only(here) -> None:
    composition = here.compose("recipe=sd15,ays_sd15", multirun=True)
    assert [job.recipe.name for job in composition.jobs] == ["sd15", "ays_sd15"]
    assert composition.recipe_name == "sd15+ays_sd15"
    here.put("recipes/recipe/mine.yaml", "sweep: {recipe: [sd15]}\n")
    assert "a recipe cannot sweep over recipes" in here.error("recipe=mine")


def test_mistakes_in_jobs_are_told_once_with_the_word_that_made_them(here) -> None:
    message = here.error("seed=1,2", "steps=10,0", "scheduler=euler,ddim", "scheduler.s_churn=1", multirun=True)
    assert message.startswith("2 problems:")
    assert "command line: steps=10,0: 0 is out of range" in message
    assert "command line: scheduler.s_churn=1: this is not an option of DDIMScheduler" in message


@pytest.mark.parametrize("words", [["scheduler=heun,ddim", "seed=1,2"], ["scheduler=euler", 'prompt=["a, b","c"]']])
def test_a_sweep_saved_makes_the_same_jobs_again(here, words) -> None:
    composition = here.compose(*words, multirun=True)
    again = load_file(here.put("sweep.yaml", to_yaml(composition.base)))
    assert [job.recipe for job in again.jobs] == [job.recipe for job in composition.jobs]
    assert again.folder == composition.folder


def test_the_sweeps_folder_is_stable_and_follows_every_value(here) -> None:
    def folder(*words: str) -> str | None:
        return here.compose(*words, multirun=True).folder

    same = folder("seed=1,2", "scheduler=euler,lms")
    assert same == folder("seed=1,2", "scheduler=euler,lms")
    assert same is not None
    assert same.startswith("seed-x2_scheduler-x2_")
    assert same != folder("seed=1,3", "scheduler=euler,lms")
    assert same != folder("seed=1,2", "scheduler=euler,lms", "prompt=another")


def test_job_folders_say_what_is_special_and_sort_in_order(here) -> None:
    composition = here.compose("scheduler=euler,lms", "guidance_scale=1,2.5,3,4,5,6", multirun=True)
    names = [job.folder for job in composition.jobs]
    assert names[:2] == ["00_scheduler-euler_guidance_scale-1", "01_scheduler-euler_guidance_scale-2.5"]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "value", ["x" * 500, "../../etc", "a/b\\c:d", "", "é猫", "...", "-", "\n", ["a"] * 300, None, True]
)
def test_a_job_folder_is_one_safe_name_whatever_the_value(value) -> None:
    name = sweep.job_folder(3, 12, {"prompt": value})
    number, _, slug = name.partition("_")
    assert number == "03"
    assert 0 < len(slug) <= sweep.SLUG_LENGTH
    assert set(name) <= {*string.ascii_letters, *string.digits, *"._-"}


def test_long_values_that_differ_at_the_end_get_different_folders() -> None:
    one, two = (sweep.job_folder(1, 2, {"prompt": "x" * 200 + end}) for end in "ab")
    assert one != two
