"""DPM-Solver-2 in sigma, as in Karras et al. 2022 (arXiv 2206.00364) and k-diffusion: the midpoint method."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, SigmaScheduler, State
from components.schedulers.equation import ODE


class KDPM2DiscreteScheduler(SigmaScheduler):
    """Euler to the geometric middle of sigma and sigma', then the whole step with the slope found there.

    A last step to sigma = 0 has no middle and stays Euler. History: the start of the step.
    """

    aliases = ("dpm2", "kdpm2")
    step_takes = ("return_dict",)
    schedule_takes = ("num_train_timesteps",)
    order = convergence = 2
    equation = ODE
    OPTIONS = opt.SIGMA_SPACE_OF_SD

    def history(self, run: RunOptions) -> int:
        return 1

    def targets(self, grid: Grid) -> tuple[Array, Array]:
        """(sigma each step's slope is followed to, standard deviation of the noise added there), (N,) each."""
        return grid.levels.sigma[1:], np.zeros(len(grid))

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        target, noise = self.targets(grid)
        whole = i[target > 0]
        middle = np.sqrt(grid.levels.sigma[:-1] * target)[whole]
        mid = self.levels(self.clock.timestep_at(middle), np.append(middle, 0))
        last = i[target == 0]
        at, to, half = grid.columns(whole), target[whole, None], mid.columns(np.arange(len(whole)))
        if len(last):
            yield Rows(2 * last, grid[last], grid[last + 1], lambda s: (s.x0,), last)
        if not len(whole):
            return

        def second(s: State) -> tuple[Array, ...]:
            return (s.h[0] + (to - at.sigma) * s.eps + noise[whole, None] * s.noise,)

        # x + (half - sigma) eps, said so that a middle far below sigma cancels nothing
        yield Rows(2 * whole, grid[whole], mid[:-1], lambda s: (s.x0 + half.sigma * s.eps, s.x), whole)
        span = grid[whole].clock, grid[whole + 1].clock
        yield Rows(2 * whole + 1, mid[:-1], grid[whole + 1], second, whole, noise[whole] > 0, span=span)
