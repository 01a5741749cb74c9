"""Prompt to picture with two text encoders and micro-conditioning: Stable Diffusion XL and what was made of it.

Podell et al. 2023, arXiv 2307.01952. Both encoders are read before their last layer, side by side; the second one's
pooled embedding and the picture's sizes and crop go to the network as well. Refining a picture is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.backends.base import Guidance
from runner.backends.network_call import CONTEXT
from runner.conditions import Conditions
from runner.errors import Problem
from runner.families.base import Configs, Family, Say, Wish
from runner.families.stable_diffusion import MODELS, brought, guidance, latent_misfits, size, tokens

if TYPE_CHECKING:
    from runner.backends.base import Array, Backend

FORCE_ZEROS = "force_zeros_for_empty_prompt"
SIZES = 6  # original height and width, crop from the top and the left, target height and width


def misfits(clip_skip: int | None, configs: Configs) -> list[Problem]:
    """Components that do not fit one another, and a clip skip that leaves no layer."""
    unet, encoders = configs["unet"], _present(configs, "text_encoder")
    found = latent_misfits(configs)
    widths = [encoder.get("hidden_size") for encoder in encoders]
    if widths and None not in widths and set(unet.per_block("cross_attention_dim")) != {sum(widths)}:
        given = " and ".join(map(str, widths))
        what = f"the UNet attends to {unet.cross_attention_dim} numbers a token, but the text encoders give {given}"
        found.append(Problem("checkpoint", what))
    if unet.addition_embed_type != "text_time":
        what = (
            f"the UNet takes {unet.addition_embed_type or 'no'} further conditions, but this pipeline gives text_time"
        )
        found.append(Problem("checkpoint", what))
    else:
        wanted = unet.projection_class_embeddings_input_dim
        pooled = encoders[-1].get("projection_dim", 512) if encoders else wanted - SIZES * unet.addition_time_embed_dim
        if SIZES * unet.addition_time_embed_dim + pooled != wanted:
            what = (
                f"the UNet takes {wanted} numbers of pooled text and sizes, but gets {pooled} of text_encoder_2 and "
                f"{SIZES} times {unet.addition_time_embed_dim} of sizes"
            )
            hint = "a UNet that takes five sizes instead of six is a refiner, which starts from a picture"
            found.append(Problem("checkpoint", what, hint=hint))
    layers = min((encoder.get("num_hidden_layers", 12) for encoder in encoders), default=None)
    if clip_skip is not None and layers is not None and clip_skip >= layers:
        what = f"{clip_skip} leaves none of the {layers} layers of a text encoder, whose last is never read"
        found.append(Problem("clip_skip", what))
    return found


def encode(backend: Backend, parts: Mapping[str, Any], wish: Wish, guidance: Guidance, say: Say) -> Conditions:
    """Both prompts' hidden states and pooled embeddings, with the sizes they go with.

    No negative prompt at all is zeros where the checkpoint wants that, an empty one is encoded. Clip skip is for the
    prompt alone.
    """
    own = (wish.height, wish.width)
    ids = _ids(wish.original_size or own, wish.crops_coords_top_left, wish.target_size or own)
    positive = _encode_texts(backend, parts, wish, "", (wish.prompt, wish.prompt_2), wish.clip_skip, say)
    positive["time_ids"] = ids
    if not guidance.doubles:
        return Conditions(positive)
    if wish.negative_prompt is None and wish.flags.get(FORCE_ZEROS, True):
        negative = {**{name: array * 0 for name, array in positive.items()}, **brought(wish, "negative_")}
    else:
        texts = (wish.negative_prompt or "", wish.negative_prompt_2)
        negative = _encode_texts(backend, parts, wish, "negative_", texts, None, say)
    if wish.negative_original_size and wish.negative_target_size:
        ids = _ids(wish.negative_original_size, wish.negative_crops_coords_top_left, wish.negative_target_size)
    return Conditions(positive, {**negative, "time_ids": ids})


def _encode_texts(
    backend: Backend,
    parts: Mapping[str, Any],
    wish: Wish,
    sign: str,
    texts: tuple[str, str | None],
    skip: int | None,
    say: Say,
) -> dict[str, Array]:
    """Hidden states and pooled embedding of a text, or as they are brought; what the second encoder reads may be
    another one."""
    given = dict(brought(wish, sign))
    if len(given) == 2:
        return given
    first, second = texts
    reads = {"tokenizer": first, "tokenizer_2": first if second is None else second}
    # what does not fit is said once, unless the two texts differ
    says = {"tokenizer": say, "tokenizer_2": say if second is not None or "tokenizer" not in parts else _silent}
    names = [name for name in ("tokenizer", "tokenizer_2") if parts.get(name) is not None]
    ids = [tokens(parts[name], reads[name], f"{sign}prompt", says[name])[0] for name in names]
    return read_by_two(backend, _present(parts, "text_encoder"), ids, skip) | given


def read_by_two(
    backend: Backend, encoders: Sequence[Any], ids: Sequence[np.ndarray], skip: int | None
) -> dict[str, Array]:
    """Hidden states (B, L, D) and pooled embedding (B, P) of token ids (B, L), those of each encoder."""
    hidden, pooled = backend.encode_texts(encoders, ids, skip)
    return {CONTEXT: hidden, "text_embeds": pooled}


def _ids(original: tuple[int, int], crop: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    return np.asarray([[*original, *crop, *target]], dtype=np.float32)


def _present(things: Mapping[str, Any], name: str) -> list[Any]:
    """The first and the second of a kind, without those that are absent."""
    return [things[key] for key in (name, f"{name}_2") if things.get(key) is not None]


def _silent(sentence: str) -> None:
    pass


SDXL = Family(
    classes=("StableDiffusionXLPipeline",),
    components=("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae"),
    optional=("tokenizer", "text_encoder"),
    models=MODELS,
    autoencoder="vae",
    upcasts=True,
    misfits=misfits,
    size=size,
    guidance=guidance,
    encode=encode,
)
