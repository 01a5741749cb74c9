"""LCM: multistep sampling of a latent consistency model (Luo et al. 2023, arXiv 2310.04378, algorithm 3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, Scheduler, State
from components.schedulers.calls import LCMStepOutput
from components.schedulers.equation import STUDENT
from components.schedulers.tableau import Tableau

SIGMA_DATA = 0.5


class LCMScheduler(Scheduler):
    """x0 through the boundary condition c_out x0 + c_skip x, then fresh noise to the next level, none at the end.

    Students distilled from a few dozen DDIM steps visit a subset of their teacher's timesteps.
    """

    aliases = ("lcm",)
    schedule_takes = ("original_inference_steps", "timesteps", "strength")
    output = LCMStepOutput
    convergence = None
    equation = STUDENT
    OPTIONS = opt.LCM_OPTIONS

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        """An even choice among the `original_inference_steps` timesteps k, 2k, … less one; more steps fill the gaps."""
        count = max(int(self.original_inference_steps * self.run.strength), 1)
        origin = (np.arange(count, 0, -1) * (self.clock.length // self.original_inference_steps) - 1).astype(float)
        if steps > count:
            return np.interp(np.linspace(0, count - 1, steps), np.arange(count), origin)
        return origin[np.floor(np.linspace(0, count, steps, endpoint=False)).astype(int)]

    def second_output(self, table: Tableau, row: int, sure: Any, x0: Any) -> Any:
        return sure / float(table.land[row, 0])

    def end_sigma(self) -> float:
        return 0.0

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid[i], grid[i + 1]
        scaled = at.timestep * self.timestep_scaling
        c_skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        c_out = scaled / np.hypot(scaled, SIGMA_DATA)
        keep, out, std = (to.alpha * c_skip)[:, None], (to.alpha * c_out)[:, None], to.sigma[:, None]

        def update(s: State) -> tuple[Array, ...]:
            return (keep * s.x + out * s.x0 + std * s.noise,)

        # c_skip and c_out were made for sigma = t and are no exact boundary condition here: the gap is declared.
        mean = (to.alpha * c_skip, to.alpha * c_out)
        variance = ((to.alpha * c_skip) ** 2, to.sigma**2)
        yield Rows(i, at, to, update, i, to.sigma > 0, variance, mean)
