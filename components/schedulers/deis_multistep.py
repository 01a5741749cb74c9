"""DEIS: exponential integrator with polynomial extrapolation of eps (Zhang & Chen 2022, arXiv 2204.13902)."""

from __future__ import annotations

from components.schedulers import options as opt
from components.schedulers.adams import log_adams_weights
from components.schedulers.base import Array, Grid, Rows, State
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler


class DEISMultistepScheduler(DPMSolverMultistepScheduler):
    """x'/alpha' = x/alpha + sum of c_j eps_j, c_j the integral over rho = sigma/alpha of a polynomial in log rho.

    History: earlier eps, newest first.
    """

    aliases = ("deis",)
    step_takes = ("return_dict",)
    schedule_takes = ("mu",)
    OPTIONS = (
        *opt.EXPONENTIAL,
        opt.SOLVER_ORDER,
        opt.Option("algorithm_type", "deis", str, "There is one.", choices=("deis", "dpmsolver", "dpmsolver++")),
        opt.Option("solver_type", "logrho", str, "The polynomials' variable.", choices=("logrho",)),
        *opt.SPACING,
        *opt.DYNAMIC,
    )
    lambda_min_clipped = -float("inf")
    euler_at_final = False

    @property
    def convergence(self) -> int:
        return self.solver_order

    def end_sigma(self) -> float:
        return 0.0 if self.flows else self.clock.sigma_min

    def _rows_of(self, grid: Grid, i: Array, order: int) -> Rows:
        at, to = grid.columns(i), grid.columns(i + 1)
        rho = grid.levels.sigma / grid.levels.alpha
        weights = to.alpha * log_adams_weights(rho, i, order)[:, :, None]

        def update(s: State) -> tuple[Array, ...]:
            eps = (s.x - at.alpha * s.x0) / at.sigma if self.clip else s.eps
            past = (eps, *s.h)
            return to.alpha / at.alpha * s.x + sum(w * e for w, e in zip(weights, past, strict=False)), *past[
                : len(s.h)
            ]

        return Rows(i, grid[i], grid[i + 1], update, i)
