"""DPM-Solver++ of the SDE for Stable Audio (Evans et al. 2024, arXiv 2407.14358): EDM levels, told 2/pi atan(sigma)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from components.schedulers.base import RunOptions
from components.schedulers.dpm_solver_multistep import THIRD_ORDER
from components.schedulers.edm import EDM_OPTIONS
from components.schedulers.edm_dpm_solver_multistep import EDMDPMSolverMultistepScheduler
from components.schedulers.exponential import EULER_AT_FINAL, LOWER_ORDER_FINAL, SOLVER_ORDER, SOLVER_TYPE
from components.schedulers.noise import AngleClock
from components.schedulers.options import with_defaults
from components.schedulers.schedule import Grid
from components.schedulers.tableau import Rows


class CosineDPMSolverMultistepScheduler(EDMDPMSolverMultistepScheduler):
    """The multistep SDE solver of x0, its noise from one Brownian path over sigma; see there."""

    aliases = ("cosine_dpmpp_2m_sde",)
    fits = "v-diffusion"
    algorithm_type = "sde-dpmsolver++"
    OPTIONS = (
        *with_defaults(
            EDM_OPTIONS,
            sigma_min=0.3,
            sigma_max=500.0,
            sigma_data=1.0,
            sigma_schedule="exponential",
            prediction_type="v_prediction",
        ),
        SOLVER_ORDER,
        SOLVER_TYPE,
        LOWER_ORDER_FINAL,
        EULER_AT_FINAL,
        THIRD_ORDER,
    )

    def make_clock(self) -> AngleClock:
        return AngleClock(self.sigma_min, self.sigma_max)

    def brownian(self, grid: Grid) -> tuple[float, float]:
        sigma = grid.levels.sigma
        return min(self.sigma_min, float(sigma[sigma > 0].min())), max(self.sigma_max, float(sigma.max()))

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        for group in super().rows(grid, run):
            start, end = group.at.sigma, group.to.sigma
            yield group if run.shared_path else replace(group, noise=(end > 0) & (end < start), span=(start, end))
