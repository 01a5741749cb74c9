"""DDPM: ancestral sampling from the posterior (Ho et al. 2020, arXiv 2006.11239)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Grid, Rows, RunOptions, Scheduler
from components.schedulers.equation import SDE, Equation, other

VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range")
SMALLEST_VARIANCE = 1e-20


class DDPMScheduler(Scheduler):
    """x' = mean of the posterior q(x' | x, x0) (eq. 7), plus noise of its variance, or of beta (section 3.2).

    A learned variance lies between those two, or is free (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.1).
    """

    aliases = ("ddpm",)
    schedule_takes = ("timesteps",)
    runs_unasked = True
    OPTIONS = (
        *opt.POSTERIOR,
        *opt.THRESHOLD,
        opt.Option("variance_type", "fixed_small", str, "Variance of a step: posterior's or beta.", choices=VARIANCES),
    )

    @property
    def equation(self) -> Equation:
        small = self.variance_type.startswith("fixed_small")
        return SDE if small else other(f"its noise has the variance '{self.variance_type}', not the SDE's")

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid[i], grid[i + 1]
        step = at.alpha / to.alpha
        beta = 1 - step**2
        x0_weight, x_weight = to.alpha * beta / at.sigma**2, step * (to.sigma / at.sigma) ** 2
        large = self.variance_type.startswith("fixed_large")
        noisy = (at.timestep > 0) | (to.sigma > 0)  # timestep 0 draws nothing, unless it is not where the run ends
        posterior, bounds = beta * (to.sigma / at.sigma) ** 2, None
        variance = noisy * (beta if large else posterior)
        if self.variance_type == "learned":
            bounds = noisy - 2.0, noisy + 0.0  # the output is the logarithm itself
        elif self.variance_type == "learned_range":
            bounds = np.log(np.maximum(posterior, SMALLEST_VARIANCE)), np.log(beta)
        std = np.sqrt(variance) if bounds is None else noisy + 0.0
        variance = variance if bounds is None else noisy * np.exp(bounds[0])
        a, b, std = x0_weight[:, None], x_weight[:, None], std[:, None]
        # Neither beta nor what a network says is the variance that leads to sigma': the one that holds is declared.
        declared = (x_weight**2, variance) if large or bounds else None
        yield Rows(
            i, at, to, lambda s: (a * s.x0 + b * s.x + std * s.noise,), i, noisy, log_variance=bounds, variance=declared
        )


class DDPMParallelScheduler(DDPMScheduler):
    """The name for parallel sampling (Shih et al. 2023, arXiv 2305.16317): a table has no state to make parallel."""

    aliases = ("ddpm_parallel",)
