"""Multistep sampling of a consistency-distilled flow: x0, then fresh noise to the next level."""

from __future__ import annotations

from collections.abc import Iterable

from components.schedulers import options as opt
from components.schedulers.base import Grid, Rows, RunOptions
from components.schedulers.equation import STUDENT
from components.schedulers.flow import FlowScheme


class FlowMatchLCMScheduler(FlowScheme):
    """x' = (1 - sigma') x0 + sigma' noise (Luo et al. 2023, arXiv 2310.04378, algorithm 3, on a flow)."""

    aliases = ("flow_lcm",)
    convergence = None
    equation = STUDENT
    OPTIONS = (
        *opt.FLOW_OPTIONS,
        opt.Option("scale_factors", None, (None,), "Enlarging latents on the way: not here, so leave it null."),
        opt.Option("upscale_mode", "bicubic", str, "How scale_factors would enlarge.", choices=("bicubic",)),
    )

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        i, _, to = grid.steps()
        yield Rows(i, grid[i], grid[i + 1], lambda s: (to.alpha * s.x0 + to.sigma * s.noise,), i, noise=True)
