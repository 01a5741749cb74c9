"""A network whose data are a Gaussian, N(0, SPREAD²) in every pixel, so that each equation's solution is known exactly.

It stands in for the demo's U-Net under the demo's own plans: everything else (tables, engine, noise) is real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from components.schedulers import stack
from components.schedulers.noise import TrainingClock
from runner.backends.base import Guidance, NoiseSpec
from runner.backends.torch import TorchBackend
from runner.conditions import Conditions
from runner.session import Drawn, Session, Shot, Stopwatch

SPREAD = 0.7
CLOCK = TrainingClock.from_betas(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def exact(x: Any, start: tuple[float, float], end: tuple[float, float]) -> Any:
    """The ODE's solution at the level `end` = (alpha, sigma) through x at `start`: x / deviation is kept."""
    before, after = (float(np.hypot(alpha * SPREAD, sigma)) for alpha, sigma in (start, end))
    return x * (after / before)


def network(x: torch.Tensor, timestep: torch.Tensor) -> Any:
    """The exact eps of x (B, C, h, w) in the variance-preserving scale; timesteps may be fractional."""
    t = timestep.double().numpy()
    alpha, sigma = CLOCK.pair(np.exp(np.interp(t, np.arange(CLOCK.length), CLOCK.log_sigmas)))
    factor = torch.as_tensor(sigma / ((alpha * SPREAD) ** 2 + sigma**2), dtype=torch.float64)
    return SimpleNamespace(sample=x.double() * (factor if factor.ndim == 0 else factor.view(-1, 1, 1, 1)))


class GaussianSession(Session):
    """Draws with the network above, in float64 where the engine lets it; counts the rows it was asked for."""

    def __init__(self, stand_in: Callable[..., Any] = network) -> None:
        super().__init__()
        self.torch = TorchBackend("cpu", "float64", None)
        self.network, self.rows = stand_in, 0

    def draw(
        self,
        shots: Sequence[Shot],
        watch: Stopwatch,
        say: Callable[[str], None] = lambda sentence: None,
        after_row: Callable[[int], None] = lambda row: None,
    ) -> Drawn:
        tables = [shot.plan.tableau for shot in shots]
        table = tables[0] if all(one is tables[0] for one in tables) else stack(tables)
        self.rows += table.rows * len(shots)
        noise = NoiseSpec(tuple(shot.seed for shot in shots), shots[0].plan.latent_shape)
        nothing = Conditions()
        latents = self.torch.denoise(self.network, table, noise, nothing, Guidance(1.0), lambda row, x: None)
        pictures = ((latents[:, :3] * 40 + 128).clamp(0, 255)).to(torch.uint8).permute(0, 2, 3, 1)
        return Drawn(np.ascontiguousarray(pictures.numpy()), latents, self.torch)
