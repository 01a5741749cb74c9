"""The same checkpoint, prompt and seed give the picture that the reference library gives: within 1/255, everywhere.

Expected pictures: diffusers' StableDiffusionPipeline in float32 on the CPU, one generator per image.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tiny_checkpoint import altered, pixels

from components.schedulers import scheduler_classes
from runner.errors import RecipeError
from runner.execute import RunResult

SCHEDULERS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {},
    "DDIMScheduler": {},
    "DDIMScheduler eta": {"eta": 1.0},
    "PNDMScheduler": {},
    "PNDMScheduler with Runge-Kutta start": {"skip_prk_steps": False},
    "LMSDiscreteScheduler": {},
    "EulerDiscreteScheduler": {},
    "EulerDiscreteScheduler karras": {"use_karras_sigmas": True},
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "DPMSolverMultistepScheduler sde": {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    "DPMSolverMultistepScheduler third order": {"solver_order": 3, "solver_type": "heun"},
}
CALLS: dict[str, dict[str, Any]] = {
    "no guidance": {"guidance_scale": 1.0},
    "guidance": {"guidance_scale": 7.5},
    "negative prompt, rescaled, odd size": {
        "negative_prompt": "small, blurry",
        "guidance_scale": 5.0,
        "guidance_rescale": 0.7,
        "height": 40,
        "width": 24,
    },
    "three images": {"num_images": 3, "guidance_scale": 4.0},
}


@cache
def _reference(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what it says of early scheduler files is the point here
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected_pixels(folder: Path, scheduler: str, options: dict[str, Any], **keys: Any) -> np.ndarray:
    """What the reference library draws, (B, H, W, 3)."""
    pipe = _reference(folder)
    count, seed = keys.pop("num_images", 1), keys.pop("seed", 11)
    eta = options.get("eta", 0.0)
    options = {name: value for name, value in options.items() if name != "eta"}
    original = pipe.scheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options or scheduler != type(original).__name__:  # nobody remakes the scheduler that is there already
            pipe.scheduler = getattr(diffusers, scheduler).from_config(original.config, **options)
        try:
            images = pipe(
                keys.pop("prompt", "a large red star"),
                num_inference_steps=keys.pop("steps", 4),
                num_images_per_prompt=count,
                generator=[torch.Generator().manual_seed(seed + i) for i in range(count)],
                output_type="np",
                eta=eta,
                **keys,
            ).images
        finally:
            pipe.scheduler = original
    return np.round(images * 255).astype(int)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    diffusers.utils.logging.set_verbosity_error()
    yield


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_same_picture(tiny: Path, run: Callable[..., RunResult], scheduler: str, call: str) -> None:
    name, options = scheduler.split()[0], SCHEDULERS[scheduler]
    expected = expected_pixels(tiny, name, options, **CALLS[call])
    found = pixels(run(scheduler={"name": name, **options}, **CALLS[call]))
    assert found.shape == expected.shape
    assert found.std() > 10  # not a flat picture that anything would equal
    assert np.abs(found - expected).max() <= 1


NOT_COMPARED = {"UnCLIPScheduler", "DPMSolverSDEScheduler"}
"""The first refuses SD's betas, here and there; the other draws one Brownian path for a whole batch there."""


@pytest.mark.parametrize(
    "scheduler",
    [name for name, cls in scheduler_classes().items() if cls.fits == "training clock" and name not in NOT_COMPARED],
)
def test_every_scheduler_there_is_gives_the_reference_picture(
    tiny: Path, run: Callable[..., RunResult], scheduler: str
) -> None:
    """Also those nobody listed above: a scheduler that is dropped into its folder is tested here."""
    keys = {"num_images": 2, "guidance_scale": 5.0, "steps": 5}
    options = {"eta": 0.0} if scheduler == "TCDScheduler" else {}  # the pipeline there says so, whatever TCD's default
    expected = expected_pixels(tiny, scheduler, options, **keys)
    assert np.abs(pixels(run(scheduler={"name": scheduler, **options}, **keys)) - expected).max() <= 1


def test_a_scheduler_for_another_kind_of_network_is_refused_by_name(run: Callable[..., RunResult]) -> None:
    with pytest.raises(RecipeError, match="is FlowMatchEulerDiscreteScheduler, for networks of the kind 'flow'"):
        run(scheduler={"name": "FlowMatchEulerDiscreteScheduler"})


def test_brownian_noise_is_each_images_own(run: Callable[..., RunResult]) -> None:
    both = pixels(run(scheduler={"name": "DPMSolverSDEScheduler"}, num_images=2, seed=3, steps=5))
    second = pixels(run(scheduler={"name": "DPMSolverSDEScheduler"}, seed=4, steps=5))
    assert np.abs(both[1:] - second).max() <= 1 and np.abs(both[0] - both[1]).max() > 10


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize(
    "said", [{"steps_offset": 0, "clip_sample": True}, {"steps_offset": None, "clip_sample": None}]
)
def test_early_scheduler_files_are_read_as_the_reference_reads_them(
    tiny: Path, tmp_path: Path, run: Callable[..., RunResult], scheduler: str, said: dict[str, Any]
) -> None:
    """The reference pipeline corrects such files at loading; the correction survives a change of scheduler, or not."""
    old = altered(tiny, tmp_path, "scheduler/scheduler_config.json", **said)
    expected = expected_pixels(old, scheduler, {})
    found = pixels(run(checkpoint={"repo": str(old)}, scheduler={"name": scheduler}))
    assert np.abs(found - expected).max() <= 1


def test_embeddings_of_a_long_prompt_are_those_of_what_fits(tiny: Path, run: Callable[..., RunResult]) -> None:
    prompt = "x" * 75 + "abc def"
    expected = expected_pixels(tiny, "DDIMScheduler", {}, prompt=prompt)
    assert np.abs(pixels(run(prompt=prompt)) - expected).max() <= 1
