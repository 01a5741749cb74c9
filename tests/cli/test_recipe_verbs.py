"""The `recipe` verbs, as a user calls them."""

from __future__ import annotations

import pytest

from runner.cli.recipe import VERBS
from runner.registry import GROUPS, PACKAGED, Library


def test_help_lists_every_verb_and_each_verb_explains_itself_with_examples(here) -> None:
    code, out, _ = here.recipe_command("--help")
    assert code == 0
    for verb in VERBS:
        assert f"recipe {verb}" in out
        code, own, _ = here.recipe_command(verb, "--help")
        assert code == 0
        assert own.count(f"recipe {verb}") >= 2, "a usage line and an example"
    assert max(map(len, out.splitlines())) <= 120


def test_no_verb_at_all_shows_the_help_and_fails(here) -> None:
    code, out, _ = here.recipe_command()
    assert code == 2
    assert "recipe check" in out


def test_a_misspelt_verb_or_option_is_told(here) -> None:
    assert here.recipe_command("chek") == (
        2,
        "",
        "recipe: command line: chek: there is no verb 'chek'. Did you mean 'check'?\n"
        f"    allowed: {', '.join(VERBS)}\n",
    )
    code, _, err = here.recipe_command("check", "--al")
    assert code == 2
    assert "recipe check has no option '--al'. Did you mean '--all'?" in err


@pytest.mark.parametrize("verb", ["cat", "cp", "check", "replay"])
def test_a_verb_without_what_it_needs_shows_its_usage(here, verb) -> None:
    code, _, err = here.recipe_command(verb)
    assert code == 2
    assert f"usage: recipe {verb}" in err


def test_ls_shows_every_choice_of_every_group_with_its_description(here) -> None:
    code, out, _ = here.recipe_command("ls")
    assert code == 0
    for group in GROUPS:
        for name in Library((PACKAGED,)).choices(group):
            assert any(line.startswith(f"  {name} ") for line in out.splitlines()), name
    assert "no comment" not in out
    assert max(map(len, out.splitlines())) <= 118
    columns = {line.index(line.split()[1], 3) for line in out.splitlines() if line.startswith("  ") and line[2] != " "}
    assert len(columns) == 1, "the descriptions are aligned"


def test_ls_of_one_group_and_of_the_users_own(here) -> None:
    here.put("recipes/scheduler/mine.yaml", "# My favourite\nname: EulerDiscreteScheduler\n")
    for word in ("scheduler", "schedulers"):
        code, out, _ = here.recipe_command("ls", word)
        assert code == 0
        assert "mine" in out
        assert "My favourite  [" in out
        assert "recipes/scheduler/mine.yaml]" in out
        assert "checkpoint" not in out.splitlines()[0]
    code, _, err = here.recipe_command("ls", "shedulers")
    assert code == 2
    assert "Did you mean 'scheduler'?" in err


def test_cat_prints_the_composed_recipe(here) -> None:
    code, out, _ = here.recipe_command("cat", "ays_sdxl", "scheduler=euler")
    assert code == 0
    assert out.startswith("format: 1\nname: ays_sdxl\n")
    assert "name: EulerDiscreteScheduler" in out
    assert "timesteps: [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]" in out


def test_cat_of_an_unknown_name_is_told(here) -> None:
    code, _, err = here.recipe_command("cat", "ays_sdx")
    assert code == 2
    assert "there is no recipe 'ays_sdx'. Did you mean 'ays_sdxl'?" in err


def test_cat_into_a_file_can_be_run(here) -> None:
    _, out, _ = here.recipe_command("cat", "shapes_scheduler_grid")
    here.put("grid.yaml", out)
    code, again, err = here.run("grid.yaml", "--cfg", "job")
    assert (code, err) == (0, "")
    assert again.startswith(out)


