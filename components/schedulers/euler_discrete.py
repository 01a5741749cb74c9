"""Euler's method in sigma (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without its second half)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Level, Rows, RunOptions, SigmaScheduler, State
from components.schedulers.calls import CHURN
from components.schedulers.equation import ODE, Equation, other
from components.schedulers.spacing import TRAINING_SPACINGS, exponential

INTERPOLATIONS, TOLD = ("linear", "log_linear"), ("discrete", "continuous")


class EulerDiscreteScheduler(SigmaScheduler):
    """x' = x + (sigma' - sigma) eps; churn first raises sigma by fresh noise, which the network does not see."""

    aliases = ("euler",)
    format_of = "model_output"
    step_takes = (*CHURN, "generator", "return_dict")
    schedule_takes = ("timesteps", "sigmas")
    OPTIONS = (
        *opt.SIGMA_SPACE,
        opt.Option("interpolation_type", "linear", str, "Of sigma between timesteps.", choices=INTERPOLATIONS),
        opt.Option("timestep_type", "discrete", str, "What is told: the timestep, or log(sigma) / 4.", choices=TOLD),
        *opt.SIGMA_RANGE,
        *opt.FINAL_SIGMA,
        *opt.CHURN,
    )

    @property
    def equation(self) -> Equation:
        return ODE if self.run.s_churn == 0 else other("churn adds noise of its own to the ODE")

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

    def sigma_told(self, timesteps: Array) -> Array:
        return super().sigma_told(timesteps) if self.tells_timesteps else np.exp(4 * timesteps)

    def sigma_range(self, steps: int) -> tuple[float, float]:
        log_linear = self.interpolation_type == "log_linear"
        return (self.clock.sigma_min, self.clock.sigma_max) if log_linear else super().sigma_range(steps)

    def levels(self, t: Array, sigmas: Array) -> Grid:
        return super().levels(t if self.tells_timesteps else np.log(sigmas[:-1]) / 4, sigmas)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i = np.arange(len(grid))
        at, to = grid[i], grid[i + 1]
        gamma = min(run.s_churn / len(grid.whole), 2**0.5 - 1) * ((run.s_tmin <= at.sigma) & (at.sigma <= run.s_tmax))
        raised = at.sigma * (1 + gamma)
        extra = run.s_noise * np.sqrt(raised**2 - at.sigma**2)
        r, s_out = (v[:, None] for v in self.churned(at, self.levels(at.timestep, np.append(raised, 0))[:-1]))
        move, extra_column = (to.sigma - raised)[:, None], extra[:, None]

        def update(s: State) -> tuple[Array, ...]:
            x = s.x + extra_column * s.noise
            return (x + move * (r * x + s_out * s.output),)

        declared = None
        if (gamma > 0).any():
            declared = (((at.sigma + to.sigma - raised) / at.sigma) ** 2, extra**2)
        yield Rows(i, at, to, update, i, gamma > 0, declared)

    def churned(self, at: Level, hat: Level) -> tuple[Array, Array]:
        """(r, s) with eps = r x^ + s output: the answer is read as if it had seen the raised x^, at sigma^.

        Of v the reference library takes x0 from x^ at the level it was read at, and eps from that x0 at sigma^.
        """
        if self.prediction_type != "v_prediction":
            return self.parameterisation(hat)[2:]
        p, q = self.parameterisation(at)[:2]
        return (1 - p) / hat.sigma, -q / hat.sigma

    def unchecked(self, run: RunOptions) -> str:
        churned = run.s_churn > 0 and not self.reads_eps
        return "churn noise that the network does not see, read through x0 or v" if churned else ""

    @property
    def reads_eps(self) -> bool:
        """Whether the network's answer is eps itself, whatever x it is read with."""
        return self.prediction_type == "epsilon"
