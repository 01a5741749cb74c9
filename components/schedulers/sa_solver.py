"""SA-Solver: stochastic Adams predictor-corrector of variable noise (Xue et al. 2023, arXiv 2309.05019)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from components.schedulers import options as opt
from components.schedulers.adams import lagrange_integrals
from components.schedulers.base import Array, Grid, Rows, RunOptions, State, alike
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler
from components.schedulers.equation import ODE, SDE, Equation, other
from components.schedulers.exponential import Integrator, from_apart, multistep_orders

ALGORITHMS = ("data_prediction", "noise_prediction")
TAU = {"start": 200, "end": 800, "value": 1.0}


class SASolverScheduler(DPMSolverMultistepScheduler):
    """Each output first corrects the x it was read at, with the noise x was made with, then predicts the next one.

    tau, the share of the SDE's noise, holds its `value` at timesteps in [start, end] and is 0 elsewhere: 0 is the ODE,
    1 the SDE (eq. 5). Weights are integrals of Lagrange polynomials (eq. 15 and 18), but for the second order of x0,
    whose slope is published with h^2 / 2. History: earlier x0 (or eps), newest first, then the part of x that a
    correction keeps: what is left of the x before, and the noise.
    """

    aliases = ("sa_solver",)
    format_of = "sample"
    step_takes = ("generator", "return_dict")
    schedule_takes = ()
    euler_at_final = False
    OPTIONS = (
        *opt.EXPONENTIAL,
        opt.Option("predictor_order", 2, int, "Outputs that a prediction looks at.", minimum=1, maximum=4),
        opt.Option("corrector_order", 2, int, "Outputs that a correction looks at, the new one included.", minimum=0),
        opt.Option("tau", TAU, dict, "Share of the SDE's noise, and from which to which timestep."),
        opt.Option("algorithm_type", "data_prediction", str, "Integrate x0 or eps.", choices=ALGORITHMS),
        opt.LAMBDA_MIN,
        opt.VARIANCE_TYPE,
        *opt.SPACING,
    )

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[opt.OptionProblem]:
        problems, tau = super().check_options(options), options.get("tau", TAU)
        fits = (
            isinstance(tau, Mapping) and set(tau) == set(TAU) and all(isinstance(v, int | float) for v in tau.values())
        )
        if isinstance(tau, Mapping) and not (fits and tau["value"] >= 0):
            what = f"is {dict(tau)!r}, but must be numbers, none below 0, for"
            problems.append(opt.OptionProblem("tau", what, tuple(TAU)))
        return problems

    @property
    def convergence(self) -> int:
        reached = max(self.predictor_order, min(self.corrector_order, self.predictor_order + 1))
        return 1 if self.tau["value"] else reached

    @property
    def equation(self) -> Equation:
        tau = self.tau
        if tau["value"] == 0:
            return ODE
        whole = tau["start"] <= 0 and tau["end"] >= self.num_train_timesteps - 1
        if tau["value"] == 1 and whole and self.algorithm_type == "data_prediction":
            return SDE
        return other("tau mixes the ODE and the SDE, or it takes the noise through eps")

    @property
    def integrator(self) -> Integrator:
        return Integrator(x0=self.algorithm_type == "data_prediction", sde=False)

    def history(self, run: RunOptions) -> int:
        return max(self.predictor_order, self.corrector_order)

    def unchecked(self, run: RunOptions) -> str:
        noisy = not self.integrator.x0 and self.tau["value"] > 0
        return "takes the SDE's drift from eps of earlier rows, noise included" if noisy else ""

    def end_sigma(self) -> float:
        return 0.0 if self.flows else self.clock.sigma_min

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        count = len(grid)
        predicts = multistep_orders(grid, self.predictor_order, lower_final=self.lower_order_final)
        limit = np.arange(count, 0, -1) + 2 if self.lower_order_final else count
        corrects = from_apart(grid, np.minimum(np.minimum(np.arange(count) + 1, limit), self.corrector_order))
        corrects[0] = 0
        return (self._pair(grid, *rows) for rows in alike(predicts, corrects))

    def _pair(self, grid: Grid, i: Array, predict: int, correct: int) -> Rows:
        at, (keep, std) = grid.columns(i), self._kept(grid, i)
        ahead = self._weights(grid, i, i - np.arange(predict)[:, None])
        back = self._weights(grid, i - 1, i - np.arange(correct)[:, None]) if correct else ()

        def update(s: State) -> tuple[Array, ...]:
            past = (self.integrator.integrand(s, at, bool(self.clip)), *s.h[:-1])
            x = s.h[-1] + sum(w * m for w, m in zip(back, past, strict=False)) if correct else s.x
            kept = keep * x + std * s.noise
            return kept + sum(w * m for w, m in zip(ahead, past, strict=False)), *past[: len(s.h) - 1], kept

        return Rows(i, grid[i], grid[i + 1], update, i, noise=True)

    def _tau_squared(self, grid: Grid, i: Array) -> Array:
        t = grid.levels.timestep[i]
        return np.where((self.tau["start"] <= t) & (t <= self.tau["end"]), self.tau["value"], 0.0) ** 2

    def _kept(self, grid: Grid, i: Array) -> tuple[Array, Array]:
        """(factor of x, standard deviation of the noise) of the step from level i, as columns (eq. 12 and 13)."""
        at, to, tau2 = grid.columns(i), grid.columns(i + 1), self._tau_squared(grid, i)[:, None]
        if not self.integrator.x0:
            return to.alpha / at.alpha, np.sqrt(tau2) * Integrator(x0=False, sde=True).std(at, to)
        shrink = to.sigma * at.alpha / (to.alpha * at.sigma)  # e^-h
        return to.sigma / at.sigma * shrink**tau2, to.sigma * np.sqrt(1 - shrink ** (2 * tau2))

    def _weights(self, grid: Grid, i: Array, nodes: Array) -> Array:
        """(k, n, 1): what the step from level i to i + 1 gives to the outputs at levels `nodes` (k, n)."""
        at, to, lam, rate = grid[i], grid[i + 1], grid.levels.lam, 1 + self._tau_squared(grid, i)
        data, order = self.integrator.x0, len(nodes)
        with np.errstate(invalid="ignore", divide="ignore"):
            if data:
                total = to.alpha * (1 - (to.sigma * at.alpha / (to.alpha * at.sigma)) ** rate)
            else:
                total = -rate * (to.alpha * at.sigma / at.alpha - to.sigma)
            scale, power = (to.alpha * rate, rate) if data else (-to.sigma * rate, -1.0)
            if order == 1:
                weights = total[None]
            elif order == 2 and data:
                slope = scale * (lam[i + 1] - lam[i]) ** 2 / 2
                other = slope / np.where(nodes[0] == i, lam[nodes[1]] - lam[i], lam[nodes[0]] - lam[i])
                weights = np.where(nodes == i, total - other, other)
            else:
                measure = lambda u: np.exp(power * (u - lam[i + 1]))  # noqa: E731
                weights = scale * lagrange_integrals(lam[nodes], lam[i], lam[i + 1], measure)
        return weights[:, :, None]
