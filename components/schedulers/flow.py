"""Clock, levels and shifts of rectified flows: for their own samplers, and for solvers that are told to sample one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.base import Array, Grid, Level, Scheduler
from components.schedulers.noise import FlowClock
from components.schedulers.options import OptionProblem, SchedulerConfigError


def shifted(sigma: Array, shift: float) -> Array:
    """shift sigma / (1 + (shift - 1) sigma): arXiv 2403.03206, eq. 23."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def stretched(sigma: Array, terminal: float) -> Array:
    """1 - sigma scaled so that the last value becomes `terminal`."""
    return 1 - (1 - sigma) * (1 - terminal) / (1 - sigma[-1]) if sigma[-1] < 1 else sigma


class FlowOption(Scheduler):
    """A solver of networks trained on betas or, with `use_flow_sigmas`, of flows: x = (1 - sigma) x0 + sigma eps.

    A flow's network is told sigma T. Solvers in log(alpha / sigma) read a sigma of 1 as 1 - 1e-6.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        if self.flows:
            self.fits = "flow"

    @property
    def top(self) -> float:
        """The largest level before any shift: one training step below 1, where log(alpha / sigma) is still finite."""
        return 1 - 1 / self.num_train_timesteps

    @property
    def flows(self) -> bool:
        return bool(self._values.get("use_flow_sigmas"))

    def make_clock(self) -> object:
        if not self.flows:
            return super().make_clock()
        length, shift = self.num_train_timesteps, 1.0 if self._values.get("use_dynamic_shifting") else self.flow_shift
        low, high = shifted(np.array([1 / length, self.top]), shift)
        largest = 1 - 1e-6 if self.finite_clock else 1.0
        return FlowClock(length, float(low), float(min(high, largest)), largest)

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        if not self.flows:
            return super().spaced_levels(kind, steps)
        even = self.even_levels(steps) if self.run.unshifted is None else np.array(self.run.unshifted)
        sigmas = self.shift_levels(even)
        if (terminal := self._values.get("shift_terminal")) is not None:
            sigmas = stretched(sigmas, terminal)
        if kind in space.SIGMA_SPACINGS:
            sigmas = self.respaced(kind, sigmas)
        sigmas = sigmas[::-1] if self.ascending else sigmas
        return self.clock.timestep_at(sigmas), sigmas

    def respaced(self, kind: str, sigmas: Array) -> Array:
        """As many levels of a sigma spacing, which is one of noise to signal here as everywhere: sigma / (1 - sigma).

        Its ends are those asked for, or those of the betas that a network without flow would have been trained on.
        """
        betas = Scheduler.make_clock(self)
        low, high = self._values.get("sigma_min"), self._values.get("sigma_max")
        ratios = space.SIGMA_SPACINGS[kind](low or betas.sigma_min, high or betas.sigma_max, len(sigmas))
        return ratios / (1 + ratios)

    def visiting(self, sigmas: Sequence[float], steps: int | None) -> tuple[Self, int]:
        """(this scheduler in a run over these levels, their number): falling, before any shift; a last 0 is the end.

        Raises SchedulerConfigError for levels that a flow does not have, or for another number of steps.
        """
        levels = tuple(sigmas[:-1] if len(sigmas) > 1 and sigmas[-1] == 0 else sigmas)
        what = f"are {steps}, but {len(levels)} sigmas are listed"
        problems = [] if steps in (None, len(levels)) else [OptionProblem("steps", what)]
        if not levels or not all(0 < b < a for a, b in pairwise((1 + 1e-9, *levels))):
            problems.append(OptionProblem("sigmas", "must fall and lie in (0, 1]: a flow's levels before any shift"))
        if problems:
            raise SchedulerConfigError(f"{type(self).__name__} schedule", problems)
        return self.running(self.with_run(unshifted=levels)), len(levels)

    def levels(self, t: Array, sigmas: Array) -> Grid:
        return super().levels(t, np.minimum(sigmas, self.clock.largest) if self.flows else sigmas)

    def even_levels(self, steps: int) -> Array:
        """Levels before any shift, falling: the step from the last of them to 0 is as long as the others."""
        return np.linspace(self.top, 0, steps + 1)[:-1]

    def shift_levels(self, sigmas: Array) -> Array:
        mu = self._values.get("base_shift") if self.run.mu is None else self.run.mu
        if not self._values.get("use_dynamic_shifting") or mu is None:
            return shifted(sigmas, self.flow_shift)
        return shifted(sigmas, math.exp(mu) if self.time_shift_type == "exponential" else mu)


class FlowScheme(FlowOption):
    """A sampler of flows and nothing else; its network predicts the velocity eps - x0."""

    fits = "flow"
    format_of = "model_output"
    timestep_spacing = "linspace"
    returns = 1
    runs_unasked = True
    whole_timesteps = False
    schedule_takes = ("sigmas", "mu", "timesteps")
    prediction_type = "flow_prediction"

    @property
    def flows(self) -> bool:
        return True

    @property
    def top(self) -> float:
        return 1.0

    @property
    def flow_shift(self) -> float:
        return self.shift

    def respaced(self, kind: str, sigmas: Array) -> Array:
        """Between the ends that the levels have."""
        return space.SIGMA_SPACINGS[kind](float(sigmas[-1]), float(sigmas[0]), len(sigmas))

    @property
    def _clock_levels(self) -> Level:
        """Levels of every training timestep, which training scripts pick from: a fixed shift alone moves them."""
        shift = 1.0 if self._values.get("use_dynamic_shifting") else self._values["shift"]
        sigmas = shifted(np.arange(len(self), 0, -1) / len(self), shift)
        return self.levels(self.clock.timestep_at(sigmas), np.append(sigmas, 0.0)).levels

    def set_shift(self, shift: float) -> None:
        """Shift by this in runs to come; the configuration, and the ends of the clock, stay as they were made."""
        self.shift = shift

    @property
    def sigma_min(self) -> float:
        return self.clock.sigma_min

    @property
    def sigma_max(self) -> float:
        return self.clock.sigma_max

    def even_levels(self, steps: int) -> Array:
        """Between the ends of the clock, which a fixed shift has moved already."""
        return np.linspace(self.clock.sigma_max, self.clock.sigma_min, steps)