def test_a_copy_in_the_users_recipes_runs_under_its_new_name(here) -> None:
    code, out, _ = here.recipe_command("cp", "ays_sdxl", "recipes/recipe/mine.yaml")
    assert code == 0
    assert out == ("recipes/recipe/mine.yaml is yours to edit. Check it: recipe check mine. Run it: run recipe=mine\n")
    assert "# run recipe=mine\n" in (here.folder / "recipes/recipe/mine.yaml").read_text()
    mine, original = here.recipe("recipe=mine"), here.recipe("recipe=ays_sdxl")
    assert mine.model_copy(update={"name": "ays_sdxl"}) == original


def test_a_copy_anywhere_runs_by_its_path(here) -> None:
    code, out, _ = here.recipe_command("cp", "shapes_scheduler_grid", "deep/er/mine.yaml")
    assert code == 0
    assert out.endswith("Run it: run deep/er/mine.yaml\n")
    code, shown, _ = here.run("deep/er/mine.yaml", "--cfg", "job")
    assert code == 0
    assert "name: mine" in shown


def test_a_copy_of_another_group(here) -> None:
    code, out, _ = here.recipe_command("cp", "scheduler/euler", "recipes/scheduler/my_euler.yaml")
    assert code == 0
    assert "run scheduler=my_euler" in out
    assert here.recipe("scheduler=my_euler").scheduler.name == "EulerDiscreteScheduler"


def test_an_existing_file_is_kept_unless_forced(here) -> None:
    mine = here.put("mine.yaml", "precious\n")
    code, _, err = here.recipe_command("cp", "shapes", "mine.yaml")
    assert code == 2
    assert "this file exists and is kept" in err
    assert mine.read_text() == "precious\n"
    assert here.recipe_command("cp", "--force", "shapes", "mine.yaml")[0] == 0
    assert "precious" not in mine.read_text()


def test_a_copy_must_be_a_yaml_file(here) -> None:
    code, _, err = here.recipe_command("cp", "shapes", "mine.txt")
    assert code == 2
    assert "such as mine.yaml" in err


def test_check_all_finds_every_packaged_recipe_sound(here) -> None:
    code, out, err = here.recipe_command("check", "--all")
    assert (code, err) == (0, "")
    names = Library((PACKAGED,)).choices("recipe")
    assert [line.split()[0] for line in out.splitlines()] == list(names)
    assert all(" ok" in line for line in out.splitlines())


def test_check_tells_every_problem_of_every_recipe_and_fails(here) -> None:
    here.put("recipes/recipe/one.yaml", "stepz: 1\nseed: x\n")
    here.put("recipes/scheduler/two.yaml", "name: EulerDiscreteScheduler\neta: 1\n")
    here.put("three.yaml", "defaults: [shapes]\nheihgt: 1\n")
    code, out, _ = here.recipe_command("check", "sd15", "three.yaml", "--all")
    assert code == 2
    for part in [
        "sd15                   ok",
        "three.yaml:2 heihgt: there is no key 'heihgt'. Did you mean 'height'?",
        "one: 2 problems:",
        "recipes/recipe/one.yaml:1 stepz",
        "recipes/recipe/one.yaml:2 seed: 'x' is not a whole number",
        "recipes/scheduler/two.yaml:2 scheduler.eta: this is not an option of EulerDiscreteScheduler",
        "3 of 9 have problems",
    ]:
        assert part in out, f"{part!r} not in:\n{out}"


def test_replay_says_what_it_finds_and_fails_when_a_picture_differs(here, monkeypatch) -> None:
    from runner import replay

    for identical, expected in ((True, 0), (False, 1)):
        seen = []

        def fake(target, *, check, identical=identical, seen=seen):
            seen.append((str(target), check))
            return replay.Replay(identical, ["what it found"])

        monkeypatch.setattr(replay, "replay", fake)
        assert here.recipe_command("replay", "some/folder", "--check") == (expected, "what it found\n", "")
        assert seen == [("some/folder", True)]
