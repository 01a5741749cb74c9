"""DPM-Solver and DPM-Solver++, multistep, ODE and SDE (Lu et al. 2022, arXiv 2206.00927 and arXiv 2211.01095)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.base import RunOptions, Scheduler
from components.schedulers.noise import Array
from components.schedulers.options import (
    BETAS,
    FINAL_SIGMA,
    RESCALE,
    SIGMAS,
    SPACING,
    THRESHOLD,
    Option,
    prediction_type,
)
from components.schedulers.schedule import Grid
from components.schedulers.tableau import Level, Rows, State, Update

ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")


class DPMSolverMultistepScheduler(Scheduler):
    """Exponential integrator in lambda of x0 (++) or eps, whose slope and curvature come from earlier rows.

    History: the x0 or eps of the rows before, newest first. The third-order weights are the published ones, which
    lack a factor 2 on the second difference and are of order 2; `corrected_third_order` doubles it, for order 3.
    """

    aliases = ("dpmpp_2m", "dpm_solver_multistep")
    finite_clock = True
    OPTIONS = (
        *BETAS,
        Option("solver_order", 2, int, "How many outputs a step looks at.", minimum=1, maximum=3),
        *prediction_type("epsilon", "sample", "v_prediction"),
        *THRESHOLD,
        Option("algorithm_type", "dpmsolver++", str, "Integrate x0 (++) or eps; ODE or SDE.", choices=ALGORITHMS),
        Option("solver_type", "midpoint", str, "How the second order uses the slope.", choices=("midpoint", "heun")),
        Option("lower_order_final", True, bool, "Lower the order over the last steps when there are fewer than 15."),
        Option("euler_at_final", False, bool, "Make the last step first order."),
        *SIGMAS,
        Option("use_lu_lambdas", False, bool, "Visit even steps of log sigma (DPM-Solver, section 3.4)."),
        *FINAL_SIGMA,
        Option("lambda_min_clipped", -float("inf"), float, "Leave out timesteps of lambda below this (cosine betas)."),
        *SPACING,
        *RESCALE,
        Option("corrected_third_order", False, bool, "Third order whose second difference has its factor 2."),
    )

    @property
    def integrates_x0(self) -> bool:
        return self.algorithm_type.endswith("++")

    @property
    def stochastic(self) -> bool:
        return self.algorithm_type.startswith("sde")

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        length = self.clock.length - int(np.searchsorted(-self.clock.log_ratios[::-1], self.lambda_min_clipped))
        return space.training_timesteps(kind, steps, length, offset=self.steps_offset, end_point=True)

    def spaced_ratios(self, kind: str, steps: int) -> Array:
        return space.SIGMA_SPACINGS[kind](self.clock.ratio_min, self.clock.ratio_max, steps)

    def levels(self, t: Array, ratios: Array) -> Grid:
        """Levels as ever, but the network is told whole timesteps, on which it was trained."""
        return super().levels(np.round(t), ratios)

    def history(self, run: RunOptions) -> int:
        return self.solver_order - 1

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        orders = self._orders(grid)
        for order in np.unique(orders):
            i = np.flatnonzero(orders == order)
            yield Rows(i, grid[i], grid[i + 1], *self._formula(grid, i, int(order)))

    def _orders(self, grid: Grid) -> Array:
        """Order of each row: what history allows, lowered towards the end where asked or where lambda ends."""
        count = len(grid)
        i = np.arange(count)
        orders = np.minimum(i + 1, self.solver_order)
        short = self.lower_order_final and count < 15
        if short and count > 1:
            orders[-2:] = np.minimum(orders[-2:], [2, 1])
        if self.euler_at_final or short:
            orders[-1] = 1
        sigma = grid.levels.sigma
        orders[(sigma[1:] == 0) | (sigma[1:] == sigma[:-1])] = 1  # no finite step in lambda to look back over
        return orders

    def _formula(self, grid: Grid, i: Array, order: int) -> tuple[Update, Array, bool, tuple[Array, Array] | None]:
        """The update of rows i, and what `Rows` wants to know beside it."""
        at, to = grid.columns(i), grid.columns(i + 1)
        keep, weights, std = self._coefficients(at, to, order)

        def update(s: State) -> tuple[Array, ...]:
            m = s.x0 if self.integrates_x0 else (s.x - at.alpha * s.x0) / at.sigma if self.clip else s.eps
            past = (m, *s.h)
            x = keep * s.x + weights[0] * m + std * s.noise
            if order > 1:
                x = x + sum(w * d for w, d in zip(weights[1:], self._differences(grid, i, past, order), strict=False))
            return x, *past[: len(s.h)]

        declared = None
        if self.stochastic and not self.integrates_x0:
            # The eps form takes the full drift of the SDE from a frozen eps: its variance is not sigma'^2.
            declared = ((2 * to.sigma / at.sigma - to.alpha / at.alpha)[:, 0] ** 2, std[:, 0] ** 2)
        return update, i, self.stochastic, declared

    def _coefficients(self, at: Level, to: Level, order: int) -> tuple[Array, tuple[Array, ...], Array]:
        """x' = keep x + w0 m + w1 D1 + w2 D2 + std noise: arXiv 2211.01095, eqs. 9 and 10 and appendix A.

        sigma' e^h is written alpha' sigma / alpha, which stays finite where sigma' is 0 and h infinite.
        """
        with np.errstate(invalid="ignore"):
            h = to.lam - at.lam
        rise = to.alpha * at.sigma / at.alpha
        sde = 2 if self.stochastic else 1
        if self.integrates_x0:
            keep, z, scale = to.sigma / at.sigma * (np.exp(-h) if self.stochastic else 1), -sde * h, -to.alpha
            w0, std = scale * np.expm1(z), to.sigma * np.sqrt(-np.expm1(-2 * h))
        else:
            keep, z, scale = to.alpha / at.alpha, h, -sde * to.sigma
            w0, std = -sde * (rise - to.sigma), np.sqrt(rise**2 - to.sigma**2)
        weights = [w0]
        if order > 1:
            phi2, phi3 = np.expm1(z) / z - 1, (np.expm1(z) - z) / z**2 - 0.5
            straight = order == 2 and self.solver_type == "midpoint"
            weights.append(w0 / 2 if straight else scale * phi2)
            weights.append(scale * phi3 * (2 if self.corrected_third_order else 1))
        return keep, tuple(weights), std * self.stochastic

    def _differences(self, grid: Grid, i: Array, m: tuple[Array, ...], order: int) -> tuple[Array, ...]:
        """Divided differences D1 (and D2) of m over lambda, in units of the step h."""
        lam = grid.levels.lam[:, None]
        h = lam[i + 1] - lam[i]
        r0 = (lam[i] - lam[i - 1]) / h
        slope = (m[0] - m[1]) / r0
        if order == 2:
            return (slope,)
        r1 = (lam[i - 1] - lam[i - 2]) / h
        change = (slope - (m[1] - m[2]) / r1) / (r0 + r1)
        return slope + r0 * change, change

    def unchecked(self) -> str:
        eps_sde = self.stochastic and not self.integrates_x0 and self.solver_order > 1
        return "noise of earlier rows comes back through differences of eps" if eps_sde else ""
