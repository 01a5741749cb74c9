"""A pipeline from Python, called with default arguments, draws what the reference library's draws and what a recipe
draws, with every scheduler: pictures within 1/255, on the bundled checkpoint.

All of them: pytest -m slow tests/python_face/test_schedulers.py. Callbacks that change latents in place are among them.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import runner
from components.schedulers import scheduler_classes
from runner.execute import execute
from runner.outputs import read_pixels
from runner.schema import Recipe

DEMO = Path(importlib.util.find_spec("runner.demo").origin).parent / "shapes"  # type: ignore[union-attr, arg-type]
PROMPT, STEPS, SEED = "a red circle", 3, 3
NOT_RUN_THERE = {
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "UnCLIPScheduler",
}
"""What the reference library's StableDiffusionPipeline fails with on this checkpoint; a test holds it to that."""
BROWNIAN = "DPMSolverSDEScheduler"
ALL = [name for name in scheduler_classes() if name not in NOT_RUN_THERE]
QUICK = ["TCDScheduler", "DPMSolverSDEScheduler", "KDPM2AncestralDiscreteScheduler", "UniPCMultistepScheduler"]
SAMPLE = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ALL]

FITTING = [name for name, cls in scheduler_classes().items() if cls.fits == "training clock" and not cls.ascending]
"""Recipes refuse the others for this checkpoint: they are for other networks, or go from pictures to noise."""
OF_RECIPES = [one for one in SAMPLE if one.values[0] in FITTING]


@cache
def pipelines() -> tuple[Any, Any, Any]:
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(DEMO, torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    return runner.DiffusionPipeline.from_pretrained("demo:shapes"), theirs, theirs.scheduler.config


def with_scheduler(name: str, **options: Any) -> tuple[Any, Any]:
    """(ours, theirs) with a scheduler of this name, made by the guides' idiom."""
    ours, theirs, config = pipelines()
    ours.scheduler = getattr(runner, name).from_config(config, **options)
    theirs.scheduler = getattr(diffusers, name).from_config(config, **options)
    return ours, theirs


def draw(pipe: Any, **call: Any) -> Any:
    generator = torch.Generator().manual_seed(SEED)
    return pipe(**{"prompt": PROMPT, "num_inference_steps": STEPS, "output_type": "np", "generator": generator, **call})


def close(found: Any, expected: Any) -> None:
    assert np.abs(found - expected).max() <= 1 / 255
    assert expected.std() > 0.02


def in_place(pipe: Any, row: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    tensors["latents"].mul_(0.98).add_(0.02)
    return {}


@pytest.mark.parametrize("name", SAMPLE)
def test_the_reference_librarys_pictures(name: str) -> None:
    """Where its path takes no generator of the caller's, ours has that of torch, or the configured seed, as well."""
    seeds = {"noise_sampler_seed": 7} if name == BROWNIAN else {}
    ours, theirs = with_scheduler(name, **seeds)
    plain = draw(ours).images
    close(plain, draw(theirs).images)
    changed = draw(ours, callback_on_step_end=in_place).images
    close(changed, draw(theirs, callback_on_step_end=in_place).images)
    assert np.abs(changed - plain).max() > 0.05


@pytest.mark.parametrize("name", OF_RECIPES)
def test_a_recipes_picture(name: str, tmp_path: Path) -> None:
    ours, _ = with_scheduler(name)
    own = {"eta": 0.0} if "eta" in ours.scheduler.options() else {}
    recipe = {
        "name": "same",
        "checkpoint": {"repo": "demo:shapes"},
        "scheduler": {"name": name, **own},
        "backend": {"device": "cpu", "dtype": "float32", "threads": 1},
        "output": {"dir": str(tmp_path)},
        "prompt": PROMPT,
        "steps": STEPS,
        "seed": SEED,
        "guidance_scale": 7.5,
    }
    (path,) = execute(Recipe.model_validate(recipe), progress=False).images
    found = np.asarray(draw(ours, output_type="pil").images[0]).astype(int)
    assert np.abs(found - read_pixels(path).astype(int)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NOT_RUN_THERE))
def test_those_that_are_left_out_fail_there(name: str) -> None:
    _, theirs, config = pipelines()
    with pytest.raises((AttributeError, ValueError)):
        theirs.scheduler = getattr(diffusers, name).from_config(config)
        draw(theirs)


class TestTheBrownianPath:
    """Of DPMSolverSDE: its seed is the configured one, else the generator's, else torch's own draws it."""

    def call(self, pipe: Any, generator: Any, prompt: Any = PROMPT) -> Any:
        return pipe(prompt, num_inference_steps=2, generator=generator, output_type="latent", guidance_scale=1.0).images

    def test_without_a_generator_it_is_torchs(self) -> None:
        found = []
        for pipe in with_scheduler(BROWNIAN):
            torch.manual_seed(5)
            found.append(self.call(pipe, None))
        torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("seed", [7, [7, 8]])
    def test_a_configured_seed_for_all_or_one_for_each(self, seed: Any) -> None:
        found = [
            self.call(pipe, [torch.Generator().manual_seed(i) for i in (1, 2)], ["a", "b"])
            for pipe in with_scheduler(BROWNIAN, noise_sampler_seed=seed)
        ]
        torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)

    def test_each_image_of_a_batch_is_that_of_its_own_generator(self) -> None:
        ours, _ = with_scheduler(BROWNIAN)
        both = self.call(ours, [torch.Generator().manual_seed(i) for i in (1, 2)], ["a", "b"])
        for i, prompt in enumerate(("a", "b")):
            alone = self.call(ours, torch.Generator().manual_seed(i + 1), prompt)
            torch.testing.assert_close(both[i : i + 1], alone, atol=1e-3, rtol=1e-3)

    def test_as_many_seeds_as_images(self) -> None:
        ours, _ = with_scheduler(BROWNIAN, noise_sampler_seed=[1, 2])
        with pytest.raises(ValueError, match=r"scheduler.noise_sampler_seed: 2 seeds are configured for 1 images"):
            self.call(ours, None)


def test_eta_is_none_unless_somebody_says_one() -> None:
    """Of TCD and DDIM: the call's, else what the scheduler was made with, else 0."""
    ours, theirs = with_scheduler("TCDScheduler")
    close(draw(ours, eta=0.5).images, draw(theirs, eta=0.5).images)
    plain = draw(ours).images
    ours.scheduler = runner.TCDScheduler.from_config(ours.scheduler.config, eta=0.3)
    made = draw(ours).images
    assert np.abs(made - plain).max() > 0.05
    np.testing.assert_array_equal(made, draw(with_scheduler("TCDScheduler")[0], eta=0.3).images)
