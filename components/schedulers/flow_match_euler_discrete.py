"""Euler's method along a rectified flow (Lipman et al. 2022, arXiv 2210.02747; Esser et al. 2024, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.schedulers import options as opt
from components.schedulers.base import Grid, Rows, RunOptions
from components.schedulers.calls import CHURN
from components.schedulers.equation import ODE, Equation, other
from components.schedulers.flow import FlowScheme


class FlowMatchEulerDiscreteScheduler(FlowScheme):
    """x' = x + (sigma' - sigma) v; or, stochastically, x0 noised anew to sigma'."""

    aliases = ("flow_euler",)
    step_takes = (*CHURN, "generator", "per_token_timesteps", "return_dict")
    OPTIONS = (*opt.FLOW_OPTIONS, opt.Option("stochastic_sampling", False, bool, "Noise x0 anew at every step."))

    @property
    def equation(self) -> Equation:
        return other("it noises its estimate anew at every step") if self.stochastic_sampling else ODE

    @property
    def convergence(self) -> int | None:
        return None if self.stochastic_sampling else 1

    def check_unread(self, name: str, value: Any, timestep: Any) -> None:
        if name not in CHURN:  # which the reference library does not read either
            super().check_unread(name, value, timestep)

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, at, to = grid.steps()
        if self.stochastic_sampling:
            yield Rows(i, grid[i], grid[i + 1], lambda s: (to.alpha * s.x0 + to.sigma * s.noise,), i, noise=True)
        else:
            yield Rows(i, grid[i], grid[i + 1], lambda s: (s.x + (to.sigma - at.sigma) * s.output,), i)
