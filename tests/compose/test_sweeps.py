"""Sweeps: which jobs there are, in which order, what they are called, and what the command line changes."""

from __future__ import annotations

import string
from pathlib import Path

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


def test_the_folder_is_the_recipes_whatever_is_swept_so_that_a_longer_sweep_goes_on_there(here) -> None:
    short, long = (
        here.compose(*words, multirun=True) for words in (["seed=1,2"], ["seed=1,2,3", "scheduler=euler,lms"])
    )
    assert short.folder == long.folder == Path("outputs/shapes/sweep")
    assert here.compose("seed=1,2", "output.sweep=mine", multirun=True).folder == Path("outputs/shapes/mine")


# ---- side by side, left out, repeated --------------------------------------------------------------------------------


def test_zipped_values_go_side_by_side(here) -> None:
    here.put(
        "recipes/recipe/mine.yaml",
        "sweep: {seed: [1, 2], zip: {steps: [5, 10], scheduler: [euler, heun]}}\n",
    )
    assert jobs(here.compose("recipe=mine")) == [
        {"seed": seed, "steps": steps, "scheduler": scheduler}
        for seed in (1, 2)
        for steps, scheduler in ((5, "euler"), (10, "heun"))
    ]


def test_excluded_combinations_are_not_run(here) -> None:
    here.put(
        "recipes/recipe/mine.yaml",
        "sweep:\n  scheduler: [euler, lms]\n  schedule: [karras, ays_sd15]\n  steps: [5, 10]\n"
        "  exclude:\n    - {scheduler: lms, schedule: ays_sd15}\n    - {steps: [5, 7], scheduler: euler}\n",
    )
    assert [tuple(job.values()) for job in jobs(here.compose("recipe=mine"))] == [
        ("euler", "karras", 10),
        ("euler", "ays_sd15", 10),
        ("lms", "karras", 5),
        ("lms", "karras", 10),
    ]


def test_a_repeated_job_takes_the_seeds_that_follow(here) -> None:
    here.put("recipes/recipe/mine.yaml", "num_images: 3\nsweep: {steps: [5, 10], repeat: 2}\n")
    composition = here.compose("recipe=mine", "seed=100")
    assert [(job.recipe.steps, job.recipe.seed) for job in composition.jobs] == [
        (5, 100),
        (5, 103),
        (10, 100),
        (10, 103),
    ]
    assert composition.axes == {"steps": [5, 10], "repeat": [1, 2]}
    again = load_file(here.put("again.yaml", to_yaml(composition.base)))
    assert [job.recipe for job in again.jobs] == [job.recipe for job in composition.jobs]


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ("{zip: {steps: [1, 2], seed: [1]}}", "lists of equal length (steps: 2, seed: 1)"),
        ("{zip: {steps: 3}}", "lists of equal length (steps: no list)"),
        ("{zip: [steps]}", "keys with lists of values side by side"),
        ("{zip: {stepz: [1, 2]}}", "there is no key 'stepz' to sweep over. Did you mean 'steps'?"),
        ("{zip: {scheduler: [eulr, lms]}}", "there is no scheduler 'eulr'. Did you mean 'euler'?"),
        ("{steps: [1, 2], exclude: {steps: 1}}", "exclude is a list of combinations"),
        ("{steps: [1, 2], exclude: [{seed: 1}]}", "'seed' is not swept, so nothing can be left out by it"),
        ("{steps: [1, 2], exclude: [{steps: [1, 2]}]}", "this leaves out every job"),
        ("{steps: [1, 2], repeat: 0}", "a whole number from 1 to 10000"),
        ("{steps: 3}", "a sweep needs a list of values"),
        ("{recipe: [shapes]}", "a recipe cannot sweep over recipes"),
    ],
)
def test_mistakes_in_a_sweep_node(here, node, told) -> None:
    here.put("recipes/recipe/mine.yaml", f"sweep: {node}\n")
    message = here.error("recipe=mine")
    assert told in message and "recipes/recipe/mine.yaml:1 sweep" in message


def test_a_key_of_a_zip_is_not_set_alone(here) -> None:
    here.put("recipes/recipe/mine.yaml", "sweep: {zip: {steps: [1, 2], seed: [1, 2]}}\n")
    assert "'steps' goes side by side with others here" in here.error("recipe=mine", "steps=3")


@pytest.mark.parametrize(
    "value", ["x" * 500, "../../etc", "a/b\\c:d", "", "é猫", "...", "-", "\n", ["a"] * 300, None, True]
)
def test_a_jobs_label_is_one_safe_part_of_a_name_whatever_the_value(value) -> None:
    slug = sweep.label({"prompt": value})
    assert 0 < len(slug) <= sweep.SLUG_LENGTH
    assert set(slug) <= {*string.ascii_letters, *string.digits, *"._-"}


def test_long_values_that_differ_at_the_end_get_different_labels() -> None:
    one, two = (sweep.label({"prompt": "x" * 200 + end}) for end in "ab")
    assert one != two
