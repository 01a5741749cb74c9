"""Noise to picture by a U-Net that knows no prompt and works on the pixels themselves: DDPM and DDIM.

Ho et al. 2020, arXiv 2006.11239. There is nothing to encode and nothing to decode. The two classes differ only in the
scheduler they would bring; a recipe names its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.model_config import UNet2DConfig
from runner.backends.base import Conditioning, Guidance
from runner.errors import Problem

if TYPE_CHECKING:
    from runner.backends.base import Array, Backend
    from runner.pipelines.base import Configs, Say, Wish
    from runner.schema import Recipe

CLASSES = ("DDPMPipeline", "DDIMPipeline")
COMPONENTS = ("unet",)
OPTIONAL = ()
MODELS = {"unet": ("UNet2DModel", UNet2DConfig)}
SCHEDULER_PATCH: Mapping[str, Any] = {}
PROMPT_KEYS = ("prompt", "negative_prompt", "guidance_scale", "guidance_rescale", "clip_skip")


def problems(recipe: Recipe, configs: Configs) -> list[Problem]:
    """Keys about prompts that say something, and a network whose output is not an image like its input."""
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
    if unet.out_channels != unet.in_channels:
        what = f"the UNet makes {unet.out_channels} channels of {unet.in_channels}: a learned variance is not read"
        found.append(Problem("checkpoint", what))
    if unet.in_channels not in (1, 3):
        found.append(Problem("checkpoint", f"the UNet makes {unet.in_channels} channels, but a picture has 3 or 1"))
    if unet.sample_size is None and not (recipe.height and recipe.width):
        found.append(Problem("height", "the checkpoint does not say its size, so height and width must"))
    return found


def vae_factor(configs: Configs) -> int:
    """See `Pipeline.vae_factor`: the network sees pixels."""
    return 1


def default_size(configs: Configs) -> tuple[int, int]:
    """See `Pipeline.default_size`."""
    size = configs["unet"].sample_size or 1
    return size if isinstance(size, tuple) else (size, size)


def latent_channels(configs: Configs) -> int:
    """Channels of the image."""
    return configs["unet"].in_channels


def guidance(scale: float, rescale: float, configs: Configs) -> Guidance:
    """None: there is no prompt to follow."""
    return Guidance(1.0)


def encode(backend: Backend, parts: Mapping[str, Any], wish: Wish, guidance: Guidance, say: Say) -> Conditioning:
    """Nothing steers the network."""
    return Conditioning(None, None)


def decode(backend: Backend, parts: Mapping[str, Any], latents: Array) -> Array:
    """See `Pipeline.decode`."""
    return backend.decode(None, latents)
