"""The noise of each image for the JAX engine: a segment's draws made on the CPU, or keys to draw from on the device.

By default the draws are those of torch_noise, so that a seed means the same picture on both backends; that imports
torch. Noise on the device needs none: draw n of an image is a function of its seed and n alone (jax.random), float32
whatever the network's dtype, and the same in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from runner.backends.jax_devices import Layout
from runner.backends.jax_engine import SEGMENT, Segment, per_image

if TYPE_CHECKING:
    from components.schedulers import Tableau
    from runner.backends.base import NoiseSpec


class Noise(NamedTuple):
    """A segment's draws (SEGMENT, B, C, h, w); or the images' keys (B,) and the number of the first row's draw."""

    drawn: Array | None = None
    keys: Array | None = None
    first: Array | None = None


class HostNoise:
    """Draws made on the host: the first is for the initial latents, then one for each row that takes noise."""

    images: int

    def __init__(self, source: Any, layout: Layout) -> None:
        """`source.draw(wanted)` gives (B, C, h, w), as of torch_noise."""
        self._source = source
        self._layout = layout
        self._still: Array | None = None

    @classmethod
    def seeded(cls, table: Tableau, seeds: Sequence[int], shape: Sequence[int], layout: Layout) -> HostNoise:
        """torch's draws, from a generator or a Brownian path per image; `shape` is one image's (C, h, w)."""
        from runner.backends.torch_noise import BrownianNoise, IndependentNoise

        if table.brownian is not None:
            return cls(BrownianNoise(table, seeds, shape), layout)
        return cls(IndependentNoise(seeds, shape), layout)

    def first(self, instead: np.ndarray | None = None) -> Array:
        """(B, C, h, w): the draw for the initial latents; or these, which need none."""
        self._source.started = instead is not None
        drawn = np.asarray(self._source.draw() if instead is None else instead, np.float32)
        self.images = len(drawn)
        self._still = self._layout.share_out(np.zeros((SEGMENT, *drawn.shape), np.float32), 1)
        return self._layout.share_out(drawn)

    def rows(self, segment: Segment) -> Noise:
        """The draws of a segment, of which there must be no other order than first to last."""
        assert self._still is not None, "the initial latents are drawn first"
        if not segment.wanted.any():
            return Noise(self._still)
        drawn = np.zeros((SEGMENT, self.images, *self._still.shape[2:]), np.float32)
        for place, wanted in enumerate(segment.wanted):
            if wanted.any():
                drawn[place] = self._source.draw(wanted.tolist())
        return Noise(self._layout.share_out(drawn, 1))


class DeviceNoise:
    """A key of jax.random per image: draw 0 is for the initial latents, draw n + 1 for row n."""

    def __init__(self, keys: Array, shape: Sequence[int], layout: Layout, first: Array | None = None) -> None:
        """`keys` (B,); `shape` is one image's (C, h, w); `first` (B, C, h, w) takes the place of the first draw."""
        self.images = len(keys)
        self._keys = layout.share_out(keys)
        self._shape, self._layout = tuple(shape), layout
        self._first = None if first is None else layout.share_out(first)

    @classmethod
    def seeded(cls, seeds: Sequence[int], shape: Sequence[int], layout: Layout) -> DeviceNoise:
        """From each image's seed, all 64 bits of which count."""
        halves = np.array([divmod(seed, 2**32) for seed in seeds], np.uint32)
        return cls(jax.random.wrap_key_data(jnp.asarray(halves)), shape, layout)

    def first(self, instead: np.ndarray | None = None) -> Array:
        """As `HostNoise.first`."""
        if instead is not None:
            return self._layout.share_out(instead)
        return _normal(self._keys, 0, self._shape) if self._first is None else self._first

    def rows(self, segment: Segment) -> Noise:
        """What `draw` needs for the rows of a segment."""
        return Noise(keys=self._keys, first=jnp.int32(segment.first + 1))


class MixedNoise:
    """For a stack whose images draw on the device but for those that follow a Brownian path, which the host does.

    Each image has what it would have alone.
    """

    def __init__(self, table: Tableau, seeds: Sequence[int], shape: Sequence[int], layout: Layout) -> None:
        """`table.brownian` (B, 2) is nan for the images that follow no path."""
        self.images = len(seeds)
        self._host = HostNoise.seeded(table, seeds, shape, layout)
        self._device = DeviceNoise.seeded(seeds, shape, layout)
        self._follows = ~np.isnan(np.asarray(table.brownian)[:, 0])
        self._from_host = per_image(layout.share_out(self._follows))
        self._shape = tuple(shape)

    def first(self, instead: np.ndarray | None = None) -> Array:
        """As `HostNoise.first`."""
        return jnp.where(self._from_host, self._host.first(instead), self._device.first(instead))

    def rows(self, segment: Segment) -> Noise:
        """The draws of a segment, of which there must be no other order than first to last."""
        host: Any = self._host.rows(replace(segment, wanted=segment.wanted & self._follows)).drawn
        device, wanted = self._device.rows(segment), segment.rows.takes_noise
        drawn = lax.map(lambda place: draw(device, self._shape, place, wanted[place]), jnp.arange(SEGMENT))
        return Noise(jnp.where(self._from_host, host, drawn))


Source = HostNoise | DeviceNoise | MixedNoise


def seeded(table: Tableau, spec: NoiseSpec, layout: Layout) -> Source:
    """Where a batch's noise comes from, given the seeds of its images: a path is drawn on the host in any case."""
    if not spec.on_device:
        return HostNoise.seeded(table, spec.seeds, spec.shape, layout)
    if table.brownian is None:
        return DeviceNoise.seeded(spec.seeds, spec.shape, layout)
    kind = HostNoise.seeded if np.isfinite(table.brownian).all() else MixedNoise
    return kind(table, spec.seeds, spec.shape, layout)


def draw(noise: Noise, shape: tuple[int, ...], place: Array, wanted: Array) -> Array:
    """(B, *shape) fresh noise for the row at this place of its segment, zeros for images not `wanted`; to be traced."""
    if noise.drawn is not None:
        return noise.drawn[place]
    assert noise.keys is not None and noise.first is not None
    number = noise.first + place
    return lax.cond(
        wanted.any(),
        lambda keys: jnp.where(per_image(wanted), _normal(keys, number, shape), 0.0),
        lambda keys: jnp.zeros((len(keys), *shape), jnp.float32),
        noise.keys,
    )


def _normal(keys: Array, number: Array | int, shape: tuple[int, ...]) -> Array:
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), shape, jnp.float32))(keys)
