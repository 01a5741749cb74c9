"""UniPC: a unified predictor-corrector of any order, at one evaluation a step (Zhao et al. 2023, arXiv 2302.04867)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, State, alike
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler
from components.schedulers.exponential import Integrator, multistep_orders


class UniPCMultistepScheduler(DPMSolverMultistepScheduler):
    """Each output first corrects the x it was read at, then predicts the next one: B(h) = h or e^h - 1 (bh1, bh2).

    History: earlier x0 (or eps), newest first, then the corrected x that the last prediction started from.
    """

    aliases = ("unipc", "uni_pc")
    format_of = "sample"
    step_takes = ("return_dict",)
    schedule_takes = ("sigmas", "mu")
    OPTIONS = (
        *opt.EXPONENTIAL,
        opt.Option("solver_order", 2, int, "How many outputs a prediction looks at.", minimum=1, maximum=4),
        opt.Option("predict_x0", True, bool, "Integrate x0 instead of eps."),
        opt.Option("solver_type", "bh2", str, "B(h): h, or e^h - 1.", choices=("bh1", "bh2")),
        opt.Option("disable_corrector", [], list, "Steps after which not to correct."),
        *opt.FINAL_SIGMA,
        *opt.SIGMA_RANGE,
        *opt.SPACING,
        *opt.DYNAMIC,
        opt.TERMINAL,
        opt.Option("solver_p", None, (None,), "Another scheduler as predictor: not here, so leave it null."),
    )
    lambda_min_clipped = -float("inf")

    @property
    def convergence(self) -> int:
        return self.solver_order + (not self.disable_corrector)

    @property
    def top(self) -> float:
        return 1.0 if self.predict_x0 else super().top

    def even_levels(self, steps: int) -> Array:
        return np.linspace(self.top, 1 / self.num_train_timesteps, steps + 1)[:-1]

    @property
    def integrator(self) -> Integrator:
        return Integrator(x0=self.predict_x0, sde=False)

    def history(self, run: RunOptions) -> int:
        return self.solver_order + 1

    def orders(self, grid: Grid) -> Array:
        return multistep_orders(grid, self.solver_order, lower_final=self.lower_order_final)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        orders = grid.begun(self.orders(grid.whole))
        corrects = np.array([i > 0 and grid.begin + i - 1 not in self.disable_corrector for i in range(len(grid))])
        before = np.where(corrects, np.append(0, orders[:-1]), 0)
        return (self._pair(grid, *rows) for rows in alike(orders, before))

    def _pair(self, grid: Grid, i: Array, predict: int, correct: int) -> Rows:
        at, to = grid.columns(i), grid.columns(i + 1)
        clipped_eps = bool(self.clip) and not self.integrator.x0
        corrector = self._step(grid, i - 1, correct, corrector=True) if correct else None
        predictor = self._step(grid, i, predict, corrector=False)

        def update(s: State) -> tuple[Array, ...]:
            m = self.integrator.integrand(s, at, bool(self.clip))
            x = corrector(s.h[-1], s.h[:-1], m) if corrector else s.x
            past = (m, *s.h[: self.solver_order - 1])
            if clipped_eps and predict == 1 and corrector is None:  # near alpha = 0 nothing large may cancel
                return self.integrator.step_here(s, at, to, True), *past, x
            return predictor(x, past, None), *past, x

        return Rows(i, grid[i], grid[i + 1], update, i)

    def _step(self, grid: Grid, i: Array, order: int, *, corrector: bool):
        """A step from level i to i + 1, as a function of (x, history at i and before, output at i + 1 or None)."""
        form, at, to = self.integrator, grid.columns(i), grid.columns(i + 1)
        lam = grid.levels.lam
        keep, (w0, _, _) = form.keep(at, to), form.weights(at, to)
        with np.errstate(invalid="ignore", divide="ignore"):
            h = lam[i + 1] - lam[i]
            r = np.stack([(lam[i - k] - lam[i]) / h for k in range(1, order)] + [np.ones(len(i))])
            z = -h if form.x0 else h
            scale = (-to.alpha if form.x0 else -to.sigma)[:, 0]
            weights = scale * _slope_weights(r if corrector else r[:-1], z, bh1=self.solver_type == "bh1")

        def step(x: Array, m: tuple[Array, ...], new: Array | None) -> Array:
            x = keep * x + w0 * m[0]
            later = [*m[1:order], *([new] if corrector else [])]
            return x + sum(w[:, None] * (d - m[0]) / rk[:, None] for w, d, rk in zip(weights, later, r, strict=False))

        return step


def _slope_weights(r: Array, z: Array, *, bh1: bool) -> Array:
    """(k, n): B(h) rho of theorem 3.1, for nodes r (k, n): solve R rho = b, R_ij = r_j^i, b_i = i! phi_i+1 / B.

    With one node the paper's rho is 1/2 (its remark after eq. 12), whatever B.
    """
    count = len(r)
    big = z if bh1 else np.expm1(z)
    if count == 1:
        return 0.5 * big[None]
    if count == 0:
        return r
    phi, factorial, b = np.expm1(z) / z - 1, 1.0, []
    for k in range(1, count + 1):
        b.append(phi * factorial)
        factorial *= k + 1
        phi = phi / z - 1 / factorial
    powers = np.stack([r**k for k in range(count)])  # (i, j, n)
    return np.linalg.solve(powers.transpose(2, 0, 1), np.stack(b, -1)[:, :, None])[..., 0].T
