"""Keys that recipes do not have: other tools' words for ours, what is not served yet, and slips of the keyboard."""

from __future__ import annotations

import pytest

from runner.compose.unknown_keys import ELSEWHERE, INSIDE, NOT_SERVED
from runner.errors import nearest
from runner.registry import GROUPS
from runner.schema import key_paths

TYPED = [  # what people type, and what they are told to type
    ("sampler=Euler a", "write: scheduler=euler_a"),
    ("sampler_name=dpmpp_2m_sde_gpu", "write: scheduler=dpmpp_2m_sde"),
    ("sampler=DPM++ SDE Karras", "write: scheduler=dpmpp_sde schedule=karras"),
    ("sampler=dpm_adaptive", "the key is scheduler; 'dpm_adaptive' chooses its steps while it runs"),
    ("Schedule type=SGM Uniform", "write: schedule=sgm_uniform"),
    ("cfg=7", "write: guidance_scale=7"),
    ("cfg_scale=7.5", "write: guidance_scale=7.5"),
    ("CFG scale=7", "write: guidance_scale=7"),
    ("guidance=3", "write: guidance_scale=3"),
    ("model=org/name", "write: checkpoint.repo=org/name"),
    ("model=sdxl", "write: checkpoint=sdxl"),
    ("model_path=/my models/a", "write: 'checkpoint.repo=/my models/a'"),
    ("size=512x768", "write: width=512 height=768"),
    ("resolution=[512, 768]", "write: width=512 height=768"),
    ("size=big", "a size is two keys: width and height"),
    ("width x height=512x768", "write: width=512 height=768"),
    ("512x768", "write: width=512 height=768"),
    ("n_iter=3", "write: num_images=3"),
    ("batch_count=3", "write: num_images=3"),
    ("num_inference_steps=20", "write: steps=20"),
    ("Steps=20", "write: steps=20"),
    ("negative=ugly, bad", "write: 'negative_prompt=ugly, bad'"),
    ("CLIP skip=2", "write: clip_skip=1"),
    ("vae=org/vae", "write: checkpoint.components.vae.repo=org/vae"),
    ("text_encoder=org/clip", "write: checkpoint.components.text_encoder.repo=org/clip"),
    ("precision=float16", "write: backend.dtype=float16"),
    ("lora=x", "LoRAs are not served yet"),
    ("loras=[x]", "LoRAs are not served yet"),
    ("strength=0.5", "image to image) is not served yet"),
    ("denoise=0.5", "image to image) is not served yet"),
    ("denoising_strength=0.5", "image to image) is not served yet"),
    ("hires=true", "a second pass at a larger size"),
    ("controlnet=x", "ControlNet"),
    ("safety_checker=null", "never run"),
]


@pytest.mark.parametrize(("word", "says"), TYPED, ids=lambda value: value.split("=")[0].replace(" ", "_"))
def test_other_tools_keys_are_told_what_to_type(here, word, says) -> None:
    message = " ".join(here.error(word).split())
    assert says in message and "allowed" not in message and "Did you mean" not in message


FILED = [
    ("sampler: Euler a", "write: defaults: [override /scheduler: euler_a]"),
    ("sampler: Euler a Karras", "write: defaults: [override /scheduler: euler_a, override /schedule: karras]"),
    ("cfg_scale: 7", "write: guidance_scale: 7"),
    ("model: org/name", "write: checkpoint: {repo: org/name}"),
    ("size: 512x768", "write: width: 512 and height: 768"),
    ("size: [512, 768]", "write: width: 512 and height: 768"),
    ("CLIP skip: 2", "write: clip_skip: 1"),
    ("vae: org/vae", "write: checkpoint: {components: {vae: {repo: org/vae}}}"),
    ("lora: [{name: x, weight: 1}]", "LoRAs are not served yet"),
    ("strength: 0.5", "image to image) is not served yet"),
    ("components: {text_encoder: {path: x}}", "the key is checkpoint.components"),
    ("checkpoint: {components: {text_encoder: {path: x}}}", "Did you mean 'repo'?"),
    ("checkpoint: {path: x}", "Did you mean 'repo'?"),
    ("sweep: {cfg: [5, 7]}", "the key is guidance_scale"),
    ("sweep: {sampler: [Euler a, LMS]}", "the key is scheduler"),
]


