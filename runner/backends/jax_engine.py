"""The one loop that runs every sampler in JAX: a segment of a table's rows as data of one compiled program, in float32.

Nothing of a table is static. A segment always has SEGMENT rows (the loop's bounds say which of them run), at least
REGISTERS registers and a batch axis, and clipping is a number; so scheduler, schedule, step count and clipping change
without compiling again, and the tables of a stack differ as they like. Rows beyond the bounds cost memory, never a
network evaluation. The engine knows no scheduler by name and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

if TYPE_CHECKING:
    from components.schedulers import Clip, Tableau

SEGMENT = 32  # rows, and so draws of noise, that are on the device at once
REGISTERS = 8  # of which the widest method so far (PNDM) uses six
NO_CLIP, RANGE, QUANTILE = range(3)

Network = Callable[[Array, Array], Array]
"""(x (B, C, h, w), timestep (B,)) → output like x, or of 2C channels with a variance; float32, guidance applied."""
Draw = Callable[[Array, Array], Array]
"""(the row's place in its segment (), who takes noise (B,)) → fresh noise (B, C, h, w)."""
Place = Callable[[Any, int], Array]
"""(an array of the host, the axis that counts images) → the same on the devices, that axis padded where need be."""


class Rows(NamedTuple):
    """The numbers of a segment's rows, float32: timestep, input_scale (S, B), to_x0, log_std (S, B, 2),
    update (S, B, R, R + 3); takes_noise (S, B) bool."""

    timestep: Array
    input_scale: Array
    to_x0: Array
    log_std: Array
    update: Array
    takes_noise: Array


class Clipping(NamedTuple):
    """What is done to x0, as numbers: one of NO_CLIP, RANGE, QUANTILE; the limit; the quantile."""

    kind: Array
    limit: Array
    ratio: Array


@dataclass(frozen=True)
class Segment:
    """`count` rows of a table from row `first`, padded to SEGMENT; `wanted` (count, B) bool: the draws they take."""

    first: int
    count: int
    wanted: np.ndarray
    rows: Rows


def segments(table: Tableau, batch: int, place: Place) -> Iterator[Segment]:
    """A table, single (N, …) or stacked (B, N, …), cut into segments for a batch of images.

    Arrays are placed, and so may be padded; `wanted` is not.
    """

    def rows_first(values: np.ndarray) -> np.ndarray:
        """(N, B, …): a single table is the same for every image."""
        values = np.asarray(values)
        if np.ndim(table.timestep) == 2:
            return np.moveaxis(values, 1, 0)
        return np.broadcast_to(values[:, None], (len(values), batch, *values.shape[1:]))

    update = _padded(rows_first(table.update))
    x0_is_read = (update[..., update.shape[-2] + 1] != 0).any(-1)
    # where nothing reads x0 its coefficients may be without bounds (alpha = 0), and 0 · inf is no 0
    to_x0 = np.where(x0_is_read[..., None], rows_first(table.to_x0), 0.0)
    whole = (rows_first(table.timestep), rows_first(table.input_scale), to_x0, rows_first(table.log_std), update)
    takes_noise = rows_first(table.takes_noise)
    for first in range(0, table.rows, SEGMENT):
        count = min(SEGMENT, table.rows - first)
        numbers = (place(_slice(values, first, count).astype(np.float32), 1) for values in whole)
        rows = Rows(*numbers, takes_noise=place(_slice(takes_noise, first, count), 1))
        yield Segment(first, count, takes_noise[first : first + count], rows)


def clipping(clip: Clip | None) -> Clipping:
    """A table's clipping as numbers."""
    if clip is None:
        return Clipping(jnp.int32(NO_CLIP), jnp.float32(0), jnp.float32(0))
    kind = RANGE if clip.kind == "range" else QUANTILE
    return Clipping(jnp.int32(kind), jnp.float32(clip.limit), jnp.float32(clip.ratio))


def start(table: Tableau, x: Array, place: Place) -> Array:
    """The state before the first row, (R, B, C, h, w): x, which is placed already, and every other register zero."""
    history = jnp.zeros((_width(table.registers) - 1, *x.shape), jnp.float32)
    return place(jnp.concatenate([x[None], history]), 1)


def run(
    network: Network, rows: Rows, clip: Clipping, state: Array, draw: Draw, begin: Array | int, end: Array | int
) -> Array:
    """The state (R, B, C, h, w) after the rows from `begin` up to `end`, counted within the segment; to be traced."""

    def one_row(n: Array, state: Array) -> Array:
        timestep, input_scale, to_x0, log_std, update, takes_noise = (values[n] for values in rows)
        x = state[0]
        out = network(x * per_image(input_scale), timestep)
        variance = None
        if out.shape[1] == 2 * x.shape[1]:  # a network that predicts a variance as well
            out, variance = jnp.split(out, 2, axis=1)
        x0 = clip_x0(per_image(to_x0[:, 0]) * x + per_image(to_x0[:, 1]) * out, clip)
        fresh = draw(n, takes_noise)
        if variance is not None:
            fresh = fresh * jnp.exp(per_image(log_std[:, 0]) + per_image(log_std[:, 1]) * variance)
        sources = jnp.concatenate([state, jnp.stack([out, x0, fresh])])
        return jnp.einsum("bij,jb...->ib...", update, sources, precision=lax.Precision.HIGHEST)

    return lax.fori_loop(begin, end, one_row, state)


def clip_x0(x0: Array, clip: Clipping) -> Array:
    """Limits the predicted clean image: not at all, to a fixed range, or by dynamic thresholding (Saharia et al. 2022,
    section 2.3).

    Dynamic: s = the `ratio` quantile of |x0| over each image, held to [1, limit]; x0 is clamped to ±s and divided by s.
    """

    def by_quantile(x0: Array) -> Array:
        largest = jnp.quantile(jnp.abs(x0).reshape(len(x0), -1), clip.ratio, axis=1)
        limit = per_image(jnp.clip(largest, 1.0, clip.limit))
        return jnp.clip(x0, -limit, limit) / limit

    return lax.switch(clip.kind, [lambda x0: x0, lambda x0: jnp.clip(x0, -clip.limit, clip.limit), by_quantile], x0)


def per_image(numbers: Array) -> Array:
    """(B,) to (B, 1, 1, 1)."""
    return numbers[:, None, None, None]


def _width(registers: int) -> int:
    """Registers to compute with: more than any method here has, so that all of them share one program."""
    return -(-registers // REGISTERS) * REGISTERS


def _padded(update: np.ndarray) -> np.ndarray:
    """(N, B, R, R + 3) with registers added that stay zero."""
    old = update.shape[-2]
    registers = _width(old)
    wide = np.zeros((*update.shape[:2], registers, registers + 3))
    wide[..., :old, :old] = update[..., :old]
    wide[..., :old, registers:] = update[..., old:]
    return wide


def _slice(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """SEGMENT rows from `first`, those after `count` being zero."""
    part = np.zeros((SEGMENT, *values.shape[1:]), values.dtype)
    part[:count] = values[first : first + count]
    return part
