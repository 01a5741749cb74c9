"""Arguments that cannot work are told all at once, each by its name, before anything is computed; the others work."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from runner.errors import RecipeError

Pair = Callable[[str], tuple[Any, Any]]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def told(pipe: Any, **call: Any) -> dict[str, str]:
    """Argument → what is said of it."""
    with pytest.raises(RecipeError) as caught:
        pipe(**call)
    return {problem.where: problem.what for problem in caught.value.problems}


NONSENSE: dict[str, list[Any]] = {
    "num_inference_steps": [0, -1, 2.5, "4", True, None],
    "num_images_per_prompt": [0, -2, 1.0, None],
    "height": [7, 0, -8, "8", 12.0, 10**7],
    "width": [7, 2.5],
    "guidance_scale": ["7", float("nan"), None, 10**400],
    "guidance_rescale": [2.0, -0.1],
    "eta": ["x"],
    "clip_skip": [-1, 99, 1.0],
    "output_type": ["pill", None, 3],
    "prompt": [[], 3, ["a", 3], {"a": 1}],
    "negative_prompt": [3, ["a", "b"], "\ud800"],
    "timesteps": ["x", 3, [[1]], [None, "a"]],
    "sigmas": [["x"], -1.0],
    "generator": [3, [seeded(), 1], [seeded()] * 3],
    "latents": [torch.zeros(4, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 0, 8), 1],
    "callback_on_step_end": [3],
    "callback_on_step_end_tensor_inputs": [["latent"], "latents", 3],
    "callback_steps": [0, 1.5],
    "cross_attention_kwargs": [{"scale": 0.5}],
    "ip_adapter_image": [object()],
    "guidance_scal": [7.5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NONSENSE.items() for value in values])
def test_nonsense_is_told_by_its_name(pair: Pair, name: str, value: Any) -> None:
    assert name in told(pair("sd15")[0], **{"prompt": "a", name: value})


def test_all_problems_at_once(pair: Pair) -> None:
    found = told(
        pair("sd15")[0],
        prompt=[],
        prompt_embeds=torch.zeros(1, 77),
        num_inference_steps=0,
        height=7,
        num_images_per_prompt=0,
        output_type="x",
        guidance_scal=3,
    )
    names = {"prompt", "prompt_embeds", "num_inference_steps", "height", "num_images_per_prompt", "output_type"}
    assert set(found) == names | {"guidance_scal"}
    with pytest.raises(RecipeError, match=r"(?s)height: 7 is not.*timesteps: must descend"):
        pair("sd15")[0]("a", height=7, timesteps=[1, 2])


def test_what_is_wrong_with_sdxl(pair: Pair) -> None:
    found = told(
        pair("sdxl")[0],
        prompt_embeds=torch.zeros(1, 77, 48),
        negative_prompt_embeds=torch.zeros(1, 5, 48),
        negative_pooled_prompt_embeds=torch.zeros(24),
        prompt_2="a",
        original_size=5,
        target_size=(1, 2.5),
        denoising_end=0.8,
    )
    assert set(found) == {
        "prompt_embeds",
        "negative_prompt_embeds",
        "negative_pooled_prompt_embeds",
        "prompt_2",
        "original_size",
        "target_size",
        "denoising_end",
    }


def test_embeddings_are_one_for_each_prompt(pair: Pair) -> None:
    ours, _ = pair("sd15")
    found = told(ours, prompt=["a", "b"], negative_prompt_embeds=torch.zeros(1, 77, 32))
    assert found == {"negative_prompt_embeds": "1 rows are given for 2 prompts"}


def test_unconditional_ones(pair: Pair) -> None:
    call = {"batch_size": 0, "num_inference_steps": 0, "output_type": "latent"}
    assert set(told(pair("ddpm")[0], **call)) == set(call)
    call |= {"eta": 2.0}
    assert set(told(pair("ddim")[0], **call)) == set(call)
    assert set(told(pair("ddim")[0], batch_size=2, generator=[seeded()] * 3)) == {"generator"}


def test_encode_prompt_checks_as_a_call_does(pair: Pair) -> None:
    with pytest.raises(RecipeError, match="the list is empty"):
        pair("sd15")[0].encode_prompt([])
    with pytest.raises(RecipeError, match="the number of images is 0"):
        pair("sdxl")[0].encode_prompt("a", num_images_per_prompt=0)


def test_given_embeddings_go_through_encode_prompt(pair: Pair) -> None:
    ours, theirs = pair("sd15")
    embeds = torch.randn(2, 77, 32, generator=seeded())
    for found, expected in zip(
        ours.encode_prompt(None, None, 2, True, None, embeds),
        theirs.encode_prompt(None, "cpu", 2, True, None, embeds),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_latents_may_have_a_size_of_their_own(pair: Pair, kind: str) -> None:
    call = {"prompt": "a", "num_inference_steps": 2, "output_type": "np"}
    latents = torch.randn(1, 4, 6, 10, generator=seeded())
    found, expected = (pipe(latents=latents, generator=seeded(), **call).images for pipe in pair(kind))
    assert found.shape == expected.shape == (1, 24, 40, 3)
    assert np.abs(found - expected).max() <= 1 / 255
    assert set(told(pair(kind)[0], prompt="a", latents=latents, height=32)) == {"latents"}


def test_arguments_that_ask_for_nothing_are_taken(pair: Pair) -> None:
    ours, _ = pair("sd15")
    call = {"num_inference_steps": np.int64(1), "output_type": "latent", "cross_attention_kwargs": {}}
    assert ours("a", ip_adapter_image=None, guidance_scale=np.float32(2), **call).images.shape == (1, 4, 8, 8)


@pytest.mark.parametrize("spelling", ["numpy", "np.array"])
@pytest.mark.parametrize("kind", ["sd15", "ddim"])
def test_arrays_as_older_guides_ask_for_them(pair: Pair, kind: str, spelling: str) -> None:
    call = {"num_inference_steps": 1, "output_type": spelling} | ({"prompt": "a"} if kind == "sd15" else {})
    found, expected = (pipe(generator=seeded(), **call).images for pipe in pair(kind))
    assert isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)
    assert np.abs(found - expected).max() <= 1e-3


def test_no_callback_inputs_are_none(pair: Pair) -> None:
    call = {"callback_on_step_end": lambda *_: {}, "callback_on_step_end_tensor_inputs": None}
    assert pair("sd15")[0]("a", num_inference_steps=1, output_type="latent", **call).images.shape == (1, 4, 8, 8)
