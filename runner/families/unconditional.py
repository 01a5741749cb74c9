"""Noise to picture by a U-Net that knows no prompt and works on the pixels themselves: DDPM and DDIM.

Ho et al. 2020, arXiv 2006.11239. There is nothing to encode and nothing to decode. The two classes differ only in the
scheduler they would bring; a recipe names its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.model_config import UNet2DConfig
from runner.backends.base import Guidance
from runner.conditions import Conditions
from runner.errors import Problem
from runner.families.base import Configs, Family, Say, Scale, Wish

if TYPE_CHECKING:
    from runner.backends.base import Backend
    from runner.schema import Recipe

PROMPT_KEYS = ("prompt", "negative_prompt", "guidance_scale", "guidance_rescale", "clip_skip")


def refusals(recipe: Recipe, configs: Configs) -> list[Problem]:
    """Keys about prompts that say something, and a size that nobody says."""
    unet = configs["unet"]
    found = [
        Problem(
            key,
            "this checkpoint knows no prompt: it draws whatever it was trained on",
            hint=f"leave {key} out, or take a checkpoint that reads prompts",
        )
        for key in PROMPT_KEYS
        if getattr(recipe, key) not in (type(recipe).model_fields[key].default, "")
    ]
    if unet.sample_size is None and not (recipe.height and recipe.width):
        found.append(Problem("height", "the checkpoint does not say its size, so height and width must"))
    return found


def misfits(clip_skip: int | None, configs: Configs) -> list[Problem]:
    """A network whose output is no image like its input, or no picture at all."""
    unet, found = configs["unet"], []
    if unet.out_channels != unet.in_channels:
        what = f"the UNet makes {unet.out_channels} channels of {unet.in_channels}: a learned variance is not read"
        found.append(Problem("checkpoint", what))
    if unet.in_channels not in (1, 3):
        found.append(Problem("checkpoint", f"the UNet makes {unet.in_channels} channels, but a picture has 3 or 1"))
    return found


def size(configs: Configs) -> tuple[int, int]:
    """The network's."""
    side = configs["unet"].sample_size or 1
    return side if isinstance(side, tuple) else (side, side)


def guidance(scale: Scale, rescale: float, configs: Configs) -> Guidance:
    """None: there is no prompt to follow."""
    return Guidance(1.0)


def encode(backend: Backend, parts: Mapping[str, Any], wish: Wish, guidance: Guidance, say: Say) -> Conditions:
    """Nothing steers the network."""
    return Conditions()


UNCONDITIONAL = Family(
    classes=("DDPMPipeline", "DDIMPipeline"),
    components=("unet",),
    models={"unet": ("UNet2DModel", UNet2DConfig)},
    misfits=misfits,
    refusals=refusals,
    size=size,
    guidance=guidance,
    encode=encode,
)
