"""DDIM: the implicit, optionally stochastic, sampler of a DDPM (Song et al. 2020, arXiv 2010.02502)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, Scheduler, State
from components.schedulers.equation import ODE, SDE, Equation, other


class DDIMScheduler(Scheduler):
    """x' = alpha' x0 + sqrt(sigma'^2 - std^2) eps + std noise (eq. 12), std = eta times the posterior's (eq. 16)."""

    aliases = ("ddim",)
    step_takes = ("eta", "use_clipped_model_output", "generator", "variance_noise", "return_dict")
    OPTIONS = (
        *opt.POSTERIOR,
        *opt.ALPHA_END,
        *opt.THRESHOLD,
        opt.ETA,
        opt.Option("use_clipped_model_output", False, bool, "Derive eps from the clipped x0 instead.", run=True),
    )

    @property
    def equation(self) -> Equation:
        eta = self.run.eta
        return {0.0: ODE, 1.0: SDE}.get(float(eta), other(f"eta is {eta:g}: neither the ODE (0) nor the SDE (1)"))

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, at, to = grid.steps()
        std = run.eta * to.sigma / at.sigma * np.sqrt(np.maximum(1 - (at.alpha / to.alpha) ** 2, 0))

        def update(s: State) -> tuple[Array, ...]:
            eps = (s.x - at.alpha * s.x0) / at.sigma if run.use_clipped_model_output else s.eps
            return (to.alpha * s.x0 + np.sqrt(to.sigma**2 - std**2) * eps + std * s.noise,)

        yield Rows(i, grid[i], grid[i + 1], update, i, run.eta > 0)


class DDIMParallelScheduler(DDIMScheduler):
    """The name for parallel sampling (Shih et al. 2023, arXiv 2305.16317): a table has no state to make parallel."""

    aliases = ("ddim_parallel",)
