"""DPM-Solver multistep run backwards, from a picture to the noise it came from: the ODE's other direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from components.schedulers import options as opt
from components.schedulers import spacing as space
from components.schedulers.base import Array
from components.schedulers.dpm_solver_multistep import DPMSolverMultistepScheduler
from components.schedulers.equation import INVERTED


class DPMSolverMultistepInverseScheduler(DPMSolverMultistepScheduler):
    """Reads at rising timesteps and ends at the noisiest level; listed timesteps and sigmas ascend. The ODE only."""

    aliases = ("dpmpp_2m_inverse",)
    equation = INVERTED  # type: ignore[assignment] (a property of its parent's options)
    schedule_takes = ()
    ascending = True
    OPTIONS = (
        *(option for option in opt.DPM_SOLVER if option is not opt.ALGORITHM),
        replace(opt.ALGORITHM, choices=("dpmsolver", "dpmsolver++")),
        opt.EULER_AT_FINAL,
        *opt.SPACING,
        opt.THIRD_ORDER,
    )

    def end_sigma(self) -> float:
        return self.clock.sigma_max if self.flows else float(self.clock.sigma_at(self.clock_length - 1))

    def sigma_range(self, steps: int) -> tuple[float, float]:
        return self.clock.sigma_min, self.end_sigma()

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        """Rising, and short of the largest where the forward solver would leave out the smallest."""
        points = steps + (kind != "trailing")
        return space.training_timesteps(kind, points, self.clock_length, offset=self.steps_offset)[::-1][:steps]

    def even_levels(self, steps: int) -> Array:
        return np.linspace(self.top, 1 / self.num_train_timesteps, steps + 1)[1:]

    def spaced_sigmas(self, kind: str, steps: int) -> Array:
        return super().spaced_sigmas(kind, steps)[::-1]
