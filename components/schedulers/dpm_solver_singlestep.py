"""DPM-Solver and DPM-Solver++, singlestep (Lu et al. 2022, arXiv 2206.00927 and arXiv 2211.01095, algorithms 1)."""

from __future__ import annotations

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, State
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler


class DPMSolverSinglestepScheduler(DPMSolverMultistepScheduler):
    """Cycles of one to three evaluations; the k-th leads from the cycle's start, with the k outputs seen since.

    Every evaluation counts as a step, as users of this sampler count. History: the outputs since the start of the
    cycle, newest first, and that start.
    """

    aliases = ("dpmpp_2s", "dpm_solver_singlestep")
    step_takes = ("generator", "return_dict")
    timestep_spacing = "linspace"
    steps_offset = 0
    corrected_third_order = False
    OPTIONS = (*opt.with_defaults(opt.DPM_SOLVER, lower_order_final=False), *opt.FINAL_SIGMA, *opt.DYNAMIC)

    @property
    def convergence(self) -> int:
        return 1 if self.integrator.sde else self.solver_order

    def history(self, run: RunOptions) -> int:
        return self.solver_order

    def orders(self, grid: Grid) -> Array:
        """1, 2, …, 1, 2, …; where the cycles do not come out even, or the run ends at 0, the last ones are shorter."""
        count, order = len(grid), self.solver_order
        orders = np.arange(count) % order + 1
        if grid.levels.sigma[-1] == 0 or (self.lower_order_final and count % order == 0):
            orders[-1] = 1
        return orders

    def _rows_of(self, grid: Grid, i: Array, order: int) -> Rows:
        form = self.integrator
        start, at, to = grid.columns(i - order + 1), grid.columns(i), grid.columns(i + 1)
        w0, w1, w2 = form.weights(start, to)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = [(grid.columns(i - order + 1 + k).lam - start.lam) / (to.lam - start.lam) for k in range(order)]

        def update(s: State) -> tuple[Array, ...]:
            m = (form.integrand(s, at, bool(self.clip)), *s.h[:-1])[:order][::-1]  # oldest first
            x = s.x if order == 1 else s.h[-1]
            slopes = [(m[k] - m[0]) / r[k] for k in range(1, order)]
            new = form.step_here(s, at, to, bool(self.clip)) if order == 1 else form.step(s, start, to, x, m[0])
            if order == 2:
                new = new + (w0 / 2 if self.solver_type == "midpoint" else w1) * slopes[0]
            elif order == 3 and self.solver_type == "midpoint":
                new = new + w1 * slopes[1]
            elif order == 3:
                change = (slopes[1] - slopes[0]) / (r[2] - r[1])
                new = new + w1 * (slopes[0] - r[1] * change) + 2 * w2 * change
            return new, *(*m[::-1], *s.h)[: len(s.h) - 1], x

        declared, span = form.declared_variance(start[:, 0], to[:, 0]), (start[:, 0].clock, to[:, 0].clock)
        return Rows(i, grid[i], grid[i + 1], update, i, form.sde, declared, span=span)
