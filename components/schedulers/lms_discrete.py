"""LMS: linear multistep (Adams-Bashforth with uneven steps) in sigma, as in k-diffusion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.adams import adams_weights
from components.schedulers.base import Array, Grid, Rows, RunOptions, SigmaScheduler, State, Update, alike
from components.schedulers.equation import ODE


class LMSDiscreteScheduler(SigmaScheduler):
    """x' = x + sum of c_j eps_j, with c_j the integral of the j-th Lagrange polynomial over [sigma, sigma'].

    Of order min(order, row + 1). History: earlier eps, newest first.
    """

    aliases = ("lms",)
    equation = ODE
    step_takes = ("order", "return_dict")
    OPTIONS = (
        *opt.SIGMA_SPACE,
        opt.Option("order", 4, int, "How many outputs a step looks at.", minimum=1, maximum=4, run=True),
    )

    @property
    def convergence(self) -> int | None:
        return self.run.order

    def history(self, run: RunOptions) -> int:
        return run.order - 1

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        for i, order in alike(np.minimum(np.arange(len(grid)) + 1, run.order)):
            yield Rows(i, grid[i], grid[i + 1], _multistep(adams_weights(grid.levels.sigma, i, order)), i)


def _multistep(weights: Array) -> Update:
    def update(s: State) -> tuple[Array, ...]:
        past = (s.eps, *s.h)
        return s.x + sum(weights[j, :, None] * past[j] for j in range(len(weights))), *past[: len(s.h)]

    return update
