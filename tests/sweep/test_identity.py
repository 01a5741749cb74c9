"""A picture's id is what it was: keys that came later count only where they are set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.bundled import DEMO_FOLDER
from runner.compose import load_file, to_yaml
from runner.compose.yaml_text import parse
from runner.plan import Planner
from runner.provenance import FileSums
from runner.schema import Recipe, key_paths, marks
from runner.sweep.identity import image_id, pin

HEART = {
    "name": "heart",
    "prompt": "a small red heart",
    "checkpoint": {"repo": "demo:shapes"},
    "scheduler": {"name": "ddim"},
}
SD = {"repo": "stable-diffusion-v1-5/stable-diffusion-v1-5", "revision": "main", "variant": "fp16"}
PARTS = {
    "vae": {"repo": "stabilityai/sd-vae-ft-mse", "subfolder": None},
    "scheduler": {"repo": "here", "revision": "x"},
}
AYS = {"timesteps": [999.0, 850.0, 736.0, 645.0, 545.0, 455.0, 343.0, 233.0, 124.0, 24.0], "final_sigma": "sigma_min"}

PINNED = "0123456789abcdef"
OLD: dict[str, dict[str, Any]] = {
    "a3c6b9187544a7c0": HEART,
    "9126a7648d541bdf": HEART | {"seed": 7, "num_images": 3, "batch_size": 2, "steps": 12},
    "8f4b0b9823c07b6e": HEART | {"prompt": "é猫", "negative_prompt": "", "height": 64, "guidance_scale": 3.5},
    "8bb5e06b9d7a6e70": HEART | {"scheduler": {"name": "euler", "use_karras_sigmas": True, "s_churn": 2.0}},
    "f47659c28a9aa8ca": HEART | {"schedule": AYS, "clip_skip": 1, "guidance_rescale": 0.7},
    "5ce9abace3dad31f": HEART | {"backend": {"name": "jax", "threads": 3}, "noise": {"path": "brownian"}},
    "5dc4f32ec6ecb454": HEART | {"checkpoint": SD, "backend": {"compile": True, "vae_tiling": True}},
    "fdac36a9824680da": HEART | {"checkpoint": SD | {"components": PARTS, "allow_pickle": True}},
    "ce70b394b06cb7bb": HEART | {"checkpoint": SD, "scheduler": {"name": "unipc", "prediction_type": "sample"}},
}
"""Recipes and the ids that their pictures had before any key was marked `later`."""

FACTS = {"prediction_type": "v_prediction", "zero_terminal_snr": True}


@pytest.mark.parametrize("name", OLD)
def test_what_was_drawn_before_there_were_further_keys_keeps_its_id(name: str) -> None:
    recipe = OLD[name]
    assert image_id(Recipe.model_validate(recipe), PINNED) == name
    spoken = recipe | {"checkpoint": recipe["checkpoint"] | dict.fromkeys(FACTS)}
    assert image_id(Recipe.model_validate(spoken), PINNED) == name


def test_so_does_a_picture_of_a_folders_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEMO_FOLDER / "shapes", "checkpoint")
    recipe = Recipe.model_validate(HEART | {"checkpoint": {"repo": "checkpoint"}, "steps": 3})
    assert image_id(recipe, pin(Planner().plan(recipe), FileSums())) == "505b6198cf0c2fdf"


@pytest.mark.parametrize("fact", FACTS)
def test_a_later_key_that_is_set_makes_another_picture_and_is_saved(fact: str, tmp_path: Path) -> None:
    plain = Recipe.model_validate(HEART)
    stated = Recipe.model_validate(HEART | {"checkpoint": HEART["checkpoint"] | {fact: FACTS[fact]}})
    assert image_id(plain, PINNED) != image_id(stated, PINNED)
    for recipe in (plain, stated):
        (tmp_path / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
        assert load_file(tmp_path / "recipe.yaml").base == recipe
    assert fact in to_yaml(stated) and fact in to_yaml(plain, whole=True)


def test_a_saved_recipe_has_no_later_key_that_says_nothing() -> None:
    """So that the recipe inside a picture, and with it the picture's bytes, are what they were."""
    later = {path for path, info in key_paths().items() if marks(info)["later"]}
    assert later >= {f"checkpoint.{fact}" for fact in FACTS}
    saved: Any = parse(to_yaml(Recipe.model_validate(HEART))).data
    assert not set(FACTS) & set(saved["checkpoint"])
