"""The sampler of unCLIP (Ramesh et al. 2022, arXiv 2204.06125): DDPM with timesteps from the first to the last."""

from __future__ import annotations

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array
from components.schedulers.ddpm import VARIANCES, DDPMScheduler


class UnCLIPScheduler(DDPMScheduler):
    """Ancestral sampling as in DDPM; see there."""

    aliases = ("unclip",)
    timestep_spacing = "linspace"
    OPTIONS = (
        opt.BETAS[0],
        opt.Option("variance_type", "fixed_small_log", str, "Variance of a step.", choices=VARIANCES),
        *opt.CLIP,
        *opt.EPS_X0_V,
        opt.Option("beta_schedule", "squaredcos_cap_v2", str, "Curve of the betas.", choices=("squaredcos_cap_v2",)),
    )

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return np.round(np.linspace(self.clock.length - 1, 0, steps))
