"""From a request to latents and pictures: the one way, for recipes and sweeps, replays, references and both faces.

What is computed is a backend's, which component does what a family's; here they meet. A run may begin with noise or
with latents that stand at a level, so that `sample` can go on from its own result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runner.backends.base import Backend, Change, Guidance, Start
from runner.conditions import Array, Conditions

if TYPE_CHECKING:
    from components.schedulers import Tableau
    from runner.families import Family


@dataclass(frozen=True)
class Landed:
    """A row that is done: its number, the level (alpha, sigma) where it left x, (2,) or (B, 2), and x (B, C, h, w)."""

    row: int
    level: Any
    x: Array
    request: Request


Hook = Callable[[Landed], Change | None]


@dataclass(frozen=True, eq=False)
class Request:
    """A batch that is asked for: the table (single, or a stack with one for each image), what steers it, its noise.

    `noise`: a NoiseSpec, a NoiseSource, or whatever else the backend draws from. `start` None: x begins as
    init_noise_sigma · the first draw. `after_row` is called as each row is done.
    """

    table: Tableau
    conditions: Conditions
    guidance: Guidance
    noise: Any
    start: Start | None = None
    after_row: Hook = lambda landed: None


@dataclass(frozen=True, eq=False)
class Sample:
    """What came of it: latents (B, C, h, w), and the images that they decode to, as `Backend.decode` gives them."""

    backend: Backend
    family: Family
    parts: Mapping[str, Any]
    latents: Array

    @cached_property
    def images(self) -> Array:
        return self.family.decode(self.backend, self.parts, self.latents)


def sample(backend: Backend, family: Family, parts: Mapping[str, Any], request: Request) -> Sample:
    """Runs a request's rows. Raises ValueError for a start that is noisier than the table's beginning."""
    asked, land = request, request.table.land

    def after(row: int, x: Array) -> Change | None:
        return asked.after_row(Landed(row, land[..., row, :], x, asked))

    network = parts[family.network]
    latents = backend.denoise(network, asked.table, asked.noise, asked.conditions, asked.guidance, after, asked.start)
    return Sample(backend, family, parts, latents)
