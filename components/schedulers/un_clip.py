"""The sampler of unCLIP (Ramesh et al. 2022, arXiv 2204.06125): DDPM with timesteps from the first to the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array
from components.schedulers.ddpm import VARIANCES, DDPMScheduler


class UnCLIPScheduler(DDPMScheduler):
    """Ancestral sampling as in DDPM; see there."""

    aliases = ("unclip",)
    step_takes = ("prev_timestep", "generator", "return_dict")
    schedule_takes = ()
    timestep_spacing = "linspace"
    OPTIONS = (
        opt.BETAS[0],
        opt.Option("variance_type", "fixed_small_log", str, "Variance of a step.", choices=VARIANCES),
        *opt.CLIP,
        *opt.EPS_X0_V,
        opt.Option("beta_schedule", "squaredcos_cap_v2", str, "Curve of the betas.", choices=("squaredcos_cap_v2",)),
    )

    def check_unread(self, name: str, value: Any, timestep: Any) -> None:
        """`prev_timestep` may say what the run says already."""
        loop = self._begun
        row = loop.locate(timestep) + 1
        if value is not None and not (row < loop.whole.rows and row in loop.rows_told(value)):
            told = loop.handed[row] if row < loop.whole.rows else None
            raise ValueError(f"prev_timestep is {value}, but the row after timestep {timestep} is told {told}")

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return np.round(np.linspace(self.clock.length - 1, 0, steps))
