"""Noise from one Brownian path per image: a seed and spans of a clock in, unit noise out.

Two kinds. A `BrownianTree` runs between the ends of its table's own clock and is torchsde's, with the parameters that
the reference library and k-diffusion give it, so that a seed means the same there and here; torch and torchsde are
imported when the first one is made. A `SharedPath` runs over [0, inf) of alpha^2 / sigma^2 and is the same function of
its seed whatever the sampler and the number of steps: samplers of the SDE then differ by their error alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.packages import refuse_absent
from components.schedulers.noise import Array
from components.schedulers.tableau import Tableau, TableauError

SHARED = (0.0, math.inf)
"""`Tableau.brownian` of a table whose draws are increments of the shared path."""


class NoisePathError(TableauError):
    """A table's noise is not that of the SDE's samplers, so that the shared path says nothing of it."""


def on_shared_path(table: Tableau) -> Tableau:
    """The table with its draws taken from the shared path; unchanged where it takes none.

    Every row that adds noise must add what a posterior does, so that alpha' x' / sigma'^2 = alpha x / sigma^2 +
    W(u') - W(u) + (a part of x0), u = alpha^2 / sigma^2. Raises NoisePathError, naming the row, where one does not.
    """
    noise = table.update[..., table.registers + 2]
    draws = table.takes_noise & (np.abs(noise) > 1e-7).any(1)  # a last step of no size draws nothing
    if not draws.any():
        return replace(table, noise_span=np.full_like(table.noise_span, np.nan))
    alpha, sigma = table.land[draws].T
    start, end = table.noise_span[draws].astype(np.float32).T.astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(np.subtract(*table.noise_span[draws, ::-1].T)) * sigma**2 / alpha
        wrong = ~np.isclose(noise[draws, 0], expected, rtol=1e-6) | ~np.isnan(table.log_variance[draws, 0])
    wrong |= ~(np.isfinite(end) & (end > start))
    if wrong.any():
        row = int(np.flatnonzero(draws)[wrong.argmax()])
        what = "adds noise that is not the SDE's of eta = 1, and only that can come from the shared Brownian path"
        raise NoisePathError(f"row {row} {what}")
    return replace(table, brownian=SHARED, noise_span=np.where(draws[:, None], table.noise_span, np.nan))


def brownian_path(
    seed: int | Sequence[int], shape: Sequence[int], low: float, high: float, dtype: Any = None
) -> BrownianTree | SharedPath | PathOfEach:
    """The path of an image over [low, high], the ends that a table names: `unit(span)` draws from it.

    `shape` may be a batch's, whose images one seed serves together; with a list of seeds each image has its own path.
    """
    if not isinstance(seed, int):
        if len(seed) != shape[0]:
            raise ValueError(f"{len(seed)} seeds of Brownian paths are given for {shape[0]} images")
        return PathOfEach([brownian_path(one, (1, *shape[1:]), low, high, dtype) for one in seed])
    return SharedPath(seed, shape) if (low, high) == SHARED else BrownianTree(seed, shape, low, high, dtype)


def path_seed(configured: int | Sequence[int] | None, generators: Any) -> int | list[int]:
    """The seed of a batch's path, or one for each image: the configured, else what torch's generators were seeded with.

    Where there are neither, torch's own generator draws one.
    """
    if configured is not None:
        return configured if isinstance(configured, int) else list(configured)
    if isinstance(generators, list | tuple):
        return [generator.initial_seed() for generator in generators]
    if generators is not None:
        return generators.initial_seed()
    import torch

    return int(torch.randint(2**63 - 1, ()))


class PathOfEach:
    """The paths of a batch's images, side by side."""

    def __init__(self, paths: Sequence[Any]) -> None:
        self._paths = paths

    def unit(self, span: Sequence[float]) -> Any:
        """As a single path's, of the batch's shape."""
        units = [path.unit(span) for path in self._paths]
        if isinstance(units[0], np.ndarray):
            return np.concatenate(units)
        import torch

        return torch.cat(units)


class BrownianTree:
    """W over [low, high] of a clock, for one image: `shape` its latent's, `seed` its own."""

    def __init__(self, seed: int, shape: Sequence[int], low: float, high: float, dtype: Any = None) -> None:
        """`dtype` of the draws: None is torch's default. Raises ImportError, with what to install, without torchsde."""
        refuse_absent("a Brownian path", ("torch", "torchsde"))
        import torch
        import torchsde

        start, end = _time(low), _time(high)
        self._tree: Any = torchsde.BrownianTree(
            t0=start, w0=torch.zeros(tuple(shape), dtype=dtype), t1=end, entropy=seed
        )

    def unit(self, span: Sequence[float]) -> Any:
        """(W(b) - W(a)) / sqrt|b - a| of span = (a, b): standard normal, a torch tensor of the path's shape."""
        a, b = map(_time, span)
        with warnings.catch_warnings(action="ignore"):  # that an end, rounded, is a bit past the end
            increment = self._tree(min(a, b), max(a, b))
        return increment * math.copysign(1 / math.sqrt(abs(b - a)), b - a)


class SharedPath:
    """W over [0, inf) by Levy's construction: sums of increments at the powers of two, and bridges in between.

    A time is a float32: its exponent says between which two powers, and each bit of its mantissa halves an interval
    once more. Every draw belongs to a place of the clock and has a generator of its own (seed, place), so that W at a
    time does not depend on what was asked before.
    """

    LOWEST, BITS = -32, 23

    def __init__(self, seed: int, shape: Sequence[int]) -> None:
        self._seed = seed
        self._shape = tuple(shape)
        self._powers = [self._draw(0, 0) * 2.0 ** (self.LOWEST / 2)]  # W at 2^LOWEST, 2^(LOWEST + 1), …
        self._bridges: dict[tuple[int, int], Array] = {}  # of the last descent: the next one shares its beginning
        self._known: dict[float, Array] = {}

    def unit(self, span: Sequence[float]) -> Array:
        """(W(b) - W(a)) / sqrt|b - a| of span = (a, b): standard normal, float64, of the path's shape."""
        a, b = map(_time, span)
        self._known = {time: self._known[time] if time in self._known else self._at(time) for time in (a, b)}
        return (self._known[b] - self._known[a]) / math.sqrt(abs(b - a))

    def _at(self, time: float) -> Array:
        octave = 0 if time < 2.0**self.LOWEST else math.frexp(time)[1] - self.LOWEST
        start, end = (2.0 ** (octave - 1 + self.LOWEST) if octave else 0.0), 2.0 ** (octave + self.LOWEST)
        low, high = self._power(octave - 1), self._power(octave)
        bridges, width = {}, end - start
        place = min(round((time - start) / width * 2**self.BITS), 2**self.BITS - 1)
        for level in range(self.BITS):
            if place % 2 ** (self.BITS - level) == 0:
                break
            node = octave, 2**level + (place >> (self.BITS - level))
            if (middle := self._bridges.get(node)) is None:
                middle = (low + high) / 2 + self._draw(*node) * math.sqrt(width) / 2
            bridges[node] = middle
            right = place >> (self.BITS - level - 1) & 1
            low, high, width = (middle, high, width / 2) if right else (low, middle, width / 2)
        self._bridges = bridges
        return low

    def _power(self, octave: int) -> Array:
        """W at 2^(octave + LOWEST); at 0 for an octave of -1."""
        if octave < 0:
            return np.zeros(self._shape)
        while len(self._powers) <= octave:
            n = len(self._powers)
            self._powers.append(self._powers[-1] + self._draw(n, 0) * 2.0 ** ((n - 1 + self.LOWEST) / 2))
        return self._powers[octave]

    def _draw(self, octave: int, node: int) -> Array:
        generator = np.random.Generator(np.random.Philox(key=[self._seed, octave << 32 | node]))
        return generator.standard_normal(self._shape)


def _time(value: float) -> float:
    """In float32, as there: the tree tells times apart that differ in the last of its bits."""
    return float(np.float32(value))