@pytest.mark.parametrize(("text", "says"), FILED, ids=lambda value: value.split(":")[0].replace(" ", "_"))
def test_other_tools_keys_in_a_file_are_told_what_to_write(here, text, says) -> None:
    here.put("recipes/recipe/mine.yaml", text)
    message = " ".join(here.error("recipe=mine").split())
    assert message.startswith("recipes/recipe/mine.yaml:1 ") and says in message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "20"], "keys have no dashes: steps=20"),
        (["--num-images=3"], "keys have no dashes: num_images=3"),
        (["--cfg-scale", "7"], "write: guidance_scale=7"),
        (["--sampler", "Euler a", "seed=1"], "write: scheduler=euler_a"),
        (["--lora", "x"], "LoRAs are not served yet"),
    ],
    ids=lambda value: value[0],
)
def test_keys_given_as_options_are_told_what_to_type(here, words, says) -> None:
    code, _, err = here.run(*words)
    assert code == 2 and says in err and "allowed" not in err and "2 problems" not in err


def test_what_is_told_to_type_works(here) -> None:
    for word, says in TYPED:
        _, write, ours = says.partition("write: ")
        for one in ours.split(" ") if write and "org/" not in ours and "'" not in ours and "clip" not in ours else ():
            here.recipe("checkpoint=shapes", one)
        assert write or "=" not in says, word


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("components.text_encoder.path=x", "checkpoint.components.text_encoder.repo"),
        ("checkpoint.components.text_encoder.path=x", "checkpoint.components.text_encoder.repo"),
        ("checkpoint.componets.vae.repo=x", "checkpoint.components.vae.repo"),
        ("vae.path=x", "checkpoint.components.vae.repo"),
        ("outpt.dir=x", "output.dir"),
        ("noise.pth=brownian", "noise.path"),
        ("backend.dtpye=float16", "backend.dtype"),
        ("prmopt=x", "prompt"),
    ],
)
def test_a_slip_in_a_nested_key_is_told_the_key_of_its_section(here, word, meant) -> None:
    assert f"Did you mean '{meant}'?" in here.error(word)


@pytest.mark.parametrize("word", ["foo.path=x", "node.repo=x", "loar_x=1", "frobnicate=1", "model.path.x=1"])
def test_what_is_like_nothing_is_given_no_suggestion(here, word) -> None:
    message = here.error(word)
    assert "Did you mean" not in message and "the key is" not in message and "write:" not in message


def test_a_key_inside_one_value_is_told_that_it_is_one(here) -> None:
    assert "there is no key 'seed.x': 'seed' is one value" in here.error("seed.x=1")


@pytest.mark.parametrize(
    ("typed", "names", "meant"),
    [
        ("lora", ["format", "prompt"], None),  # four of ten letters
        ("vea", ["vae", "unet"], "vae"),  # neighbours changed places
        ("gpu", ["auto", "cpu"], "cpu"),  # one letter
        ("eulr", ["euler", "heun"], "euler"),
        ("stepz", ["steps", "seed"], "steps"),
        ("path", ["name", "dtype"], None),
    ],
)
def test_the_nearest_name_is_one_that_a_slip_leads_to(typed, names, meant) -> None:
    assert nearest(typed, names) == meant


def test_the_tables_lead_to_keys_there_are_and_name_no_key_twice() -> None:
    assert set(ELSEWHERE) <= {*key_paths(), *GROUPS}
    assert set(INSIDE) <= {path.rpartition(".")[2] for path in key_paths()}
    names = [name for table in (ELSEWHERE, NOT_SERVED) for group in table.values() for name in group]
    assert len(names) == len(set(names))
    assert not {path for path in key_paths() if "." not in path} & set(names)
