"""What a user is told: whole messages for the main mistakes, the telling parts for the others, all mistakes at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

KEYS = """\
    allowed: recipe, checkpoint, scheduler, schedule, backend, format, name, prompt, negative_prompt, seed,
      num_images, batch_size, steps, height, width, guidance_scale, guidance_rescale, clip_skip, noise, output,
      compare, sweep, launcher, workers, shard, on_error"""
SCHEDULERS = ("ddim", "ddpm", "dpmpp_2m", "euler", "euler_a", "heun", "lms", "pndm")


@pytest.fixture
def says(here) -> Callable[..., bool]:
    """Whether the message about some words has all of these parts."""

    def check(words: list[str], *parts: str) -> bool:
        message = here.error(*words)
        missing = [part for part in parts if part not in message]
        assert not missing, f"{missing} not in:\n{message}"
        return True

    return check


@pytest.fixture(autouse=True)
def _few_schedulers(monkeypatch, request) -> None:
    """Whole messages list the choices; with the list fixed here, adding a scheduler changes no test."""
    if "whole" not in request.node.name:
        return
    from runner.registry import Library

    choices = Library.choices
    monkeypatch.setattr(
        Library,
        "choices",
        lambda self, group: {k: v for k, v in choices(self, group).items() if group != "scheduler" or k in SCHEDULERS},
    )


def test_whole_message_unknown_key_on_the_command_line(here) -> None:
    assert here.error("schedular=euler") == (
        f"command line: schedular=euler: there is no key 'schedular'. Did you mean 'scheduler'?\n{KEYS}"
    )


def test_whole_message_unknown_scheduler_on_the_command_line(here) -> None:
    assert here.error("scheduler=eulr") == (
        "command line: scheduler=eulr: there is no scheduler 'eulr'. Did you mean 'euler'?\n"
        "    allowed: ddim, ddpm, dpmpp_2m, euler, euler_a, heun, lms, pndm"
    )


def test_whole_message_the_same_mistakes_inside_a_file(here) -> None:
    here.put(
        "recipes/recipe/mine.yaml",
        """
        # my recipe
        defaults:
          - override /scheduler: eulr

        stepz: 30
        """,
    )
    assert here.error("recipe=mine") == (
        "2 problems:\n"
        "1. recipes/recipe/mine.yaml:3 defaults: override /scheduler: eulr: there is no scheduler 'eulr'. "
        "Did you mean 'euler'?\n"
        "       allowed: ddim, ddpm, dpmpp_2m, euler, euler_a, heun, lms, pndm\n"
        "2. recipes/recipe/mine.yaml:5 stepz: there is no key 'stepz'. Did you mean 'steps'?\n"
        + "\n".join("   " + line for line in KEYS.splitlines())
    )


def test_whole_message_an_option_misspelt(here) -> None:
    message = here.error("scheduler=euler", "scheduler.use_karras_sigmaz=true")
    first, rest = message.split("\n", 1)
    assert first == (
        "command line: scheduler.use_karras_sigmaz=true: this is not an option of EulerDiscreteScheduler. "
        "Did you mean 'use_karras_sigmas'?"
    )
    assert rest.strip().startswith("allowed: beta_end, beta_schedule,")


def test_whole_message_a_scheduler_named_as_a_key(here) -> None:
    assert here.error("scheduler.name=eulr") == (
        "command line: scheduler.name=eulr: there is no scheduler 'eulr'. Did you mean 'euler'?\n"
        "    allowed: ddim, ddpm, dpmpp_2m, euler, euler_a, heun, lms, pndm"
    )


@pytest.fixture
def local_checkpoint(here) -> str:
    """A folder with no more than the configurations that checks look at: an autoencoder of four levels, factor 8."""
    here.put("model/model_index.json", "{}")
    here.put("model/vae/config.json", json.dumps({"block_out_channels": [128, 256, 512, 512]}))
    return "./model"


def test_whole_message_a_misspelt_key_and_a_bad_height_at_once(here, local_checkpoint) -> None:
    here.put("mine.yaml", f"defaults: [shapes]\nstepz: 30\nheight: 100\ncheckpoint: {{repo: {local_checkpoint}}}\n")
    code, out, err = here.run("mine.yaml")
    assert (code, out) == (2, "")
    assert err == (
        "run: 2 problems:\n"
        "1. mine.yaml:2 stepz: there is no key 'stepz'. Did you mean 'steps'?\n"
        + "\n".join("   " + line for line in KEYS.splitlines())
        + "\n2. mine.yaml:3 height: 100 is not divisible by 8, the factor of the checkpoint's autoencoder (VAE).\n"
        "       near it: 96 or 104\n"
    )


def test_a_size_is_checked_against_a_replaced_autoencoder_and_the_hub_cache(here, monkeypatch) -> None:
    here.put("vae/config.json", json.dumps({"block_out_channels": [1, 2, 3]}))
    monkeypatch.setenv("HF_HOME", str(here.folder / "hf"))
    snapshot = "hf/hub/models--SG161222--RealVisXL_V4.0"
    here.put(f"{snapshot}/refs/main", "c0ffee")
    here.put(f"{snapshot}/snapshots/c0ffee/vae/config.json", json.dumps({"block_out_channels": [1, 2, 3, 4]}))
    assert "1004 is not divisible by 8" in here.error("recipe=ays_sdxl", "height=1004")
    here.recipe("recipe=ays_sdxl", "height=1004", "checkpoint.components.vae.repo=.")


def test_every_mistake_of_the_command_line_and_of_the_files_at_once(here) -> None:
    here.put("recipes/scheduler/odd.yaml", "name: EulerDiscreteScheduler\nbeta_begin: 1\n")
    here.put(
        "recipes/recipe/mine.yaml",
        """
        defaults:
          - override /scheduler: odd
          - override /schedle: karras
        seed: x
        num_images: 0
        guidance_scale: high
        checkpoint:
          varient: fp16
        schedule:
          timesteps: [10, 20]
          final_sigma: none
        """,
    )
    message = here.error("recipe=mine", "stepz=3", "prompt=A", "cat", "backend.dtype=fp16", "+clip_skip=1")
    for part in [
        "12 problems:",
        "command line: stepz=3",
        "command line: cat: this is not key=value",
        "command line: backend.dtype=fp16: 'fp16' is not possible here",
        "command line: +clip_skip=1",
        "recipes/recipe/mine.yaml:3 defaults: override /schedle: karras",
        "recipes/recipe/mine.yaml:4 seed: 'x' is not a whole number",
        "recipes/recipe/mine.yaml:5 num_images: 0 is out of range: it must be at least 1",
        "recipes/recipe/mine.yaml:6 guidance_scale: 'high' is not a number",
        "recipes/recipe/mine.yaml:8 checkpoint.varient: there is no key 'checkpoint.varient'. Did you mean 'variant'?",
        "recipes/recipe/mine.yaml:10 schedule.timesteps: this must descend",
        "recipes/scheduler/odd.yaml:2 scheduler.beta_begin: this is not an option of EulerDiscreteScheduler",
        "recipes/recipe/mine.yaml:11 schedule.final_sigma: 'none' is not possible here",
    ]:
        assert part in message, f"{part!r} not in:\n{message}"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["scheduler=euler,lms"], ["several schedulers are a sweep", "run -m scheduler=euler,lms"]),
        (["seed=1,2"], ["several values are a sweep: add -m"]),
        (['prompt=["a", "b"]'], ["several prompts are a sweep: add -m"]),
        (["+seed=1"], ["'+' is not used", "write: seed=1"]),
        (["++seed=1"], ["'++' is not used"]),
        (["~seed=1"], ["'~' is not used"]),
        (["scheduler=karras"], ["'karras' is a schedule: schedule=karras"]),
        (["scheduler=use_karras_sigmas"], ["scheduler.use_karras_sigmas=VALUE"]),
        (["use_karras_sigmas=true"], ["scheduler.use_karras_sigmas=true"]),
        (["euler=true"], ["'euler' is a scheduler: scheduler=euler"]),
        (["scheduler={name: euler}"], ["a choice is one name"]),
        (["scheduler="], ["there is always one scheduler"]),
        (["dtype=float16"], ["the key is backend.dtype: backend.dtype=float16"]),
        (["checkpoint=org/name"], ["checkpoint.repo=org/name"]),
        (["checkpoint.repo=./nowhere"], ["./nowhere is not an existing folder"]),
        (["checkpoint.repo=a/b/c"], ["neither an existing folder nor a hub repository"]),
        (["recipe=mine.yaml"], ["run mine.yaml"]),
        (["shapes"], ["run recipe=shapes"]),
        (["prompt=A", "cat,", "asleep"], ["quoted as a whole: 'prompt=A cat, asleep'"]),
        (["steps=0"], ["0 is out of range: it must be at least 1"]),
        (["steps=5.5"], ["5.5 is not a whole number"]),
        (["guidance_rescale=1.5"], ["it must be at most 1"]),
        (["guidance_scale=inf"], ["inf is not a finite number"]),
        (["seed=9223372036854775808"], ["out of range"]),
        (["backend.device=gpu"], ["'gpu' is not possible here", "cuda"]),
        (["noise=cpu"], ["this has keys of its own", "noise.device"]),
        (["schedule.timesteps=[]"], ["the list is empty"]),
        (["schedule.timesteps=[1,2,3]"], ["this must descend", "1 is followed by 2"]),
        (["schedule.timesteps=[1500,2]"], ["starts at 1500"]),
        (["schedule.sigmas=[1]"], ["needs at least 2 values"]),
        (["schedule.spacing=karas"], ["Did you mean 'karras'?"]),
        (["scheduler=ddim", "scheduler.algorithm_type=x"], ["not an option of DDIMScheduler", "DPMSolverMultistep"]),
        (["scheduler.solver_order=9"], ["scheduler.solver_order=9: this is 9"]),
        (["checkpoint.components={vea: {}}"], ["there is no component 'vea'. Did you mean 'vae'?"]),
        (["checkpoint.components.vea.repo=x"], ["Did you mean 'checkpoint.components.vae"]),
        (["scheduler.a.b=1"], ["scheduler.OPTION=value"]),
        (["sweep.seed=[1,2]"], ["run -m"]),
        (["seed=[1"], ["the value '[1' cannot be read"]),
        (["seed=${nothing}"], ["the reference ${nothing} leads nowhere"]),
        (["seed=${sed}"], ["Did you mean 'seed'?"]),
        (["name=../up"], ["the name becomes a folder's name"]),
        (["=1"], ["there is no key ''"]),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) and "=" in value[0] else None,
)
def test_each_confusion_is_explained(says, words, parts) -> None:
    assert says(words, *parts)


def test_two_schedules_are_an_error_that_names_both_keys_and_places(here, says) -> None:
    here.put("recipes/schedule/mine.yaml", "timesteps: [999, 10]\n")
    both = ["schedule.timesteps", "recipes/schedule/mine.yaml:1"]
    assert says(["schedule=mine", "schedule.sigmas=[14,1,0]"], "command line: schedule.sigmas=[14,1,0]", *both)
    assert says(["schedule=mine", "schedule.spacing=karras"], "command line: schedule.spacing=karras", *both)
    assert says(["schedule=mine", "scheduler.use_karras_sigmas=true"], "scheduler.use_karras_sigmas=true", *both)


def test_what_a_command_says_of_noise_levels_ends_what_files_say(here) -> None:
    """The default recipe's levels are Karras': whoever lists others, or chooses a flag, means those instead."""
    assert here.recipe("schedule.timesteps=[999,10]").schedule.spacing is None
    flagged = here.recipe("scheduler.use_exponential_sigmas=true")
    assert (flagged.schedule.spacing, flagged.scheduler.options["use_exponential_sigmas"]) == (None, True)
    assert here.recipe("scheduler=euler", "steps=5").schedule.spacing == "karras"


def test_a_wrong_scheduler_does_not_make_its_options_wrong(here) -> None:
    message = here.error("scheduler=eulr", "scheduler.s_churn=0.5")
    assert "there is no scheduler 'eulr'" in message
    assert "s_churn" not in message.replace("scheduler.s_churn=0.5", "")


def test_a_wrong_scheduler_does_not_hide_two_schedules(says) -> None:
    assert says(["scheduler=eulr", "schedule.timesteps=[9,1]", "schedule.sigmas=[1,0]"], "eulr", "together")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1", "mine.yaml:1: this is not valid YAML"),
        ("- a", "mine.yaml:1: the file must hold keys and values"),
        ("seed: 1\nseed: 2", "mine.yaml:2: the key 'seed' is there twice"),
        ("scheduler: euler", "mine.yaml:1 scheduler: 'scheduler' holds keys and values here"),
        ("scheduler:\n  name: Eulr\n", "mine.yaml:2 scheduler.name: Eulr: there is no scheduler 'Eulr'"),
        ("scheduler:\n  eta: 1", "mine.yaml:2 scheduler.eta: this is not an option of DPMSolverMultistepScheduler"),
        ("prompt: 5", 'quoted: "5"'),
        ("steps: '5'", "mine.yaml:1 steps: '5' is not a whole number"),
        ("checkpoint: {allow_pickle: yes}", "'yes' is not true or false"),
        ("defaults: {scheduler: euler}", "the defaults must be a list"),
        ("defaults: [scheduler: euler]", "write: - override /scheduler: euler"),
        ("defaults: [override scheduler: euler]", "write: - override /scheduler: euler"),
        ("defaults: [override /recipe: sd15]", "write: - sd15"),
        ("defaults: [sd155]", "mine.yaml:1 defaults: sd155: there is no recipe 'sd155'. Did you mean 'sd15'?"),
        ("defaults: [mine]", "this recipe builds on itself: mine → mine"),
        ("defaults: [override /scheduler: null]", "the choice for 'scheduler' must be one name"),
        ("defaults: [override /scheduler: euler, override /scheduler: lms]", "chosen twice"),
        ("sweep: {sede: [1]}", "there is no key 'sede' to sweep over"),
        ("sweep: {seed: []}", "mine.yaml:1 sweep.seed: a sweep needs a list"),
        ("sweep: {scheduler: [euler, eulr]}", "mine.yaml:1 sweep.scheduler[1]: there is no scheduler 'eulr'"),
        ("sweep: {seed: [1, x]}", "'x' is not a whole number"),
        ("sweep: {scheduler: [[euler], {a: b}, 3]}", "there is no scheduler '3'"),
        (
            "schedule: {timesteps: {a: 1}}\ndefaults: [ays_sdxl]",
            "mine.yaml:1 schedule.timesteps: this is one value and has no keys",
        ),
        ("schedule: {timesteps: 5}\ndefaults: [ays_sdxl]", "schedule.timesteps: 5 is not a list"),
        ("prompt: {a: b}", "mine.yaml:1 prompt: this is one value and has no keys"),
        ("prompt: [a, b]", "prompt: ['a', 'b'] is not text"),
        ("checkpoint: {repo: {a: b}}", "mine.yaml:1 checkpoint.repo: this is one value and has no keys"),
        ("noise: cpu", "noise: this has keys of its own and cannot be 'cpu'"),
        ("output:", "output: this has keys of its own and cannot be null"),
        ("scheduler: {beta_start: 2.0}", "scheduler.beta_start: this is 2.0"),
        ("sweep: 3", "mine.yaml:1 sweep: this has keys of its own and cannot be 3"),
        ("prompt: ???", "mine.yaml:1 prompt: '???' cannot be a whole value"),
        ("checkpoint: {components: {vae: {repo: ./no}}}", "components.vae.repo: ./no is not an existing folder"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(here, text, part) -> None:
    here.put("recipes/recipe/mine.yaml", text)
    message = here.error("recipe=mine")
    assert part in message, message


def test_what_is_quoted_from_a_file_cannot_steer_the_terminal(here) -> None:
    here.put("recipes/recipe/mine.yaml", '"se\\e[31med\\n": 1\n"steps": "\\e[2J"\n')
    message = here.error("recipe=mine")
    assert "there is no key 'se\\x1b[31med\\n'" in message
    assert "\x1b" not in message


def test_a_circle_of_recipes_is_told(here) -> None:
    here.put("recipes/recipe/a.yaml", "defaults: [b]\n")
    here.put("recipes/recipe/b.yaml", "defaults: [a]\n")
    assert "recipes/recipe/b.yaml:1 defaults: a: this recipe builds on itself: a → b → a" in here.error("recipe=a")


def test_files_in_the_wrong_place_are_pointed_out(here, says) -> None:
    here.put("recipes/flat.yaml", "seed: 1\n")
    here.put("recipes/recipe/short.yml", "seed: 1\n")
    assert says(["recipe=flat"], "move it to recipes/recipe/flat.yaml")
    assert says(["recipe=short"], "its name must end in .yaml")


def test_a_missing_file_is_told_with_the_nearest_one(here) -> None:
    here.put("mine.yaml", "seed: 1\n")
    assert here.run("mina.yaml") == (2, "", "run: mina.yaml: there is no such file. Did you mean 'mine.yaml'?\n")


def test_an_incomplete_file_says_what_is_missing(here) -> None:
    here.put("mine.yaml", "seed: 1\n")
    code, _, err = here.run("mine.yaml")
    assert code == 2
    assert "'checkpoint' is missing" in err
    assert "'scheduler' is missing" in err


def test_no_traceback_unless_asked_for(here, monkeypatch) -> None:
    from runner.errors import RecipeError

    code, _, err = here.run("seed=x")
    assert (code, "Traceback" in err) == (2, False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RecipeError):
        here.run("seed=x")
