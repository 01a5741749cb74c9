"""Prompt to picture with one text encoder, a conditional UNet and an autoencoder: Stable Diffusion 1.x and 2.x.

Which component does what, in order; how it is computed is the backend's. The safety checker some checkpoints bring is
not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.backends.base import Conditioning, Guidance

if TYPE_CHECKING:
    from runner.backends.base import Array, Backend
    from runner.schema import Recipe

Say = Callable[[str], None]

CLASSES = ("StableDiffusionPipeline",)
COMPONENTS = ("tokenizer", "text_encoder", "unet", "vae")
DEFAULT_STEPS = 50
# What this family expects of a scheduler whatever its file says (early checkpoints were published without it).
SCHEDULER_PATCH: Mapping[str, Any] = {"steps_offset": 1, "clip_sample": False}


def vae_factor(configs: Mapping[str, Mapping[str, Any]]) -> int:
    """Pixels per latent, along each side."""
    return 2 ** (len(configs["vae"]["block_out_channels"]) - 1)


def default_size(configs: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    """(height, width) in pixels that the checkpoint was trained for."""
    unet = configs["unet"]
    size = unet.get("sample_size") or 64
    height, width = size if isinstance(size, list | tuple) else (size, size)
    version = tuple(map(int, re.findall(r"\d+", str(unet.get("_diffusers_version", "1.0")))[:2]))
    if version < (0, 9):
        height, width = max(height, 64), max(width, 64)  # the first Stable Diffusion files say 32 and mean 64
    factor = vae_factor(configs)
    return height * factor, width * factor


def guidance(recipe: Recipe, configs: Mapping[str, Mapping[str, Any]]) -> Guidance:
    """The recipe's guidance, told to the network where the network was distilled for that."""
    embedded = configs["unet"].get("time_cond_proj_dim") is not None
    return Guidance(recipe.guidance_scale, recipe.guidance_rescale, embedded)


def encode(backend: Backend, parts: Mapping[str, Any], recipe: Recipe, guidance: Guidance, say: Say) -> Conditioning:
    """The prompt, and the negative prompt where guidance needs one. Clip skip is for the prompt alone."""
    positive = _encode_one(backend, parts, recipe.prompt, "prompt", recipe.clip_skip, say)
    if not guidance.doubles:
        return Conditioning(positive, None)
    negative = _encode_one(backend, parts, recipe.negative_prompt or "", "negative_prompt", None, say)
    return Conditioning(positive, negative)


def decode(backend: Backend, parts: Mapping[str, Any], latents: Array) -> np.ndarray:
    """Latents to pictures (B, H, W, 3) uint8."""
    return backend.decode(parts["vae"], latents)


def _encode_one(backend: Backend, parts: Mapping[str, Any], text: str, key: str, skip: int | None, say: Say) -> Array:
    tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
    length = tokenizer.model_max_length
    kept = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="np")
    whole = tokenizer(text, padding="longest", return_tensors="np", verbose=False).input_ids
    if whole.shape[-1] > length:
        removed = tokenizer.decode(whole[0, length - 1 : -1])
        say(f"{key}: the text encoder reads {length} tokens, so this part was left out: {removed!r}")
    mask = kept.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    return backend.encode_text(encoder, np.asarray(kept.input_ids), mask, skip)
