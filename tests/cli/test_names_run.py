"""Pictures drawn by another tool's name of a scheduler: the sampler, the levels, the ids and the bytes of our words."""

from __future__ import annotations

import json
from pathlib import Path

from runner.sweep.identity import image_id

QUICK = ("recipe=sd15", "checkpoint=shapes", "prompt=a large red star", "steps=3", "seed=7", "backend.threads=1")
NAMES = {  # a name: our words for it, the class that runs, and whether it visits Karras' levels
    "DPM++ 2M Karras": (("scheduler=dpmpp_2m_karras",), "DPMSolverMultistepScheduler", True),
    "Euler a": (("scheduler=euler_a",), "EulerAncestralDiscreteScheduler", False),
    "euler_ancestral": (("scheduler=euler_a",), "EulerAncestralDiscreteScheduler", False),
    "EulerDiscreteScheduler": (("scheduler=euler",), "EulerDiscreteScheduler", False),
    "Euler a Karras": (("scheduler=euler_a", "schedule=karras"), "EulerAncestralDiscreteScheduler", True),
}
KARRAS = [14.6146, 1.2741, 0.0292]
"""Three levels of Karras et al. 2022, eq. 5, rho 7: the middle one is ((14.6146^(1/7) + 0.029167^(1/7)) / 2)^7."""


def drawn(here, words: tuple[str, ...]) -> tuple[bytes, str, dict]:
    """The picture's file, the recipe and the manifest saved beside it."""
    code, out, err = here.run(*QUICK, *words)
    assert code == 0, err
    folder = Path(out.strip().splitlines()[-1])
    (picture,) = folder.glob("*.png")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return picture.read_bytes(), (folder / "recipe.yaml").read_text("utf-8"), manifest


def test_a_name_draws_byte_for_byte_what_our_words_draw(here) -> None:
    by_words: dict[tuple[str, ...], tuple[bytes, str, dict]] = {}
    for name, (words, cls, karras) in list(NAMES.items())[:4]:
        picture, recipe, manifest = drawn(here, (f"scheduler={name}",))
        if words not in by_words:
            by_words[words] = drawn(here, words)
        assert (picture, recipe) == by_words[words][:2], name
        assert manifest["scheduler"]["class"] == cls and f"name: {cls}" in recipe
        levels = [round(sigma, 4) for sigma in manifest["table"]["sigma"][:3]]
        assert (levels == KARRAS) is karras, levels
    assert len({picture for picture, *_ in by_words.values()}) == len(by_words)


def test_a_picture_has_the_same_id_by_either_name(here) -> None:
    for name, (words, *_) in NAMES.items():
        assert image_id(here.recipe(*QUICK, f"scheduler={name}"), "") == image_id(here.recipe(*QUICK, *words), "")
