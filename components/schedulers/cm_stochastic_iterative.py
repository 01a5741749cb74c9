"""Multistep sampling of consistency models (Song et al. 2023, arXiv 2303.01469, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from components.schedulers import options as opt
from components.schedulers import spacing as space
from components.schedulers.base import Array, Clip, Grid, Level, Rows, RunOptions, Schedule
from components.schedulers.edm import EDMScheme
from components.schedulers.equation import STUDENT


@dataclass(frozen=True)
class KarrasClock:
    """Time as places 0 … length - 1 on the curve of Karras et al. 2022 (eq. 5), counted from sigma_max."""

    length: int
    sigma_min: float
    sigma_max: float
    rho: float
    highest = np.inf

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, self.length - 1.0

    def sigma_at(self, timestep: ArrayLike, *, log: bool = False) -> Array:
        return space.karras_at(self.sigma_min, self.sigma_max, np.asarray(timestep) / (self.length - 1), self.rho)

    def timestep_at(self, sigma: ArrayLike) -> Array:
        top, bottom = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (np.asarray(sigma, np.float64) ** (1 / self.rho) - top) / (bottom - top) * (self.length - 1)


class CMStochasticIterativeScheduler(EDMScheme):
    """x' = x0 + noise up to the next level, of variance sigma'^2 - sigma_min^2; the network is told 250 log(sigma).

    Listed timesteps are places on the training curve, in the falling order that this sampler's users know: they are
    turned around, so that [22, 0] visits sigma_max first and then the place 22 steps below it.
    """

    aliases = ("consistency", "cm")
    schedule_takes = ("timesteps",)
    returns = 1
    runs_unasked = True
    whole_timesteps = False
    fits = "consistency"
    convergence = None
    equation = STUDENT
    timestep_spacing = "places"
    OPTIONS = (
        opt.Option("num_train_timesteps", 40, int, "Places on the training curve.", minimum=2),
        opt.Option("sigma_min", 0.002, float, "Smallest sigma.", minimum=0),
        opt.Option("sigma_max", 80.0, float, "Largest sigma.", minimum=0),
        opt.Option("sigma_data", 0.5, float, "Standard deviation of the data.", minimum=0),
        opt.Option("s_noise", 1.0, float, "Factor on the noise.", minimum=0),
        opt.Option("rho", 7.0, float, "Exponent of the training curve."),
        opt.Option("clip_denoised", True, bool, "Clamp x0 to plus or minus 1."),
    )

    def make_clock(self) -> KarrasClock:
        return KarrasClock(self.num_train_timesteps, self.sigma_min, self.sigma_max, self.rho)

    @property
    def clip(self) -> Clip | None:
        return Clip("range", 1.0) if self.clip_denoised else None

    def configured_spacing(self) -> str:
        return self.timestep_spacing

    def end_sigma(self) -> float:
        return self.sigma_min

    def grid(self, schedule: Schedule) -> Grid:
        return super().grid(replace(schedule, timesteps=schedule.timesteps and schedule.timesteps[::-1]))

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        if kind in space.SIGMA_SPACINGS:
            return super().spaced_levels(kind, steps)
        places = np.arange(steps) * float(self.num_train_timesteps // steps)
        return places, self.clock.sigma_at(places)

    def sigma_told(self, timesteps: Array) -> Array:
        """Of 250 log(sigma), which is what the network is told."""
        sigmas = np.exp(np.asarray(timesteps) / 250)
        outside = ~((self.sigma_min * 0.999 <= sigmas) & (sigmas <= self.sigma_max * 1.001))
        if outside.any():
            what = f"timestep {timesteps[outside][0]:.7g} is 250 log({sigmas[outside][0]:.4g})"
            raise ValueError(f"{what}, but sigma lies between {self.sigma_min:g} and {self.sigma_max:g}")
        return sigmas

    def levels(self, t: Array, sigmas: Array) -> Grid:
        return super().levels(250 * np.log(sigmas[:-1]), sigmas)

    def parameterisation(self, at: Level) -> tuple[Array, Array, Array, Array]:
        """c_skip and c_out of appendix C, for which the consistency function at sigma_min is the identity."""
        above = at.sigma - self.sigma_min
        c_skip, c_out = self.sigma_data**2 / (above**2 + self.sigma_data**2), above * self.sigma_data * at.scale
        return c_skip, c_out, (1 - c_skip) / at.sigma, -c_out / at.sigma

    def initial_scale(self, grid: Grid) -> float:
        return self.sigma_max

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        std = self.s_noise * np.sqrt(np.maximum(grid[i + 1].sigma ** 2 - self.sigma_min**2, 0))
        noise = std[:, None]
        yield Rows(i, grid[i], grid[i + 1], lambda s: (s.x0 + noise * s.noise,), i, std > 0, variance=(0 * std, std**2))
