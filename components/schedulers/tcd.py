"""TCD: trajectory consistency distillation with strategic stochastic sampling (Zheng et al. 2024, arXiv 2402.19159)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, State
from components.schedulers.calls import TCDStepOutput
from components.schedulers.lcm import LCMScheduler
from components.schedulers.noise import variance_preserving
from components.schedulers.tableau import Tableau


class TCDScheduler(LCMScheduler):
    """DDIM to the level s of timestep (1 - eta) t', below the next one, then fresh noise up to it (algorithm 4)."""

    aliases = ("tcd",)
    step_takes = ("eta", "generator", "return_dict")
    output = TCDStepOutput
    OPTIONS = (*opt.LCM_OPTIONS, *opt.with_defaults((opt.ETA,), eta=0.3))

    @property
    def convergence(self) -> int | None:
        return None if self.run.eta else 1

    def second_output(self, table: Tableau, row: int, sure: Any, x0: Any) -> Any:
        """x at s: fresh noise of variance 1 - (alpha' / alpha_s)^2 would lead from there to x'."""
        return sure / float(np.sqrt(1 - table.update[row, 0, -1] ** 2))

    def end_sigma(self) -> float:
        return self.clock.sigma_min

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        last = i == len(grid) - 1
        to = grid.columns(i + 1)
        with np.errstate(divide="ignore"):  # where nothing is left of the image
            ratio = to.sigma / to.alpha
        below = np.minimum(self.clock.sigma_at(np.floor(np.round((1 - run.eta) * to.timestep, 6))), ratio)
        alpha, sigma = variance_preserving(np.where(last[:, None] | (run.eta == 0), ratio, below))
        std = np.sqrt(np.maximum(1 - (to.alpha / alpha) ** 2, 0))

        def update(s: State) -> tuple[Array, ...]:
            return (to.alpha / alpha * (alpha * s.x0 + sigma * s.eps) + std * s.noise,)

        yield Rows(i, grid[i], grid[i + 1], update, i, ~last & (run.eta > 0))
