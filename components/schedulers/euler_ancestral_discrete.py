"""Ancestral sampling with Euler steps, as in k-diffusion: down to sigma_down, then fresh noise up to sigma'."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers.base import RunOptions, SigmaScheduler
from components.schedulers.noise import Array
from components.schedulers.options import BETAS, EPS_X0_V, RESCALE, SPACING
from components.schedulers.schedule import Grid
from components.schedulers.tableau import Rows


def ancestral(sigma: Array, sigma_next: Array) -> tuple[Array, Array]:
    """(sigma_down, sigma_up) with sigma_down^2 + sigma_up^2 = sigma'^2, sigma_up the posterior's standard deviation."""
    up = sigma_next / sigma * np.sqrt(sigma**2 - sigma_next**2)
    return sigma_next**2 / sigma, up


class EulerAncestralDiscreteScheduler(SigmaScheduler):
    """x' = x + (sigma_down - sigma) eps + sigma_up noise."""

    aliases = ("euler_a", "euler_ancestral")
    OPTIONS = (*BETAS, *EPS_X0_V, *SPACING, *RESCALE)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid.columns(i), grid.columns(i + 1)
        down, up = ancestral(at.sigma, to.sigma)
        yield Rows(i, grid[i], grid[i + 1], lambda s: (s.x + (down - at.sigma) * s.eps + up * s.noise,), i, noise=True)
