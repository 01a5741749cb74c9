"""Euler's method in sigma (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without its second half)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers.base import Grid, RunOptions, SigmaScheduler
from components.schedulers.noise import Array
from components.schedulers.options import BETAS, EPS_X0_V, FINAL_SIGMA, RESCALE, SIGMAS, SPACING, Option
from components.schedulers.spacing import SIGMA_SPACINGS
from components.schedulers.tableau import Level, Rows, State, parameterisation

CHURN = (
    Option("s_churn", 0.0, float, "Noise added before each step (Karras et al. 2022, table 5).", minimum=0, run=True),
    Option("s_tmin", 0.0, float, "Churn only at sigma above this.", minimum=0, run=True),
    Option("s_tmax", float("inf"), float, "Churn only at sigma below this.", minimum=0, run=True),
    Option("s_noise", 1.0, float, "Standard deviation of the churn noise.", minimum=0, run=True),
)


class EulerDiscreteScheduler(SigmaScheduler):
    """x' = x + (sigma' - sigma) eps; with churn, from a sigma^ raised by fresh noise, which the network does not see."""

    aliases = ("euler",)
    OPTIONS = (
        *BETAS,
        *EPS_X0_V,
        Option("interpolation_type", "linear", str, "Of sigma between timesteps.", choices=("linear", "log_linear")),
        *SIGMAS,
        Option("sigma_min", None, (float, None), "Smallest sigma of a sigma spacing.", minimum=0),
        Option("sigma_max", None, (float, None), "Largest sigma of a sigma spacing.", minimum=0),
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

    def spaced_ratios(self, kind: str, steps: int) -> Array:
        ends = self.clock.ratio_at(self.spaced_timesteps(self.timestep_spacing, steps))
        low, high = self.sigma_min or float(ends[-1]), self.sigma_max or float(ends[0])
        return SIGMA_SPACINGS[kind](low, high, steps)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid[i], grid[i + 1]
        gamma = min(run.s_churn / len(grid), 2**0.5 - 1) * ((run.s_tmin <= at.sigma) & (at.sigma <= run.s_tmax))
        raised = at.sigma * (1 + gamma)
        extra = run.s_noise * np.sqrt(raised**2 - at.sigma**2)
        # The network's answer is read as if it had seen the raised x: eps there is r x^ + s output.
        hat = Level(at.timestep, at.alpha, raised, 1 / np.hypot(1, raised))
        r, s_out = (v[:, None] for v in parameterisation(self.prediction_type, hat)[2:])
        move, extra_column = (to.sigma - raised)[:, None], extra[:, None]

        def update(s: State):
            x = s.x + extra_column * s.noise
            return (x + move * (r * x + s_out * s.output),)

        declared = None
        if (gamma > 0).any():
            declared = (((at.sigma + to.sigma - raised) / at.sigma) ** 2, extra**2)
        yield Rows(i, at, to, update, i, gamma > 0, declared)

    def unchecked(self) -> str:
        churned = self.run.s_churn > 0 and self.prediction_type != "epsilon"
        return "churn noise that the network does not see, read through x0 or v" if churned else ""
