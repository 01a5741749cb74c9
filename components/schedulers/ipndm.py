"""iPNDM: Adams-Bashforth on the clock of v-diffusion (Zhang & Chen 2022, arXiv 2204.13902; Crowson's v-diffusion)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Level, Rows, RunOptions, Scheduler, State, alike, parameterisation
from components.schedulers.equation import ODE
from components.schedulers.noise import AngleClock
from components.schedulers.pndm import ADAMS_BASHFORTH


class IPNDMScheduler(Scheduler):
    """x' = alpha' x0 + sigma' eps along the Adams-Bashforth mean of eps, for networks that predict v.

    At t = 1 alpha is 0 and the first row takes x for pure noise: the network's answer there goes unused, unless it is
    the only one. History: earlier eps, newest first.
    """

    aliases = ("ipndm",)
    step_takes = ("return_dict",)
    returns = 1
    runs_unasked = True
    whole_timesteps = False
    fits = "v-diffusion"
    convergence = 2
    equation = ODE
    timestep_spacing = "angle"
    OPTIONS = (
        opt.Option("num_train_timesteps", 1000, int, "Kept for the checkpoint's sake: time is continuous.", minimum=1),
        opt.Option("trained_betas", None, (list, None), "sigma at the visited points and the end, in place of sin^2."),
    )

    def make_clock(self) -> AngleClock:
        return AngleClock()

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        if self.trained_betas is not None:
            sigma = np.asarray(self.trained_betas, np.float64)[: steps + 1]
        else:
            sigma = np.sin(np.linspace(1, 0, steps + 1)[:-1] * np.pi / 2) ** 2
        with np.errstate(divide="ignore"):
            ratio = sigma / np.sqrt(1 - sigma**2)
        return self.clock.timestep_at(ratio[:steps]), ratio

    def parameterisation(self, at: Level) -> tuple[Array, Array, Array, Array]:
        return parameterisation("v_prediction", at)

    def history(self, run: RunOptions) -> int:
        return 3

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        for i, order in alike(np.minimum(np.arange(len(grid)) + 1, 4)):
            weights = ADAMS_BASHFORTH[order - 1]
            at, to = grid.columns(i), grid.columns(i + 1)
            blind = (at.alpha == 0) & (len(grid) > 1)

            def update(s: State, at: Level = at, to: Level = to, w=weights, blind: Array = blind) -> tuple[Array, ...]:
                past = (s.eps, *s.h)
                eps = sum((a * e for a, e in zip(w, past, strict=False)), 0 * s.eps)
                x0 = np.where(at.alpha == 0, np.where(blind, 0, s.x0), (s.x - at.sigma * eps) / at.alpha)
                return to.alpha * x0 + to.sigma * eps, *past[:3]

            # A first row at alpha = 0 takes x for noise, whatever the data: the mean is lost, the noise is not.
            lost = (np.full(len(i), np.inf), np.zeros(len(i))) if grid.levels.alpha[0] == 0 else None
            yield Rows(i, grid[i], grid[i + 1], update, i, mean=lost)
