"""Mappings whose names are the user's: typed, merged, swept, taken out and told of like any other key."""

from __future__ import annotations

import pytest
from extended import Charm, Extended, extended  # noqa: F401 - a fixture

from runner.compose import load_file, to_yaml
from runner.compose.yaml_text import parse
from runner.schema import Recipe, find_key, key_paths
from runner.sweep.identity import image_id

pytestmark = pytest.mark.usefixtures("extended")

MINE = """
charms:
  style: {file: a.bin, scale: 0.5}
  detail: {file: b.bin}
"""


@pytest.fixture
def mine(here) -> None:
    here.put("recipes/recipe/mine.yaml", MINE)


def scales(recipe: Recipe) -> dict[str, float]:
    assert isinstance(recipe, Extended)
    return {name: charm.scale for name, charm in recipe.charms.items()}


def test_there_are_keys_under_every_name_and_under_names_in_names() -> None:
    assert {"charms", "charms.*", "charms.*.scale", "charms.*.blocks.*", "shelves.*.*.file"} <= key_paths().keys()
    assert find_key("charms.style.scale") == "charms.*.scale"
    assert find_key("shelves.top.style.blocks.IN01") == "shelves.*.*.blocks.*"
    for absent in ("charms.style.scal", "charms._x", "charms.*.scale", "charms.a b", "charms.hydra", "seed.x"):
        assert find_key(absent) is None, absent


def test_the_command_line_sets_adds_and_takes_out(here, mine) -> None:
    assert scales(here.recipe("recipe=mine", "charms.style.scale=2")) == {"style": 2, "detail": 1}
    assert scales(here.recipe("recipe=mine", "charms.style=null")) == {"detail": 1}
    assert scales(here.recipe("recipe=mine", "charms=null")) == {}
    added = here.recipe("recipe=mine", "charms.4x-up.file=it's, a file", "charms.4x-up.blocks.mid=0.1")
    assert isinstance(added, Extended)
    assert added.charms["4x-up"] == Charm(file="it's, a file", blocks={"mid": 0.1})
    assert list(added.charms) == ["style", "detail", "4x-up"]
    whole = here.recipe("recipe=mine", "charms.style={file: c.bin}")
    assert isinstance(whole, Extended) and whole.charms["style"] == Charm(file="c.bin")


def test_files_that_build_on_others_are_merged_name_by_name(here, mine) -> None:
    here.put(
        "recipes/recipe/next.yaml", "defaults: [mine]\ncharms: {style: {scale: 3}, detail: null, new: {file: c}}\n"
    )
    here.put("recipes/recipe/last.yaml", "defaults: [next]\ncharms: {new: {blocks: {mid: 0.5}}, detail: {file: d}}\n")
    recipe = here.recipe("recipe=last")
    assert isinstance(recipe, Extended)
    assert recipe.charms == {
        "style": Charm(file="a.bin", scale=3),
        "new": Charm(file="c", blocks={"mid": 0.5}),
        "detail": Charm(file="d"),
    }


def test_names_in_names_are_merged_too(here) -> None:
    here.put("recipes/recipe/mine.yaml", "shelves: {top: {a: {file: x}, b: {file: y}}, low: {a: {file: z}}}\n")
    here.put("recipes/recipe/next.yaml", "defaults: [mine]\nshelves: {top: {a: {scale: 2}, b: null}}\n")
    recipe = here.recipe("recipe=next", "shelves.low.a.scale=3", "shelves.low.new.file=n")
    assert isinstance(recipe, Extended)
    assert recipe.shelves["top"] == {"a": Charm(file="x", scale=2)}
    assert recipe.shelves["low"] == {"a": Charm(file="z", scale=3), "new": Charm(file="n")}
    assert set(here.recipe("recipe=next", "shelves.low=null").model_dump()["shelves"]) == {"top"}


def test_they_are_axes_of_a_sweep_on_the_command_line_and_in_files(here, mine) -> None:
    made = here.compose("recipe=mine", "charms.style.scale=0,0.5,1", "charms.style.file=a,b", multirun=True)
    found = [(scales(job.recipe)["style"], job.recipe.model_dump()["charms"]["style"]["file"]) for job in made.jobs]
    assert found == [(scale, file) for scale in (0, 0.5, 1) for file in ("a", "b")]
    here.put("saved.yaml", to_yaml(made.base))
    assert [job.recipe for job in load_file(here.folder / "saved.yaml").jobs] == [job.recipe for job in made.jobs]
    here.put(
        "recipes/recipe/swept.yaml", "defaults: [mine]\nsweep: {charms.style.scale: [0, 1], charms.new.file: [c]}\n"
    )
    assert [scales(job.recipe)["style"] for job in here.compose("recipe=swept").jobs] == [0, 1]
    without = here.compose("recipe=mine", "charms.style=null,{file: c}", multirun=True)
    assert [list(scales(job.recipe)) for job in without.jobs] == [["detail"], ["style", "detail"]]


