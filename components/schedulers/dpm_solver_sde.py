"""DPM-Solver++ of the SDE in two stages, on one Brownian path, as in k-diffusion (sample_dpmpp_sde)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Rows, RunOptions, SigmaScheduler, State
from components.schedulers.equation import SDE, Equation, other
from components.schedulers.euler_ancestral_discrete import ancestral


class DPMSolverSDEScheduler(SigmaScheduler):
    """Ancestral step to the geometric middle of sigma and sigma', then the whole step with the x0 found there.

    The whole step's noise is the path's over the whole step: the middle's share of it, and what comes after. A last
    step to sigma = 0 has no middle and is Euler's. History: the part of x' that is known at the middle.
    """

    aliases = ("dpmpp_sde",)
    step_takes = ("return_dict", "s_noise")
    schedule_takes = ("num_train_timesteps",)
    order = 2
    OPTIONS = (
        *opt.SIGMA_SPACE_OF_SD,
        opt.Option(
            "noise_sampler_seed", None, (int, list, None), "Of the path, from Python; a recipe's images have their own."
        ),
        opt.CHURN[-1],
    )

    @property
    def equation(self) -> Equation:
        return SDE if self.run.s_noise == 1 else other("s_noise scales the SDE's noise")

    def history(self, run: RunOptions) -> int:
        return 1

    def unchecked(self, run: RunOptions) -> str:
        return "" if run.s_noise == 1 else "noise scaled by s_noise"

    def brownian(self, grid: Grid) -> tuple[float, float]:
        sigma = grid.whole.levels.sigma
        return float(sigma[sigma > 0].min()), float(sigma.max())

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, sigma = np.arange(len(grid)), grid.levels.sigma
        last, whole = i[sigma[1:] == 0], i[sigma[1:] > 0]
        if len(last):
            before = grid.columns(last)
            yield Rows(2 * last, grid[last], grid[last + 1], lambda s: (s.x - before.sigma * s.eps,), last)
        if not len(whole):
            return
        start, end = sigma[whole], sigma[whole + 1]
        middle = np.sqrt(start * end)
        mid = self.levels(self.clock.timestep_at(middle), np.append(middle, 0))[:-1]
        (half_down, half_up), (down, up) = ancestral(start, middle), ancestral(start, end)
        here, there = grid[whole], grid[whole + 1]
        times = [level.clock if run.shared_path else level.sigma for level in (here, mid, there)]
        # The path from start to middle and from there to the end, as shares of the whole in units of each.
        earlier, later = (np.sqrt((b - a) / (times[2] - times[0])) for a, b in pairwise(times))
        half, full = (half_down / start)[:, None], (down / start)[:, None]
        half_noise, first, second = (run.s_noise * std[:, None] for std in (half_up, up * earlier, up * later))

        def to_middle(s: State) -> tuple[Array, ...]:
            return half * s.x + (1 - half) * s.x0 + half_noise * s.noise, full * s.x + first * s.noise

        def to_end(s: State) -> tuple[Array, ...]:
            return (s.h[0] + (1 - full) * s.x0 + second * s.noise,)

        yield Rows(2 * whole, here, mid, to_middle, whole, True, span=(times[0], times[1]))
        yield Rows(2 * whole + 1, mid, there, to_end, whole, True, span=(times[1], times[2]))
