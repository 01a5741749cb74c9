"""Euler's method in sigma (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without its second half)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers.base import RunOptions, SigmaScheduler
from components.schedulers.noise import Array
from components.schedulers.options import (
    BETAS,
    CHURN,
    EPS_X0_V,
    FINAL_SIGMA,
    RESCALE,
    SIGMA_RANGE,
    SIGMAS,
    SPACING,
    Option,
)
from components.schedulers.schedule import Grid
from components.schedulers.spacing import TRAINING_SPACINGS, exponential
from components.schedulers.tableau import Rows, State


class EulerDiscreteScheduler(SigmaScheduler):
    """x' = x + (sigma' - sigma) eps; churn first raises sigma by fresh noise, which the network does not see."""

    aliases = ("euler",)
    OPTIONS = (
        *BETAS,
        *EPS_X0_V,
        Option("interpolation_type", "linear", str, "Of sigma between timesteps.", choices=("linear", "log_linear")),
        *SIGMAS,
        *SIGMA_RANGE,
        *SPACING,
        Option(
            "timestep_type",
            "discrete",
            str,
            "What the network is told: the timestep, or log(sigma) / 4.",
            choices=("discrete", "continuous"),
        ),
        *RESCALE,
        *FINAL_SIGMA,
        *CHURN,
    )

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        """As ever; "log_linear" instead lays sigma evenly in its logarithm, down to sigma_min, beside the timesteps."""
        if self.interpolation_type == "linear" or kind not in TRAINING_SPACINGS:
            return super().spaced_levels(kind, steps)
        levels = exponential(self.clock.sigma_min, self.clock.sigma_max, steps + 1)
        return self.spaced_timesteps(kind, steps), levels

    @property
    def tells_timesteps(self) -> bool:  # type: ignore[override]
        """Not to a continuous-time v network (Karras preconditioning), which is told log(sigma) / 4."""
        return not (self.timestep_type == "continuous" and self.prediction_type == "v_prediction")

    def levels(self, t: Array, sigmas: Array) -> Grid:
        return super().levels(t if self.tells_timesteps else np.log(sigmas[:-1]) / 4, sigmas)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid[i], grid[i + 1]
        gamma = min(run.s_churn / len(grid), 2**0.5 - 1) * ((run.s_tmin <= at.sigma) & (at.sigma <= run.s_tmax))
        raised = at.sigma * (1 + gamma)
        extra = run.s_noise * np.sqrt(raised**2 - at.sigma**2)
        # The network's answer is read as if it had seen the raised x: eps there is r x^ + s output.
        hat = self.levels(at.timestep, np.append(raised, 0))[:-1]
        r, s_out = (v[:, None] for v in self.parameterisation(hat)[2:])
        move, extra_column = (to.sigma - raised)[:, None], extra[:, None]

        def update(s: State) -> tuple[Array, ...]:
            x = s.x + extra_column * s.noise
            return (x + move * (r * x + s_out * s.output),)

        declared = None
        if (gamma > 0).any():
            declared = (((at.sigma + to.sigma - raised) / at.sigma) ** 2, extra**2)
        yield Rows(i, at, to, update, i, gamma > 0, declared)

    def unchecked(self, run: RunOptions) -> str:
        churned = run.s_churn > 0 and not self.reads_eps
        return "churn noise that the network does not see, read through x0 or v" if churned else ""

    @property
    def reads_eps(self) -> bool:
        """Whether the network's answer is eps itself, whatever x it is read with."""
        return self.prediction_type == "epsilon"
