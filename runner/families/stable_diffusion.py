"""Prompt to picture with one text encoder, a conditional UNet and an autoencoder: Stable Diffusion 1.x, 2.x, LCM.

Which component does what, in order; how it is computed is the backend's. The safety checker some checkpoints bring is
not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.config_values import ModelConfig
from components.model_config import AutoencoderKLConfig, UNet2DConditionConfig
from runner.backends.base import Guidance
from runner.backends.network_call import CONTEXT
from runner.conditions import Conditions
from runner.errors import Problem
from runner.families.base import Configs, Family, Say, Scale, Wish

if TYPE_CHECKING:
    from runner.backends.base import Backend
    from runner.conditions import Named

MODELS: Mapping[str, tuple[str, type[ModelConfig]]] = {
    "unet": ("UNet2DConditionModel", UNet2DConditionConfig),
    "vae": ("AutoencoderKL", AutoencoderKLConfig),
}


def misfits(clip_skip: int | None, configs: Configs) -> list[Problem]:
    """Components that do not fit one another, and a clip skip that leaves no layer."""
    unet, text = configs["unet"], configs.get("text_encoder", {})  # a pipeline in Python may do without
    found = latent_misfits(configs)

    def refuse(where: str, what: str) -> None:
        found.append(Problem(where=where, what=what))

    width = text.get("hidden_size")
    if width is not None and set(unet.per_block("cross_attention_dim")) != {width}:
        wanted = unet.cross_attention_dim
        refuse("checkpoint", f"the UNet attends to {wanted} numbers a token, but the text encoder gives {width}")
    if unet.addition_embed_type is not None:
        refuse("checkpoint", f"the UNet wants {unet.addition_embed_type} conditions, which this pipeline has not")
    layers = text.get("num_hidden_layers", 12)
    if clip_skip is not None and clip_skip > layers:
        refuse("clip_skip", f"{clip_skip} is more than the {layers} layers of the text encoder")
    return found


def latent_misfits(configs: Configs) -> list[Problem]:
    """A UNet and a VAE that do not speak of the same latents."""
    unet, vae = configs["unet"], configs["vae"]
    if unet.in_channels == vae.latent_channels == unet.out_channels:
        return []
    what = (
        f"the UNet takes {unet.in_channels} channels and gives {unet.out_channels}, but the latents of the VAE have "
        f"{vae.latent_channels}"
    )
    return [Problem("checkpoint", what)]


def size(configs: Configs) -> tuple[int, int]:
    """The UNet's, in pixels."""
    unet = configs["unet"]
    side = unet.sample_size or 64
    height, width = side if isinstance(side, tuple) else (side, side)
    if tuple(map(int, re.findall(r"\d+", str(unet.get("_diffusers_version", "1.0")))[:2])) < (0, 9):
        height, width = max(height, 64), max(width, 64)  # the first Stable Diffusion files say 32 and mean 64
    factor = configs["vae"].scale
    return height * factor, width * factor


def guidance(scale: Scale, rescale: float, configs: Configs) -> Guidance:
    """Guidance, told to the network where the network was distilled for that."""
    embedded = configs["unet"].time_cond_proj_dim is not None
    return Guidance(scale, rescale, embedded)


def encode(backend: Backend, parts: Mapping[str, Any], wish: Wish, guidance: Guidance, say: Say) -> Conditions:
    """The prompt, and the negative prompt where guidance needs one. Clip skip is for the prompt alone."""
    positive = brought(wish, "")
    if not positive:
        positive = _encode_text(backend, parts, wish.prompt, "prompt", wish.clip_skip, say)
    if not guidance.doubles:
        return Conditions(positive)
    negative = brought(wish, "negative_")
    if not negative:
        negative = _encode_text(backend, parts, wish.negative_prompt or "", "negative_prompt", None, say)
    return Conditions(positive, negative)


def brought(wish: Wish, sign: str) -> Named:
    """The embeddings that a wish brings along, of the prompt (`sign` "") or of the negative one ("negative_")."""
    names = {f"{sign}prompt_embeds": CONTEXT, f"{sign}pooled_prompt_embeds": "text_embeds"}
    return {ours: wish.brought[theirs] for theirs, ours in names.items() if theirs in wish.brought}


def _encode_text(backend: Backend, parts: Mapping[str, Any], text: str, key: str, skip: int | None, say: Say) -> Named:
    """Text to hidden states (1, L, D)."""
    encoder = parts["text_encoder"]
    ids, mask = tokens(parts["tokenizer"], text, key, say)
    attended = mask if getattr(encoder.config, "use_attention_mask", False) else None
    return {CONTEXT: backend.encode_text(encoder, ids, attended, skip)}


def tokens(tokenizer: Any, text: str, key: str, say: Say) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask, (1, L) each, padded to the tokenizer's length; says what did not fit into it."""
    length = tokenizer.model_max_length
    kept = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="np")
    whole = tokenizer(text, return_tensors="np", verbose=False).input_ids
    if whole.shape[-1] > length:
        removed = tokenizer.decode(whole[0, length - 1 : -1])
        say(f"{key}: the text encoder reads {length} tokens at most, so this was left out: {removed}")
    return np.asarray(kept.input_ids), np.asarray(kept.attention_mask)


SD = Family(
    classes=("StableDiffusionPipeline", "LatentConsistencyModelPipeline"),
    components=("tokenizer", "text_encoder", "unet", "vae"),
    models=MODELS,
    autoencoder="vae",
    scheduler={"steps_offset": 1, "clip_sample": False},  # early checkpoints were published without it
    misfits=misfits,
    size=size,
    guidance=guidance,
    encode=encode,
)
