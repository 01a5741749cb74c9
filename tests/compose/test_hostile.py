"""A recipe is data. Files and command lines that try to make the program run, import or read something: each is
refused with a reason, none creates its marker file, and none gets at the secret in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.compose import to_yaml

SECRET = "sesame-4711"
MARKER = "created_by_a_recipe"
CALLBACK = f"callbacks: {{x: {{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{MARKER}]}}}}}}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch) -> None:
    monkeypatch.setenv("RECIPE_SECRET", SECRET)


def refused(here, *argv: str, reason: str) -> None:
    """The command fails before anything starts, says why, leaks nothing and leaves nothing behind."""
    files = sorted(here.folder.rglob("*"))
    for more in ([], ["--cfg", "job"]):
        code, out, err = here.run(*argv, *more)
        assert code == 2, out + err
        assert reason in err, err
        assert SECRET not in out + err
        assert "Traceback" not in err
    assert sorted(here.folder.rglob("*")) == files
    assert not (here.folder / MARKER).exists()


HOSTILE_RECIPES = {
    "a hydra node with a callback": (f"hydra:\n  {CALLBACK}\n", "cannot configure Hydra"),
    "a hydra node deeper down": (f"scheduler:\n  hydra:\n    {CALLBACK}\n", "cannot configure Hydra"),
    "a hydra node inside a list": (f"sweep:\n  seed:\n    - {{hydra: {{{CALLBACK}}}}}\n", "cannot configure Hydra"),
    "a hydra node by a dotted key": ("hydra.run.dir: /tmp/x\n", "there is no key 'hydra.run.dir'"),
    "a target at the top": ("_target_: pathlib.Path.touch\n", "'_target_' is an instruction to other programs"),
    "a target in a part": ("scheduler: {_target_: os.system, command: 'touch x'}\n", "'_target_' is an instruction"),
    "a target in a list": ("sweep:\n  prompt: [{_target_: os.getenv, key: RECIPE_SECRET}]\n", "'_target_'"),
    "a package header for hydra": (f"# @package hydra\n{CALLBACK}\n", "the header '@package hydra' is refused"),
    "a package header below hydra": ("# @package hydra.callbacks\nx: {seed: 1}\n", "is refused"),
    "a header further down the comments": ("# fine\n\n# @package hydra.job\nname: x\n", "is refused"),
    "a second header": ("# @package _global_\n# @package hydra\nname: x\n", "is refused"),
    "a default that chooses for hydra": ("defaults: [override /hydra/callbacks: evil]\n", "parts of Hydra"),
    "a default that adds to hydra": ("defaults: [/hydra/launcher: evil]\n", "parts of Hydra"),
    "an optional default of hydra": ("defaults: [optional /hydra/sweeper: evil]\n", "parts of Hydra"),
    "hydra as a plain default": ("defaults: [hydra/callbacks/evil]\n", "parts of Hydra"),
    "a default with a package": ("defaults: [sd15@hydra.callbacks.x]\n", "packages (@) are not used"),
    "a choice with a package": ("defaults: [override /scheduler@hydra.job: euler]\n", "packages (@) are not used"),
    "a default outside the folder": ("defaults: [../../evil]\n", "is not the name of a recipe"),
    "a choice outside the folder": ("defaults: [override /scheduler: ../../evil]\n", "must be one name"),
    "an unknown group": ("defaults: [override /callbacks: evil]\n", "there is no group 'callbacks'"),
    "a default that reads the environment": (
        "defaults: [override /scheduler: '${oc.env:RECIPE_SECRET}']\n",
        "references (${...}) are not used in defaults",
    ),
    "a prompt that reads the environment": ("prompt: ${oc.env:RECIPE_SECRET}\n", "the resolver 'oc.env' is refused"),
    "a negative prompt that does, after a reference": (
        "negative_prompt: ${seed}${oc.env:RECIPE_SECRET}\n",
        "the resolver 'oc.env' is refused",
    ),
    "a folder name from the environment": ("output: {dir: 'x${oc.env:RECIPE_SECRET}'}\n", "'oc.env' is refused"),
    "a repository from the environment": ("checkpoint: {repo: '${oc.env:RECIPE_SECRET}'}\n", "'oc.env' is refused"),
    "the environment, in a sweep": ("sweep:\n  prompt: ['${oc.env:RECIPE_SECRET}']\n", "'oc.env' is refused"),
    "another resolver": ("prompt: ${oc.decode:'1'}\n", "the resolver 'oc.decode' is refused"),
    "hydra's resolver": ("prompt: ${hydra:runtime.cwd}\n", "the resolver 'hydra' is refused"),
    "a resolver in a resolver": ("prompt: ${oc.decode:${oc.env:RECIPE_SECRET}}\n", "is refused"),
    "a resolver by reference": ("revision: oc.env\nprompt: '${${revision}:RECIPE_SECRET}'\n", "is refused"),
    "a resolver with spaces": ("prompt: '${ oc.env : RECIPE_SECRET }'\n", "the resolver 'oc.env' is refused"),
    "an escaped reference": ("prompt: '\\${oc.env:RECIPE_SECRET}'\n", "is refused"),
    "a resolver put together from pieces": (
        "negative_prompt: $\nprompt: '${negative_prompt}{oc.env:RECIPE_SECRET}'\n",
        "a text cannot contain '${'",
    ),
    "references in a circle": ("prompt: ${negative_prompt}\nnegative_prompt: ${prompt}\n", "to another reference"),
    "references that multiply": (
        "prompt: '${negative_prompt}${negative_prompt}'\nnegative_prompt: '${output.dir}${output.dir}'\n",
        "leads to another reference",
    ),
    "a Python object": (f"seed: !!python/object/apply:pathlib.Path.touch [{MARKER}]\n", "YAML tags"),
    "a tag of its own": ("seed: !env RECIPE_SECRET\n", "YAML tags"),
    "aliases that multiply": ("prompt: &a [x, x]\nsweep: {prompt: &b [*a, *a], seed: [*b, *b]}\n", "YAML anchors"),
    "a merge key": ("<<: {hydra: {}}\n", "'<<' cannot be a key"),
    "a second document": ("seed: 1\n---\nhydra: {}\n", "not valid YAML"),
    "nesting without end": ("seed: " + "[" * 5000 + "]" * 5000 + "\n", "nested too deeply"),
    "a file that is too large": ("prompt: " + "x" * 300_000 + "\n", "larger than 256 KiB"),
    "a name that leads elsewhere": ("name: ../../elsewhere\n", "the name becomes a folder's name"),
    "an instruction as an option": ("scheduler: {_partial_: true}\n", "'_partial_' is an instruction"),
}


@pytest.mark.parametrize("title", HOSTILE_RECIPES)
def test_a_hostile_recipe_is_refused(here, title) -> None:
    text, reason = HOSTILE_RECIPES[title]
    here.put("recipes/recipe/evil.yaml", text)
    here.put("recipes/hydra/callbacks/evil.yaml", f"# @package _global_\nhydra: {{{CALLBACK}}}\n")
    refused(here, "recipe=evil", reason=reason)


@pytest.mark.parametrize("title", HOSTILE_RECIPES)
def test_a_hostile_file_is_refused(here, title) -> None:
    """The same files, run by their path: as a recipe that builds on another, and as a complete one."""
    text, reason = HOSTILE_RECIPES[title]
    here.put("evil.yaml", text)
    refused(here, "evil.yaml", reason=reason)


@pytest.mark.parametrize(
    ("path", "text", "words", "reason"),
    [
        ("scheduler/evil.yaml", f"# @package _global_\nhydra: {{{CALLBACK}}}\n", "scheduler=evil", "is refused"),
        ("scheduler/evil.yaml", f"name: EulerDiscreteScheduler\nhydra: {{{CALLBACK}}}\n", "scheduler=evil", "Hydra"),
        ("scheduler/evil.yaml", "name: ${oc.env:RECIPE_SECRET}\n", "scheduler=evil", "'oc.env' is refused"),
        ("scheduler/evil.yaml", "name: os.system\n", "scheduler=evil", "there is no scheduler class 'os.system'"),
        (
            "scheduler/evil.yaml",
            "defaults: [override /recipe: evil]\n",
            "scheduler=evil",
            "builds on others of its own",
        ),
        ("checkpoint/evil.yaml", "# @package hydra.job\nrepo: x\n", "checkpoint=evil", "is refused"),
        ("checkpoint/evil.yaml", "repo: x\nrevision: ${oc.env:RECIPE_SECRET}\n", "checkpoint=evil", "'oc.env'"),
        ("backend/evil.yaml", "name: os\n", "backend=evil", "'os' is not possible here"),
        ("schedule/evil.yaml", "timesteps: ${oc.env:RECIPE_SECRET}\n", "schedule=evil", "'oc.env' is refused"),
        ("config.yaml", f"defaults: [_self_]\nhydra: {{{CALLBACK}}}\n", "seed=1", "this file would be in charge"),
    ],
)
def test_a_hostile_file_of_another_group_is_refused(here, path, text, words, reason) -> None:
    here.put(f"recipes/{path}", text)
    refused(here, words, reason=reason)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["hydra.run.dir=elsewhere"], "Hydra itself cannot be configured here"),
        (["hydra.searchpath=[file://evil]"], "Hydra itself"),
        (["hydra/launcher=evil"], "Hydra itself"),
        (["-m", "hydra/sweeper=evil", "seed=1,2"], "Hydra itself"),
        (["+hydra.callbacks.x._target_=pathlib.Path.touch"], "Hydra itself"),
        (["++hydra.job.chdir=true"], "Hydra itself"),
        (["~hydra.callbacks=x"], "Hydra itself"),
        (["hydra={callbacks: {x: {_target_: os.getcwd}}}"], "Hydra itself"),
        (["+hydra/callbacks=evil"], "Hydra itself"),
        (["scheduler@hydra.job=euler"], "packages (@) are not used"),
        (["--config-dir", "evil"], "this option is refused"),
        (["--config-dir=evil"], "this option is refused"),
        (["-cd", "evil"], "this option is refused"),
        (["--config-path", "evil"], "this option is refused"),
        (["-cp", "evil"], "this option is refused"),
        (["--config-name", "evil"], "this option is refused"),
        (["-cn=evil"], "this option is refused"),
        (["--experimental-rerun", "evil"], "this option is refused"),
        (["--cfg", "hydra"], "only one thing can be shown"),
        (["--shell-completion"], "there is no option"),
        (["prompt=${oc.env:RECIPE_SECRET}"], "the resolver 'oc.env' is refused"),
        (["prompt=\\${oc.env:RECIPE_SECRET}"], "is refused"),
        (["output.dir=${oc.env:RECIPE_SECRET}"], "the resolver 'oc.env' is refused"),
        (["seed=${oc.env:RECIPE_SECRET}"], "the resolver 'oc.env' is refused"),
        (["seed=${oc.decode:${oc.env:RECIPE_SECRET}}"], "is refused"),
        (["scheduler=${oc.env:RECIPE_SECRET}"], "there is no scheduler"),
        (["-m", "prompt=['${oc.env:RECIPE_SECRET}', 'b']"], "the resolver 'oc.env' is refused"),
        (["scheduler._target_=os.system"], "not an option"),
        (["noise={_target_: os.system}"], "there is no key 'noise._target_'"),
        (["checkpoint.components={unet: {_target_: os.system}}"], "there is no key"),
        (["+x._target_=pathlib.Path.touch"], "there is no key"),
        (["recipe=../../evil"], "there is no recipe"),
        (["scheduler=../evil"], "there is no scheduler"),
        (["name=../../elsewhere"], "the name becomes a folder's name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_hostile_command_line_is_refused(here, argv, reason) -> None:
    here.put("evil/config.yaml", f"hydra: {{{CALLBACK}}}\n")
    here.put("evil.yaml", f"hydra: {{{CALLBACK}}}\n")
    refused(here, *argv, reason=reason)


def test_a_recipe_that_is_no_file_is_refused(here) -> None:
    (here.folder / "folder.yaml").mkdir()
    refused(here, "folder.yaml", reason="this is a folder, not a file")


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE_RECIPES) > 15


def test_the_check_itself_would_notice_a_leak(here) -> None:
    """Plain composition, without our source of recipes, does read the environment: so the secret would have shown."""
    from omegaconf import OmegaConf

    assert OmegaConf.to_container(OmegaConf.create({"a": "${oc.env:RECIPE_SECRET}"}), resolve=True) == {"a": SECRET}


def test_the_check_itself_would_notice_a_callback(here) -> None:
    """Instantiated as Hydra does with its callbacks, the hostile node does create its marker file."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    instantiate(OmegaConf.create(f"{{{CALLBACK}}}"))
    assert Path(MARKER).exists()


def test_a_dollar_and_braces_alone_are_harmless(here) -> None:
    recipe = here.recipe("prompt=costs $5, {not a reference} $seed")
    assert recipe.prompt == "costs $5, {not a reference} $seed"
    assert "costs $5" in to_yaml(recipe)
