"""DDIM run backwards, from a picture to the noise it came from (Mokady et al. 2022, arXiv 2211.09794, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import DEFAULT_STEPS, Array, Grid, Rows, RunOptions, Schedule, Scheduler
from components.schedulers.equation import INVERTED


class DDIMInverseScheduler(Scheduler):
    """x' = alpha' x0 + sigma' eps with alpha' < alpha: each row is told the timestep that it lands on.

    A run starts at no noise (`set_alpha_to_one`) or at that of timestep 0; listed timesteps and sigmas ascend.
    """

    aliases = ("ddim_inverse",)
    equation = INVERTED
    step_takes = ("return_dict",)
    ascending = True
    OPTIONS = (*opt.POSTERIOR, *opt.ALPHA_END)

    def end_sigma(self) -> float:
        """Of the start: not 0 for a network that predicts x0, which tells nothing of eps there."""
        return self.clock.sigma_min if self.prediction_type == "sample" else super().end_sigma()

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return super().spaced_timesteps(kind, steps)[::-1]

    def grid(self, schedule: Schedule) -> Grid:
        """Levels from the start up; each of them but the first is told as the timestep of the row that leads to it."""
        if schedule.sigmas is not None:
            told = self.clock.timestep_at(schedule.sigmas[1:])
            sigmas = np.asarray(schedule.sigmas, np.float64)
        else:
            told = np.asarray(schedule.timesteps) if schedule.timesteps else self._spaced(schedule)
            sigmas = np.append(self.end_sigma(), self.clock.sigma_at(told))
        return self.levels(told, sigmas)

    def _spaced(self, schedule: Schedule) -> Array:
        return self.spaced_levels(schedule.spacing or self.configured_spacing(), schedule.steps or DEFAULT_STEPS)[0]

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, _, to = grid.steps()
        yield Rows(i, grid[i], grid[i + 1], lambda s: (to.alpha * s.x0 + to.sigma * s.eps,), i)
