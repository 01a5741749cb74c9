"""Saved recipes: written whole, read back equal, run by their path, with or without further words."""

from __future__ import annotations

import pytest

from runner.compose import load_file, to_yaml
from runner.compose.yaml_text import YamlError, dump, parse
from runner.registry import PACKAGED, Library
from runner.schema import Recipe

ODD_TEXTS = [
    "yes", "true", "null", "~", "", "1e3", "12:30", "2024-01-01", "0x10", "010", "1_000", "=", "<<", "a: b", "# x",
    " lead", "trail ", "two\nlines", "\ttab", "'q'", '"q"', "é猫🎨", "\x07", "\x85", "\u2028", "a\r\nb", "-", "- a",
    "?", ".5", ".inf", "+1", "&a", "*a", "!t", "%x", "@x", "`x`", "{a}", "[a]", "a,b", "\ufeffx", "null ", "\n", "\x7f",
    "$5", "x" * 300 + "  " + "y" * 50,
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(Library((PACKAGED,)).choices("recipe")))
def test_a_saved_recipe_reads_back_equal(here, name) -> None:
    base = here.compose(f"recipe={name}").base
    file = here.put("saved.yaml", to_yaml(base))
    assert load_file(file).base == base
    assert to_yaml(load_file(file).base) == to_yaml(base)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_survive(here, text) -> None:
    base = here.recipe().model_copy(update={"prompt": text, "negative_prompt": text})
    file = here.folder / "saved.yaml"
    file.write_text(to_yaml(base), encoding="utf-8", newline="")
    assert load_file(file).base == base


@pytest.mark.parametrize("number", [0.1, 1e-20, 1e300, 5.0, 123456789.123456789, 0.1 + 0.2])
def test_numbers_survive_to_the_last_bit(number) -> None:
    assert parse(dump({"a": number, "b": [number]})).data == {"a": number, "b": [number]}


def test_what_was_left_open_stays_open_and_the_format_comes_first(here) -> None:
    text = to_yaml(here.recipe())
    assert text.startswith("format: 1\nname: shapes\n")
    assert "device: auto" in text
    assert "\nsweep:" not in text


def test_a_saved_recipe_runs_where_there_are_no_recipes_and_takes_words(here) -> None:
    here.put("saved.yaml", to_yaml(here.recipe("recipe=ays_sdxl")))
    code, out, err = here.run("saved.yaml", "--cfg", "job", "seed=7", "prompt=a cat, asleep")
    assert (code, err) == (0, "")
    recipe = Recipe.model_validate(parse(out).data)
    assert (recipe.seed, recipe.prompt) == (7, "a cat, asleep")
    assert recipe.name == "ays_sdxl"
    assert recipe.schedule.timesteps == [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]


def test_a_choice_replaces_the_whole_node_of_a_saved_recipe(here) -> None:
    saved = here.recipe("recipe=ays_sdxl", "scheduler.solver_type=heun", "schedule.final_sigma=zero")
    file = here.put("saved.yaml", to_yaml(saved))
    changed = load_file(file, ["scheduler=euler_karras", "schedule=default"]).base
    assert changed.scheduler.name == "EulerDiscreteScheduler"
    assert changed.scheduler.options == {"use_karras_sigmas": True}
    assert (changed.schedule.timesteps, changed.schedule.final_sigma) == (None, None)
    assert changed.checkpoint == saved.checkpoint
    same = load_file(file, ["scheduler=dpmpp_2m_sde"]).base
    assert "solver_type" not in same.scheduler.options


def test_a_saved_recipe_can_be_swept(here) -> None:
    file = here.put("saved.yaml", to_yaml(here.recipe()))
    composition = load_file(file, ["scheduler=euler,lms", "seed=1,2"], multirun=True)
    assert [job.recipe.scheduler.name for job in composition.jobs][1:3] == [
        "EulerDiscreteScheduler",
        "LMSDiscreteScheduler",
    ]


def test_a_recipe_with_a_saved_one_is_refused(here) -> None:
    here.put("saved.yaml", to_yaml(here.recipe()))
    code, _, err = here.run("saved.yaml", "recipe=sd15")
    assert code == 2
    assert "command line: recipe=sd15: a recipe given as a file is the recipe" in err


def test_mistakes_in_a_saved_recipe_have_their_line(here) -> None:
    text = to_yaml(here.recipe()).replace("steps: 20", "stepz: 20").replace("device: auto", "device: gpu")
    here.put("saved.yaml", text)
    code, _, err = here.run("saved.yaml")
    assert code == 2
    assert "saved.yaml:8 stepz: there is no key 'stepz'. Did you mean 'steps'?" in err
    assert "backend.device: 'gpu' is not possible here" in err


def test_a_file_with_defaults_builds_on_recipes(here) -> None:
    here.put("mine.yaml", "defaults:\n  - ays_sdxl\n  - override /scheduler: euler\nseed: 3\n")
    recipe = load_file(here.folder / "mine.yaml").base
    assert (recipe.name, recipe.seed, recipe.scheduler.name) == ("mine", 3, "EulerDiscreteScheduler")
    assert recipe.checkpoint.variant == "fp16"


def test_values_under_a_group_go_with_the_choice_in_a_file_too(here) -> None:
    here.put("mine.yaml", "defaults:\n  - override /scheduler: dpmpp_2m\nscheduler: {solver_order: 3}\n")
    assert load_file(here.folder / "mine.yaml").base.scheduler.options["solver_order"] == 3
    assert load_file(here.folder / "mine.yaml", ["scheduler=euler"]).base.scheduler.options == {}


def test_a_file_of_the_same_name_as_a_recipe_may_build_on_it(here) -> None:
    here.put("sd15.yaml", "defaults: [sd15]\nseed: 3\n")
    assert load_file(here.folder / "sd15.yaml").base.seed == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: &x 1", 1), ("a: 1\nb: !t 2", 2), ("a: 1\na: 2", 2), ("1: 2", 1), ("a: 1\n---\nb: 2", 2), ("a: \x01", 0)],
)
def test_only_plain_yaml_is_read(text, line) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)
    assert caught.value.line == line


def test_yaml_means_what_it_says() -> None:
    text = "{a: yes, b: 1e-3, c: 12:30, d: 2024-01-01, e: ~, f: true, g: 0x10, h: -5, i: on}"
    assert parse(text).data == {
        "a": "yes", "b": 1e-3, "c": "12:30", "d": "2024-01-01", "e": None, "f": True, "g": "0x10", "h": -5, "i": "on",
    }  # fmt: skip
