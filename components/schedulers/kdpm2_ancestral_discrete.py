"""Ancestral sampling with DPM-Solver-2 steps, as in k-diffusion (sample_dpm_2_ancestral)."""

from __future__ import annotations

from components.schedulers.base import Array, Grid
from components.schedulers.equation import SDE
from components.schedulers.euler_ancestral_discrete import ancestral
from components.schedulers.kdpm2_discrete import KDPM2DiscreteScheduler


class KDPM2AncestralDiscreteScheduler(KDPM2DiscreteScheduler):
    """The midpoint method down to sigma_down, then fresh noise of sigma_up."""

    aliases = ("dpm2_a", "kdpm2_a", "dpm2_ancestral")
    step_takes = ("generator", "return_dict")
    convergence = 1
    equation = SDE

    def targets(self, grid: Grid) -> tuple[Array, Array]:
        return ancestral(grid.levels.sigma[:-1], grid.levels.sigma[1:])
