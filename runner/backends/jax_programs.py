"""The programs that JAX compiles: rows of a table with the guided network in them, text to states, latents to pixels.

What is static is the structure of a network and whether guidance calls it twice; all else is data, so nothing compiles
again for another scheduler, schedule, number of steps, guidance scale, prompt or seed. How the arrays lie on devices is
a `Layout`; files are not known here.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from components.jax_models.clip_text import encode_clip, encode_clip_penultimate
from components.latent_space import LatentSpace
from runner.backends.base import Guidance
from runner.backends.jax_devices import Layout
from runner.backends.jax_engine import Clipping, Rows, per_image, run
from runner.backends.jax_noise import Noise, draw
from runner.backends.network_call import arguments
from runner.conditions import Conditions


class Steering(NamedTuple):
    """What one evaluation needs besides x and the timestep.

    `given`: conditions by the network's names, (B, 1, …), or (B, 2, …) with that without the prompt first; scale and
    rescale (B,) as in Guidance. Both calls of an image lie side by side, so that they stay on the image's device.
    """

    given: dict[str, Array]
    scale: Array
    rescale: Array


def steer(conditions: Conditions, guidance: Guidance, count: int, layout: Layout) -> Steering:
    """Conditions and guidance for a batch of `count` images, as the program takes them."""

    def rows(halves: list[Array]) -> Array:
        whole = [jnp.broadcast_to(half, (count, *half.shape[1:])) for half in map(jnp.asarray, halves)]
        return layout.share_out(jnp.stack(whole, axis=1))

    def number(value: Any) -> Array:
        return layout.share_out(np.broadcast_to(np.asarray(value, np.float32), (count,)))

    given = {name: rows(halves) for name, halves in conditions.calls(guidance.twice(conditions)).items()}
    return Steering(given, number(guidance.scale), number(guidance.rescale))


@partial(jax.jit, static_argnames=("layout", "structure", "twice", "embedded"))
def denoise_rows(
    layout: Layout,
    structure: nnx.GraphDef,
    twice: bool,
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
        if twice:
            x, timestep = jnp.repeat(x, 2, axis=0), jnp.repeat(timestep, 2, axis=0)
        context, named = arguments(
            {name: calls.reshape(-1, *calls.shape[2:]) for name, calls in steering.given.items()}
        )
        if embedded:
            told = guidance_embedding(steering.scale - 1.0, unet.config.time_cond_proj_dim)
            named["timestep_cond"] = told.astype(dtype)
        out = unet(x.astype(dtype), timestep, *context, **named).sample.astype(jnp.float32)
        if not twice:
            return out
        pairs = out.reshape(-1, 2, *out.shape[1:])
        return guide(pairs[:, 0], pairs[:, 1], steering)

    with precision(dtype), layout.at_hand():
        state = run(network, rows, clip, state, partial(draw, noise, state.shape[2:]), begin, end)
    return lax.with_sharding_constraint(state, layout.images(1))


@partial(jax.jit, static_argnames=("layout", "structure", "skip"))
def read_text(
    layout: Layout, structure: nnx.GraphDef, parameters: Any, ids: Array, mask: Array | None, skip: int
) -> Array:
    """Token ids (B, L) to hidden states (B, L, D)."""
    with precision(dtype_of(parameters)), layout.at_hand():
        return encode_clip(nnx.merge(structure, parameters), ids, skip, mask)


@partial(jax.jit, static_argnames=("layout", "structure", "skip"))
def read_text_early(
    layout: Layout, structure: nnx.GraphDef, parameters: Any, ids: Array, skip: int
) -> tuple[Array, Array | None]:
    """Token ids (B, L) to hidden states (B, L, D) before the last layer, and the pooled projection (B, P)."""
    with precision(dtype_of(parameters)), layout.at_hand():
        return encode_clip_penultimate(nnx.merge(structure, parameters), ids, skip)


@partial(jax.jit, static_argnames=("layout", "space", "structure"))
def draw_images(layout: Layout, space: LatentSpace, structure: nnx.GraphDef, parameters: Any, latents: Array) -> Array:
    """Latents (B, C, h, w) of a space to images (B, 3, H, W) in [0, 1], float32."""
    vae, dtype = nnx.merge(structure, parameters), dtype_of(parameters)
    latents = space.unscaled(latents, per_channel)
    with precision(dtype), layout.at_hand():
        return to_unit(vae.decode(latents.astype(dtype)).sample.astype(jnp.float32))


@jax.jit
def to_unit(images: Array) -> Array:
    """Images in [-1, 1] to [0, 1]; what is beyond is cut."""
    return jnp.clip(images * 0.5 + 0.5, 0, 1)


@jax.jit
def to_bytes(images: Array) -> Array:
    """Images (B, C, H, W) in [0, 1] to (B, H, W, C) uint8; halves are rounded to even, as numpy does."""
    return jnp.round(images * 255).astype(jnp.uint8).transpose(0, 2, 3, 1)


def per_channel(numbers: tuple[float, ...]) -> Array:
    return jnp.asarray(numbers, jnp.float32)[None, :, None, None]


def dtype_of(parameters: Any) -> Any:
    """The dtype a network computes in: that of its parameters."""
    return jax.tree.leaves(parameters)[0].dtype


def precision(dtype: Any) -> AbstractContextManager[None]:
    """float32 means float32: without this, accelerators multiply such matrices in fewer digits."""
    return jax.default_matmul_precision("highest") if dtype == jnp.float32 else nullcontext()


def guide(without: Array, with_prompt: Array, steering: Steering) -> Array:
    """Outputs without and with the prompt, (B, C, h, w) each, to the guided one; rescaled per image where asked."""
    scale, rescale = per_image(steering.scale), per_image(steering.rescale)
    out = without + scale * (with_prompt - without)
    ratio = with_prompt.std((1, 2, 3), ddof=1, keepdims=True) / out.std((1, 2, 3), ddof=1, keepdims=True)
    rescaled = rescale * out * ratio + (1.0 - rescale) * out
    return jnp.where(rescale > 0, rescaled, out)


def guidance_embedding(weight: Array, dim: int) -> Array:
    """(B, dim) sinusoids [sin, cos] of 1000 · weight (B,): the guidance scale as distilled networks are told it."""
    half = dim // 2
    frequencies = jnp.exp(jnp.arange(half, dtype=jnp.float32) * -(math.log(10000.0) / (half - 1)))
    angles = weight[:, None] * 1000.0 * frequencies
    return jnp.pad(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1), ((0, 0), (0, dim % 2)))
