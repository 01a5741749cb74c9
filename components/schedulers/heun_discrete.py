"""Heun's method in sigma (Karras et al. 2022, arXiv 2206.00364, algorithm 1): two evaluations a step, second order."""

from __future__ import annotations

from collections.abc import Iterable

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Level, Rows, RunOptions, SigmaScheduler, State
from components.schedulers.equation import ODE


class HeunDiscreteScheduler(SigmaScheduler):
    """Euler to sigma', then again from the start with the mean of both slopes; a last step to sigma = 0 stays Euler.

    History: the slope at the start, and the start.
    """

    aliases = ("heun",)
    step_takes = ("return_dict",)
    schedule_takes = ("num_train_timesteps", "timesteps")
    order = convergence = 2
    equation = ODE
    OPTIONS = (*opt.SIGMA_SPACE_OF_SD, *opt.with_defaults(opt.CLIP, clip_sample=False))

    def history(self, run: RunOptions) -> int:
        return 2

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, at, to = grid.steps()

        def slope(s: State, level: Level) -> Array:
            return (s.x - s.x0) / level.sigma if self.clip else s.eps

        def predict(s: State) -> tuple[Array, ...]:
            d = slope(s, at)
            return s.x0 + to.sigma * d, d, s.x  # x + (sigma' - sigma) d, and nothing large cancels

        yield Rows(2 * i, grid[i], grid[i + 1], predict, i)
        j = i[grid.levels.sigma[1:] > 0]
        here, there = grid.columns(j), grid.columns(j + 1)

        def correct(s: State) -> tuple[Array, ...]:
            d = (s.h[0] + slope(s, there)) / 2
            return (s.h[1] + (there.sigma - here.sigma) * d,)

        if len(j):
            yield Rows(2 * j + 1, grid[j + 1], grid[j + 1], correct, j)
