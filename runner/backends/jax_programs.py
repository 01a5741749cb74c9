"""The programs that JAX compiles: rows of a table with the guided network in them, text to states, latents to pixels.

What is static is the structure of a network and whether guidance calls it twice; all else is data, so nothing compiles
again for another scheduler, schedule, number of steps, guidance scale, prompt or seed. Devices and files are not known
here.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from components.jax_models.clip_text import encode_clip
from runner.backends.base import Conditioning, Guidance
from runner.backends.jax_engine import Clipping, Rows, run
from runner.backends.jax_noise import Noise, draw


class Steering(NamedTuple):
    """What one evaluation needs besides x and the timestep.

    `states` (B, L, D), or (2B, L, D) with those of the negative prompt first; scale and rescale as in Guidance.
    """

    states: Array
    scale: Array
    rescale: Array


def steer(conditioning: Conditioning, guidance: Guidance, count: int) -> Steering:
    """Conditioning and guidance for a batch, as the program takes them."""
    both = [conditioning.negative, conditioning.positive] if guidance.doubles else [conditioning.positive]
    states = jnp.concatenate([jnp.broadcast_to(one, (count, *one.shape[1:])) for one in both if one is not None])
    return Steering(states, jnp.float32(guidance.scale), jnp.float32(guidance.rescale))


@partial(jax.jit, static_argnames=("structure", "doubles", "embedded"))
def denoise_rows(
    structure: nnx.GraphDef,
    doubles: bool,
    embedded: bool,
    parameters: Any,
    steering: Steering,
    rows: Rows,
    clip: Clipping,
    state: Array,
    noise: Noise,
    begin: Array,
    end: Array,
) -> Array:
    """The one program of denoising: the state after a segment's rows from `begin` up to `end`. See `jax_engine.run`."""
    unet, dtype = nnx.merge(structure, parameters), dtype_of(parameters)

    def network(x: Array, timestep: Array) -> Array:
        condition = None
        if embedded:
            condition = guidance_embedding(steering.scale - 1.0, unet.config.time_cond_proj_dim).astype(dtype)
            condition = jnp.broadcast_to(condition, (len(x), condition.shape[-1]))
        if not doubles:
            return unet(x.astype(dtype), timestep, steering.states, condition).sample.astype(jnp.float32)
        twice = jnp.concatenate([x, x]).astype(dtype)
        out = unet(twice, jnp.concatenate([timestep, timestep]), steering.states, condition).sample
        without, with_prompt = jnp.split(out.astype(jnp.float32), 2)
        return guide(without, with_prompt, steering)

    with precision(dtype):
        return run(network, rows, clip, state, partial(draw, noise, state.shape[2:]), begin, end)


@partial(jax.jit, static_argnames=("structure", "skip"))
def read_text(structure: nnx.GraphDef, parameters: Any, ids: Array, mask: Array | None, skip: int) -> Array:
    """Token ids (1, L) to hidden states (1, L, D)."""
    with precision(dtype_of(parameters)):
        return encode_clip(nnx.merge(structure, parameters), ids, skip, mask)


@partial(jax.jit, static_argnames=("structure",))
def draw_pixels(structure: nnx.GraphDef, parameters: Any, latents: Array) -> Array:
    """Latents (B, C, h, w), unscaled, to pictures (B, H, W, 3) uint8; halves are rounded to even, as numpy does."""
    dtype = dtype_of(parameters)
    with precision(dtype):
        image = nnx.merge(structure, parameters).decode(latents.astype(dtype)).sample
    image = jnp.clip(image.astype(jnp.float32) * 0.5 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    return jnp.round(image * 255).astype(jnp.uint8)


def dtype_of(parameters: Any) -> Any:
    """The dtype a network computes in: that of its parameters."""
    return jax.tree.leaves(parameters)[0].dtype


def precision(dtype: Any) -> AbstractContextManager[None]:
    """float32 means float32: without this, accelerators multiply such matrices in fewer digits."""
    return jax.default_matmul_precision("highest") if dtype == jnp.float32 else nullcontext()


def guide(without: Array, with_prompt: Array, steering: Steering) -> Array:
    """Outputs without and with the prompt, (B, C, h, w) each, to the guided one; rescaled per image where asked."""
    out = without + steering.scale * (with_prompt - without)
    ratio = with_prompt.std((1, 2, 3), ddof=1, keepdims=True) / out.std((1, 2, 3), ddof=1, keepdims=True)
    rescaled = steering.rescale * out * ratio + (1.0 - steering.rescale) * out
    return jnp.where(steering.rescale > 0, rescaled, out)


def guidance_embedding(weight: Array, dim: int) -> Array:
    """(1, dim) sinusoids [sin, cos] of 1000 · weight: the guidance scale as distilled networks are told it."""
    half = dim // 2
    frequencies = jnp.exp(jnp.arange(half, dtype=jnp.float32) * -(math.log(10000.0) / (half - 1)))
    angles = weight * 1000.0 * frequencies
    return jnp.pad(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)]), (0, dim % 2))[None]
