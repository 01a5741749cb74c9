"""DPM-Solver and DPM-Solver++, multistep, ODE and SDE (Lu et al. 2022, arXiv 2206.00927 and arXiv 2211.01095)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers import spacing as space
from components.schedulers.base import Array, Grid, Rows, RunOptions, State, alike
from components.schedulers.equation import ODE, SDE, Equation, other
from components.schedulers.exponential import Integrator, differences, multistep_orders
from components.schedulers.flow import FlowOption


class DPMSolverMultistepScheduler(FlowOption):
    """Exponential integrator of x0 (++) or eps, whose slope and curvature come from earlier rows.

    History: the x0 or eps of the rows before, newest first. The third-order weights are the published ones, which
    lack a factor 2 on the second difference and are of order 2; `corrected_third_order` doubles it, for order 3.
    """

    aliases = ("dpmpp_2m", "dpm_solver_multistep")
    step_takes = ("generator", "variance_noise", "return_dict")
    schedule_takes = ("mu", "timesteps")
    returns = 1
    finite_clock = True
    noise_dtype = "float32"  # of draws made on the device: the reference library draws them so, whatever the network's
    OPTIONS = (
        *opt.DPM_SOLVER,
        opt.EULER_AT_FINAL,
        opt.Option("use_lu_lambdas", False, bool, "Visit even steps of log sigma (DPM-Solver, section 3.4)."),
        *opt.FINAL_SIGMA,
        *opt.SPACING,
        *opt.DYNAMIC,
        opt.THIRD_ORDER,
    )

    @property
    def convergence(self) -> int:
        reached = self.solver_order if self.corrected_third_order else min(self.solver_order, 2)
        return 1 if self.integrator.sde else reached

    @property
    def equation(self) -> Equation:
        form = self.integrator
        if not form.sde:
            return ODE
        return SDE if form.x0 else other("its eps form draws noise that no shared path fits exactly")

    @property
    def integrator(self) -> Integrator:
        return Integrator.named(self.algorithm_type)

    @property
    def clock_length(self) -> int:
        """Timesteps in use: those of too small a lambda left out."""
        return self.clock.length - int(np.searchsorted(-self.clock.log_sigmas[::-1], self.lambda_min_clipped))

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return space.training_timesteps(kind, steps, self.clock_length, offset=self.steps_offset, end_point=True)

    def sigma_range(self, steps: int) -> tuple[float, float]:
        return self.clock.sigma_min, self.clock.sigma_max

    def levels(self, t: Array, sigmas: Array) -> Grid:
        """Levels as ever, but a network that was trained on whole timesteps is told them."""
        return super().levels(t if self.flows else np.round(t), sigmas)

    def history(self, run: RunOptions) -> int:
        return self.solver_order - 1

    def orders(self, grid: Grid) -> Array:
        """Order of each step of a whole run."""
        short = self.lower_order_final and len(grid) < 15
        return multistep_orders(grid, self.solver_order, lower_final=short, euler_final=self.euler_at_final)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        return (self._rows_of(grid, i, order) for i, order in alike(grid.begun(self.orders(grid.whole))))

    def _rows_of(self, grid: Grid, i: Array, order: int) -> Rows:
        form, at, to = self.integrator, grid.columns(i), grid.columns(i + 1)
        w0, w1, w2 = form.weights(at, to)
        slopes = w1, w2 * (1 + self.corrected_third_order)
        if order == 2 and self.solver_type == "midpoint":
            slopes = (w0 / 2,)

        def update(s: State) -> tuple[Array, ...]:
            past = (form.integrand(s, at, bool(self.clip)), *s.h)
            x = form.step_here(s, at, to, bool(self.clip))
            if order > 1:
                steps = differences(grid.levels.lam[:, None], i, past, order)
                x = x + sum(w * d for w, d in zip(slopes, steps, strict=False))
            return x, *past[: len(s.h)]

        return Rows(i, grid[i], grid[i + 1], update, i, form.sde, form.declared_variance(grid[i], grid[i + 1]))

    def unchecked(self, run: RunOptions) -> str:
        eps_sde = self.integrator.sde and not self.integrator.x0 and self.solver_order > 1
        return "noise of earlier rows comes back through differences of eps" if eps_sde else ""
