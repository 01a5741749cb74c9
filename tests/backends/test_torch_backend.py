"""The torch backend's own arithmetic: guidance, its embedding, which device and dtype it takes, how weights lie."""

import gc

import numpy as np
import pytest
import torch

from runner.backends import torch as torch_backend
from runner.backends.base import Guidance
from runner.backends.torch import load_component, pick_device, pick_dtype
from runner.backends.torch_guidance import guidance_embedding, guide
from runner.errors import RecipeError
from runner.plan import make_plan
from runner.schema import Recipe
from runner.session import uncollected


def test_guidance_moves_from_without_to_with_the_prompt() -> None:
    without, with_prompt = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    torch.testing.assert_close(guide(without, with_prompt, Guidance(1.0)), with_prompt)
    torch.testing.assert_close(guide(without, with_prompt, Guidance(3.0)), without + 3 * (with_prompt - without))


def test_full_rescaling_gives_each_image_the_contrast_of_its_prompted_output() -> None:
    """arXiv 2305.08891, equation 15 with phi = 1: the standard deviation of each image is that of the prompt."""
    without, with_prompt = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    with_prompt = with_prompt * torch.tensor([0.5, 1.0, 4.0]).view(-1, 1, 1, 1)
    out = guide(without, with_prompt, Guidance(7.5, rescale=1.0))
    torch.testing.assert_close(out.std((1, 2, 3)), with_prompt.std((1, 2, 3)))


def test_guidance_is_off_at_one_and_when_the_network_is_told_it() -> None:
    assert Guidance(1.01).doubles
    assert not Guidance(1.0).doubles
    assert not Guidance(7.5, embedded=True).doubles


def test_the_embedded_guidance_scale_is_sines_then_cosines() -> None:
    """By the definition in float64: frequencies exp(-ln 10000 · k / (half - 1)) of 1000 w."""
    found = guidance_embedding(6.5, 8).double().numpy()
    angles = 6500 * np.exp(-np.log(10000.0) * np.arange(4) / 3)
    np.testing.assert_allclose(found, [[*np.sin(angles), *np.cos(angles)]], atol=1e-3)  # float32 angles up to 6500
    assert guidance_embedding(1.0, 7).shape == (1, 7)


def test_auto_is_a_device_that_is_here() -> None:
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(RecipeError, match=r"backend\.device: 'cuda:99' is not on this machine") as caught:
        pick_device("cuda:99")
    assert "cpu" in caught.value.problems[0].allowed


def test_auto_is_float32_on_a_cpu() -> None:
    assert pick_dtype("auto", torch.device("cpu")) == "float32"
    assert pick_dtype("bfloat16", torch.device("cpu")) == "bfloat16"


def test_a_small_network_has_its_weights_laid_as_convolutions_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        "name": "x",
        "checkpoint": {"repo": "demo:shapes"},
        "scheduler": {"name": "euler"},
        "prompt": "a star",
        "steps": 1,
    }
    files = make_plan(Recipe.model_validate(keys)).components["unet"]

    def innermost_channels() -> bool:
        weight = (
            load_component("unet", files, torch.device("cpu"), torch.float32).down_blocks[0].resnets[0].conv1.weight
        )
        return weight.is_contiguous(memory_format=torch.channels_last)

    assert innermost_channels()
    monkeypatch.setattr(torch_backend, "MOST_ARRANGED", 1 << 20)  # less than the demo's 27 MB
    assert not innermost_channels()


def test_garbage_is_collected_again_after_loading_and_after_a_failure() -> None:
    for error in (None, ZeroDivisionError):
        try:
            with uncollected():
                assert not gc.isenabled()
                if error:
                    raise error
        except ZeroDivisionError:
            pass
        assert gc.isenabled()
