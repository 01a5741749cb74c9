"""Recipes on every kind of checkpoint give the pictures of the reference library: within 1/255, everywhere.

Expected pictures: diffusers' pipeline of the checkpoint's class in float32 on the CPU, one generator per image.
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

from runner.errors import RecipeError
from runner.execute import RunResult

Run = Callable[..., RunResult]
Family = Callable[[str], Path]
PROMPT = "a large red star"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    diffusers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@cache
def _reference(folder: Path) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected(folder: Path, scheduler: str, *, count: int = 1, seed: int = 11, **call: Any) -> np.ndarray:
    """What the reference library draws, (B, H, W, 3) in 0 .. 255."""
    pipe = _reference(folder)
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    images = pipe(generator=generators, output_type="np", **call).images
    return np.round(images * 255).astype(int)


def agree(found: RunResult, wanted: np.ndarray) -> None:
    got = pixels(found)
    assert got.shape == wanted.shape
    assert got.std() > 10  # not a flat picture that anything would equal
    assert np.abs(got - wanted).max() <= 1


CALLS: dict[str, dict[str, Any]] = {
    "no guidance": {"guidance_scale": 1.0},
    "guidance": {"guidance_scale": 7.5},
    "empty negative prompt": {"guidance_scale": 5.0, "negative_prompt": ""},
    "negative prompt, rescaled, odd size": {
        "negative_prompt": "small, blurry",
        "guidance_scale": 5.0,
        "guidance_rescale": 0.7,
        "height": 40,
        "width": 24,
    },
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["sd15", "sd21", "lcm", "sdxl", "sdxl_no_zeros", "turbo"])
def test_prompts_give_the_same_picture(family: Family, run: Run, kind: str, call: str) -> None:
    folder = family(kind)
    scheduler = type(_reference(folder).scheduler).__name__
    wanted = expected(
        folder, scheduler, prompt=PROMPT, num_inference_steps=4, num_images_per_prompt=2, count=2, **CALLS[call]
    )
    agree(run(checkpoint={"repo": str(folder)}, scheduler={"name": scheduler}, num_images=2, **CALLS[call]), wanted)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize("kind", ["sd21", "sdxl"])
def test_other_schedulers_than_the_checkpoints_own(family: Family, run: Run, kind: str, scheduler: str) -> None:
    """v-prediction among them, which each scheduler must take over from the checkpoint."""
    folder = family(kind)
    wanted = expected(folder, scheduler, prompt=PROMPT, num_inference_steps=5, guidance_scale=4.0)
    agree(
        run(checkpoint={"repo": str(folder)}, scheduler={"name": scheduler}, steps=5, guidance_scale=4.0),
        wanted,
    )


@pytest.mark.parametrize("skip", [0, 1])
def test_clip_skip_of_sdxl(family: Family, run: Run, skip: int) -> None:
    folder = family("sdxl")
    wanted = expected(
        folder, "EulerDiscreteScheduler", prompt=PROMPT, num_inference_steps=4, guidance_scale=4.0, clip_skip=skip
    )
    found = run(
        checkpoint={"repo": str(folder)},
        scheduler={"name": "EulerDiscreteScheduler"},
        guidance_scale=4.0,
        clip_skip=skip,
    )
    agree(found, wanted)


def test_one_step_of_turbo(family: Family, run: Run) -> None:
    folder = family("turbo")
    call: dict[str, Any] = {"guidance_scale": 0.0}
    wanted = expected(folder, "EulerAncestralDiscreteScheduler", prompt=PROMPT, num_inference_steps=1, **call)
    scheduler = {"name": "EulerAncestralDiscreteScheduler"}
    agree(run(checkpoint={"repo": str(folder)}, scheduler=scheduler, steps=1, **call), wanted)


def test_sdxl_of_its_second_encoder_alone(family: Family, tmp_path: Path, run: Run) -> None:
    """As the refiner has it: the index says null of the first encoder, and the UNet attends to the second alone."""
    torch.manual_seed(1)
    folder = altered(family("sdxl"), tmp_path, "model_index.json", tokenizer=[None, None], text_encoder=[None, None])
    config = dict(diffusers.UNet2DConditionModel.load_config(folder / "unet")) | {"cross_attention_dim": 16}
    diffusers.UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    wanted = expected(folder, "EulerDiscreteScheduler", prompt=PROMPT, num_inference_steps=3, guidance_scale=4.0)
    scheduler = {"name": "EulerDiscreteScheduler"}
    agree(run(checkpoint={"repo": str(folder)}, scheduler=scheduler, steps=3, guidance_scale=4.0), wanted)


UNPROMPTED = {"prompt": "", "num_images": 2, "steps": 6}


def test_ddpm_in_the_flat_layout_with_old_names(family: Family, run: Run) -> None:
    folder = family("ddpm")
    wanted = expected(folder, "DDPMScheduler", batch_size=2, num_inference_steps=6, count=2)
    agree(run(checkpoint={"repo": str(folder)}, scheduler={"name": "DDPMScheduler"}, **UNPROMPTED), wanted)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim(family: Family, run: Run, eta: float) -> None:
    folder = family("ddim")
    wanted = expected(folder, "DDIMScheduler", batch_size=2, num_inference_steps=6, count=2, eta=eta)
    agree(run(checkpoint={"repo": str(folder)}, scheduler={"name": "DDIMScheduler", "eta": eta}, **UNPROMPTED), wanted)


class TestRefused:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("prompt", "a cat"),
            ("negative_prompt", "blurry"),
            ("guidance_scale", 3.0),
            ("guidance_rescale", 0.5),
            ("clip_skip", 1),
        ],
    )
    def test_what_speaks_of_prompts_where_there_are_none(
        self, family: Family, run: Run, key: str, value: object
    ) -> None:
        with pytest.raises(RecipeError, match=f"{key}: this checkpoint knows no prompt") as caught:
            run(checkpoint={"repo": str(family("ddpm"))}, **UNPROMPTED | {key: value})
        assert len(caught.value.problems) == 1

    def test_an_unknown_pipeline_with_the_ones_there_are(self, family: Family, tmp_path: Path, run: Run) -> None:
        folder = altered(family("ddim"), tmp_path, "model_index.json", _class_name="DDIMPipelin")
        with pytest.raises(RecipeError, match="Did you mean 'DDIMPipeline'") as caught:
            run(checkpoint={"repo": str(folder)}, **UNPROMPTED)
        assert {"DDIMPipeline", "DDPMPipeline", "StableDiffusionPipeline", "StableDiffusionXLPipeline"} <= set(
            caught.value.problems[0].allowed
        )

    def test_an_sdxl_unet_in_a_pipeline_without_pooled_text(self, family: Family, tmp_path: Path, run: Run) -> None:
        folder = altered(family("sdxl"), tmp_path, "model_index.json", _class_name="StableDiffusionPipeline")
        with pytest.raises(RecipeError, match="the UNet wants text_time conditions"):
            run(checkpoint={"repo": str(folder)})

    def test_components_of_sdxl_that_do_not_fit(self, family: Family, tmp_path: Path, run: Run) -> None:
        folder = altered(family("sdxl"), tmp_path, "text_encoder_2/config.json", projection_dim=20, hidden_size=20)
        with pytest.raises(RecipeError) as caught:
            run(checkpoint={"repo": str(folder)}, clip_skip=3)
        said = str(caught.value)
        assert "attends to 48 numbers a token, but the text encoders give 32 and 20" in said
        assert "takes 72 numbers of pooled text and sizes, but gets 20 of text_encoder_2" in said
        assert "clip_skip: 3 leaves none of the 3 layers" in said

    def test_a_sum_learned_beside_the_mean(self, family: Family, tmp_path: Path, run: Run) -> None:
        folder = altered(family("ddim"), tmp_path, "unet/config.json", out_channels=6)
        with pytest.raises(RecipeError, match="a learned variance is not read"):
            run(checkpoint={"repo": str(folder)}, **UNPROMPTED)
