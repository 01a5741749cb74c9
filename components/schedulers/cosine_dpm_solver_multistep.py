"""DPM-Solver++ of the SDE for Stable Audio (Evans et al. 2024, arXiv 2407.14358): EDM levels, told 2/pi atan(sigma)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from components.schedulers import options as opt
from components.schedulers.base import Grid, Rows, RunOptions
from components.schedulers.edm_dpm_solver_multistep import EDMDPMSolverMultistepScheduler
from components.schedulers.noise import AngleClock


class CosineDPMSolverMultistepScheduler(EDMDPMSolverMultistepScheduler):
    """The multistep SDE solver of x0, its noise from one Brownian path over sigma; see there."""

    aliases = ("cosine_dpmpp_2m_sde",)
    fits = "v-diffusion"
    algorithm_type = "sde-dpmsolver++"
    OPTIONS = (
        *opt.with_defaults(
            opt.EDM_OPTIONS,
            sigma_min=0.3,
            sigma_max=500.0,
            sigma_data=1.0,
            sigma_schedule="exponential",
            prediction_type="v_prediction",
        ),
        *opt.MULTISTEP,
    )

    def make_clock(self) -> AngleClock:
        return AngleClock(self.sigma_min, self.sigma_max)

    def brownian(self, grid: Grid) -> tuple[float, float]:
        sigma = grid.whole.levels.sigma
        return min(self.sigma_min, float(sigma[sigma > 0].min())), max(self.sigma_max, float(sigma.max()))

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        for group in super().rows(grid, run):
            start, end = group.at.sigma, group.to.sigma
            yield (
                group
                if run.shared_path
                else replace(group, noise=(end > 0) & (end < start * (1 - 1e-6)), span=(start, end))
            )