def test_labels_say_as_much_of_a_path_as_tells_the_axes_apart(here, mine) -> None:
    def labels(*words: str) -> list[str]:
        return [job.label for job in here.compose("recipe=mine", *words, multirun=True).jobs]

    assert labels("charms.style.scale=0,1") == ["scale-0", "scale-1"]
    assert labels("charms.style.scale=0,1", "charms.detail.scale=2")[0] == "scale-0"
    assert labels("charms.style.scale=0,1", "charms.detail.scale=2,3")[0] == "style.scale-0_detail.scale-2"


def test_messages_have_the_place_and_the_nearest_name(here, mine) -> None:
    here.put("recipes/recipe/wrong.yaml", "defaults: [mine]\ncharms:\n  style:\n    scal: 1\n  detail: {scale: much}\n")
    said = here.error("recipe=wrong")
    assert "wrong.yaml:4 charms.style.scal: there is no key 'charms.style.scal'. Did you mean 'scale'?" in said
    assert "wrong.yaml:5 charms.detail.scale: 'much' is not a number" in said
    said = here.error("recipe=mine", "charms.style.scal=1", "charm.style.scale=2", "charms.x.scale=true")
    assert "charms.style.scal=1: there is no key 'charms.style.scal'. Did you mean 'charms.style.scale'?" in said
    assert "charm.style.scale=2: there is no key 'charm.style.scale'. Did you mean 'charms.style.scale'?" in said
    assert "there is no key 'style.scal'" in here.error("style.scal=1")
    assert "'a b' cannot be a name" in here.error("charms.a b.scale=1")
    here.put("recipes/recipe/wrong.yaml", "charms: {a b: {file: x}}\n")
    assert "wrong.yaml:1 charms.a b: 'a b' cannot be a name" in here.error("recipe=wrong")
    assert "charms.style=3: this has keys of its own and cannot be 3" in here.error("recipe=mine", "charms.style=3")


def test_a_slip_in_a_name_is_told_by_what_is_missing_and_what_is_there(here, mine) -> None:
    said = here.error("recipe=mine", "charms.stile.scale=2")
    assert "command line: charms.stile.scale=2: 'charms.stile.file' is missing. Did you" in said
    assert "'charms.style.file'?" in said
    said = here.error("recipe=mine", "charms.stile=null")
    assert "charms.stile=null: there is no 'stile' here to take out. Did you mean 'style'?" in said
    assert "allowed: detail, style" in said
    here.put("recipes/recipe/next.yaml", "defaults: [mine]\ncharms:\n  stile: null\n")
    assert "next.yaml:3 charms.stile: there is no 'stile' here to take out. Did you" in here.error("recipe=next")


def test_a_reference_may_lead_there(here) -> None:
    here.put("recipes/recipe/mine.yaml", MINE + "prompt: at ${charms.style.scale} of ${charms.style.file}\n")
    assert here.recipe("recipe=mine").prompt == "at 0.5 of a.bin"
    here.put("recipes/recipe/mine.yaml", MINE + "prompt: at ${charms.stile.scale}\n")
    assert "leads to no single value" in here.error("recipe=mine")


def test_later_keys_count_and_are_saved_only_where_they_are_set_within_a_value_too(here, mine) -> None:
    plain = here.recipe("recipe=mine", "charms=null")
    assert isinstance(plain, Extended)
    old = Recipe.model_validate({name: value for name, value in plain.said().items() if value is not None})
    assert to_yaml(plain) == to_yaml(old) and image_id(plain, "x") == image_id(old, "x")

    charmed = here.recipe("recipe=mine")
    saved = parse(to_yaml(charmed)).data
    assert saved["charms"] == {"style": {"file": "a.bin", "scale": 0.5}, "detail": {"file": "b.bin", "scale": 1.0}}
    assert "shelves" not in saved and "inlay" not in saved
    said = image_id(charmed, "x")
    assert said != image_id(plain, "x")
    assert said == image_id(here.recipe("recipe=mine", "charms.style.blocks={}", "charms.detail.tone=null"), "x")
    assert said == image_id(here.recipe("recipe=mine", "charms.style.note=mine"), "x")
    for word in ("charms.style.scale=1", "charms.style.blocks.mid=1", "charms.detail.tone=low", "inlay.blur=2"):
        assert said != image_id(here.recipe("recipe=mine", word), "x"), word


def test_a_saved_recipe_with_such_values_reads_back_equal(here, mine) -> None:
    words = ("charms.style.blocks.mid=1", "charms.2.file=x", "shelves.top.true.file=y", "inlay.resize=crop")
    recipe = here.recipe("recipe=mine", *words)
    file = here.put("saved.yaml", to_yaml(recipe))
    assert load_file(file).base == recipe
    assert scales(load_file(file, ["charms.2=null"]).base) == {"style": 0.5, "detail": 1}
