"""Ancestral sampling with Euler steps, as in k-diffusion: down to sigma_down, then fresh noise up to sigma'."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, SigmaScheduler
from components.schedulers.equation import SDE


def ancestral(sigma: Array, sigma_next: Array) -> tuple[Array, Array]:
    """(sigma_down, sigma_up) with sigma_down^2 + sigma_up^2 = sigma'^2, sigma_up the posterior's standard deviation."""
    up = sigma_next / sigma * np.sqrt(sigma**2 - sigma_next**2)
    return sigma_next**2 / sigma, up


class EulerAncestralDiscreteScheduler(SigmaScheduler):
    """x' = x + (sigma_down - sigma) eps + sigma_up noise."""

    aliases = ("euler_a", "euler_ancestral")
    format_of = "model_output"
    equation = SDE
    OPTIONS = (*opt.BETAS, *opt.EPS_X0_V, *opt.SPACING)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, at, to = grid.steps()
        down, up = ancestral(at.sigma, to.sigma)
        yield Rows(i, grid[i], grid[i + 1], lambda s: (s.x + (down - at.sigma) * s.eps + up * s.noise,), i, noise=True)
