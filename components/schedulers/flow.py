"""Clock, levels and shifts of rectified flows, shared by the samplers of flow-matching networks."""

from __future__ import annotations

import math

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.base import Scheduler
from components.schedulers.noise import Array, FlowClock
from components.schedulers.options import SIGMAS, Option
from components.schedulers.schedule import Grid
from components.schedulers.tableau import Level, parameterisation

LENGTH = Option("num_train_timesteps", 1000, int, "What sigma = 1 is told as.", minimum=1)
SHIFT = Option("shift", 1.0, float, "Shift of sigma towards noise (arXiv 2403.03206, eq. 23).", minimum=0)
FLOW_OPTIONS = (
    LENGTH,
    SHIFT,
    Option("use_dynamic_shifting", False, bool, "Shift by the picture's size, with `mu`, instead."),
    Option("base_shift", 0.5, (float, None), "mu at base_image_seq_len."),
    Option("max_shift", 1.15, (float, None), "mu at max_image_seq_len."),
    Option("base_image_seq_len", 256, (int, None), "Tokens of the smallest picture."),
    Option("max_image_seq_len", 4096, (int, None), "Tokens of the largest picture."),
    Option("invert_sigmas", False, bool, "Run from data to noise.", choices=(False,)),
    Option("shift_terminal", None, (float, None), "Stretch so that the last sigma read is this.", minimum=0, maximum=1),
    *SIGMAS,
    Option("time_shift_type", "exponential", str, "Of dynamic shifting.", choices=("exponential", "linear")),
    Option("mu", None, (float, None), "Amount of dynamic shifting.", run=True),
)


def shifted(sigma: Array, shift: float) -> Array:
    """shift sigma / (1 + (shift - 1) sigma): arXiv 2403.03206, eq. 23."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def stretched(sigma: Array, terminal: float) -> Array:
    """1 - sigma scaled so that the last value becomes `terminal`."""
    return 1 - (1 - sigma) * (1 - terminal) / (1 - sigma[-1]) if sigma[-1] < 1 else sigma


class FlowScheme(Scheduler):
    """x = (1 - sigma) x0 + sigma eps; the network predicts the velocity eps - x0 and is told sigma T."""

    timestep_spacing = "linspace"

    def make_clock(self) -> FlowClock:
        ends = np.array([1 / self.num_train_timesteps, 1.0])
        low, high = ends if self.config.get("use_dynamic_shifting") else shifted(ends, self.shift)
        return FlowClock(self.num_train_timesteps, float(low), float(high))

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        sigmas = self.shift_levels(np.linspace(self.clock.sigma_max, self.clock.sigma_min, steps))
        if (terminal := self.config.get("shift_terminal")) is not None:
            sigmas = stretched(sigmas, terminal)
        if kind in space.SIGMA_SPACINGS:
            sigmas = space.SIGMA_SPACINGS[kind](float(sigmas[-1]), float(sigmas[0]), steps)
        return self.clock.timestep_at(sigmas), sigmas

    def shift_levels(self, sigmas: Array) -> Array:
        if not self.config.get("use_dynamic_shifting"):
            return shifted(sigmas, self.shift)
        mu = self.base_shift if self.run.mu is None else self.run.mu
        return shifted(sigmas, math.exp(mu) if self.time_shift_type == "exponential" else mu)

    def levels(self, t: Array, sigmas: Array) -> Grid:
        return Grid(Level(np.append(t, 0.0), 1 - sigmas, sigmas, np.ones_like(sigmas)))

    def parameterisation(self, at: Level) -> tuple[Array, Array, Array, Array]:
        return parameterisation("flow_prediction", at)
