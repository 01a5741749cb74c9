"""Heun's method along a rectified flow (Karras et al. 2022, arXiv 2206.00364, algorithm 2, on arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, State
from components.schedulers.calls import CHURN
from components.schedulers.equation import ODE
from components.schedulers.flow import FlowScheme


class FlowMatchHeunDiscreteScheduler(FlowScheme):
    """Euler to sigma', then again from the start with the mean of both velocities; a last step to 0 stays Euler.

    History: the velocity at the start, and the start.
    """

    aliases = ("flow_heun",)
    step_takes = (*CHURN, "generator", "return_dict")
    schedule_takes = ()
    runs_unasked = False
    order = convergence = 2
    equation = ODE
    OPTIONS = (opt.LENGTH, opt.SHIFT)

    def history(self, run: RunOptions) -> int:
        return 2

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        move = (grid.levels.sigma[i + 1] - grid.levels.sigma[i])[:, None]
        yield Rows(2 * i, grid[i], grid[i + 1], lambda s: (s.x + move * s.output, s.output, s.x), i)
        j = i[grid.levels.sigma[1:] > 0]

        def correct(s: State) -> tuple[Array, ...]:
            return (s.h[1] + move[j] * (s.h[0] + s.output) / 2,)

        if len(j):
            yield Rows(2 * j + 1, grid[j + 1], grid[j + 1], correct, j)
