"""The calls that save memory, by the names that scripts use: the pictures stay what they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner import DiffusionPipeline
from runner.errors import RecipeError

Family = Callable[[str], Path]
Pair = Callable[[str], tuple[Any, Any]]


def draw(pipe: Any, **call: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    return pipe("a cat", generator=generator, num_inference_steps=2, output_type="np", **call).images


@pytest.mark.parametrize("call", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_offloading(family: Family, pair: Pair, kind: str, call: str) -> None:
    expected = draw(pair(kind)[0])
    pipe = DiffusionPipeline.from_pretrained(family(kind))
    getattr(pipe, call)("cpu")
    assert pipe.device == torch.device("cpu")
    np.testing.assert_array_equal(draw(pipe), expected)
    pipe.unet = DiffusionPipeline.from_pretrained(family(kind)).unet  # what comes later takes turns as well
    np.testing.assert_array_equal(draw(pipe), expected)


def test_offloading_is_refused_where_it_cannot_be(family: Family) -> None:
    pipe = DiffusionPipeline.from_pretrained(family("sd15"))
    with pytest.raises(RecipeError, match="'cuda:99' is not on this machine"):
        pipe.enable_model_cpu_offload("cuda:99")
    pipe.enable_model_cpu_offload("cpu")
    with pytest.raises(ValueError, match="offloading is on already"):
        pipe.enable_sequential_cpu_offload("cpu")
    with pytest.raises(ValueError, match="leave the device out"):
        pipe.to("cpu")
    assert pipe.to(torch.float32) is pipe


def test_slicing_and_tiling_equal_those_of_diffusers(pair: Pair) -> None:
    ours, theirs = pair("sd15")
    for pipe in (ours, theirs):
        pipe.vae.enable_slicing()
        pipe.vae.enable_tiling()
    try:
        found, wanted = (draw(pipe, height=48, width=64, num_images_per_prompt=2) for pipe in (ours, theirs))
    finally:
        ours.disable_vae_slicing()
        ours.disable_vae_tiling()
        theirs.vae.disable_slicing()
        theirs.vae.disable_tiling()
    assert found.shape == (2, 48, 64, 3)
    assert np.abs(found - wanted).max() <= 1 / 255
    assert np.abs(found - draw(ours, height=48, width=64, num_images_per_prompt=2)).max() > 1 / 255  # seams
