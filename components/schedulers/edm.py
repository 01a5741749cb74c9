"""Clock, levels and preconditioning of networks trained as in Karras et al. 2022 (arXiv 2206.00364, table 1)."""

from __future__ import annotations

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.base import Array, Grid, Level, Scheduler
from components.schedulers.noise import LogSigmaClock


class EDMScheme(Scheduler):
    """Clock, levels and preconditioning of an EDM network, for a solver in the scale x = x0 + sigma eps to mix in."""

    fits = "edm"
    interpolation_type = "linear"
    timestep_type = "discrete"
    timestep_spacing = "linspace"

    def make_clock(self) -> LogSigmaClock:
        return LogSigmaClock(self.sigma_min, self.sigma_max)

    def configured_spacing(self) -> str:
        return self.sigma_schedule

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        spread = space.SIGMA_SPACINGS[kind if kind in space.SIGMA_SPACINGS else self.sigma_schedule]
        rho = {"rho": self.rho} if spread is space.karras else {}
        sigmas = spread(self.sigma_min, self.sigma_max, steps, **rho)
        return self.clock.timestep_at(sigmas), sigmas

    def levels(self, t: Array, sigmas: Array) -> Grid:
        one = np.ones_like(sigmas)
        return Grid(Level(np.append(t, 0.0), one, sigmas, 1 / np.hypot(sigmas, self.sigma_data)))

    def parameterisation(self, at: Level) -> tuple[Array, Array, Array, Array]:
        """c_skip and c_out of table 1, whose output is the v of data in units of sigma_data, up to sign."""
        c_skip, c_out = (self.sigma_data * at.scale) ** 2, at.sigma * self.sigma_data * at.scale
        if self.prediction_type == "v_prediction":
            c_out = -c_out
        return c_skip, c_out, (1 - c_skip) / at.sigma, -c_out / at.sigma

    def initial_scale(self, grid: Grid) -> float:
        return float(np.hypot(grid.levels.sigma[0], 1))
