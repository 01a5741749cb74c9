"""Two loops that should agree: a table run by the definition of a row, and a scheduler object of the reference library.

Both in float64 on one small latent. Neither is clever, and nothing of the runner is used.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import torchsde
from torch import Tensor

from components.schedulers import Clip, Tableau
from components.schedulers.brownian import brownian_path

torch.set_num_threads(1)
diffusers.utils.logging.set_verbosity_error()

SHAPE = (1, 4, 8, 8)
FLOAT32 = torch.float32
Network = Callable[[Tensor, float], Tensor]


def stand_in(x: Tensor, timestep: float) -> Tensor:
    """A network that is neither linear in x nor blind to the timestep, so that no mistake in either cancels."""
    return 0.9 * torch.tanh(0.7 * x + 0.3 * math.sin(timestep / 300)) + 0.05 * x


def run_table(
    table: Tableau, network: Network = stand_in, *, seed: int = 0, noise_dtype: torch.dtype = torch.float64
) -> Tensor:
    """x after the last row of `table`, every product of every row written out."""
    generator = torch.Generator().manual_seed(seed)
    path = table.brownian and brownian_path(seed, SHAPE, *table.brownian, dtype=torch.float64)
    zeros = torch.zeros(SHAPE, dtype=torch.float64)
    state = zeros.repeat(table.registers, 1, 1, 1)
    state[0] = torch.randn(SHAPE, generator=generator, dtype=FLOAT32).double() * float(table.init_noise_sigma)
    update = torch.from_numpy(table.update)
    for n in range(table.rows):
        x, noise = state[:1], zeros
        output = network(float(table.input_scale[n]) * x, float(table.timestep[n]))
        variance = zeros
        if output.shape[1] == 2 * SHAPE[1]:
            output, variance = output.chunk(2, dim=1)
        x0 = zeros  # 0 times an x0 that does not exist (eps at alpha = 0) would be nan, so it is made only if used
        if update[n, :, -2].any():
            x0 = float(table.to_x0[n, 0]) * x + float(table.to_x0[n, 1]) * output
            x0 = x0 if table.clip is None else clipped(x0, table.clip)
        if table.takes_noise[n]:
            noise = (
                torch.as_tensor(path.unit(table.noise_span[n]))
                if path
                else torch.randn(SHAPE, generator=generator, dtype=noise_dtype)
            )
            low, high = np.nan_to_num(table.log_variance[n])
            noise = noise.double() * torch.exp(low / 2 + (high - low) * (variance + 1) / 4)
        state = torch.tensordot(update[n], torch.cat([state, output, x0, noise]), 1)
    return state[:1]


def clipped(x0: Tensor, clip: Clip) -> Tensor:
    """A fixed range, or dynamic thresholding (Saharia et al. 2022, section 2.3) per image."""
    if clip.kind == "range":
        return x0.clamp(-clip.limit, clip.limit)
    threshold = torch.quantile(x0.abs().flatten(1), clip.ratio, dim=1).clamp(1.0, clip.limit).view(-1, 1, 1, 1)
    return torch.maximum(torch.minimum(x0, threshold), -threshold) / threshold


def make_peer(name: str, config: Mapping[str, Any], steps: int | None = None, **schedule: Any) -> Any:
    """The reference library's scheduler of that name, with its timesteps set."""
    if steps is not None:
        schedule["num_inference_steps"] = steps
    cls = getattr(diffusers, name)
    spaced = cls.set_timesteps
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        if schedule:  # some space the whole training clock when they are made, which takes long, and forget it here
            patch.setattr(cls, "set_timesteps", lambda self, *_, **__: spaced(self, 2))
        peer = cls(**config)
        patch.undo()
        peer.set_timesteps(**schedule)
    return peer


def run_peer(peer: Any, network: Network = stand_in, *, seed: int = 0, **step_options: Any) -> Tensor:
    """x after the last step of a scheduler object, called as a pipeline calls it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator, dtype=FLOAT32).double() * getattr(peer, "init_noise_sigma", 1.0)
    scaled = getattr(peer, "scale_model_input", lambda x, t: x)
    parameters = inspect.signature(peer.step).parameters
    if "generator" in parameters:
        step_options["generator"] = generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n, t in enumerate(peer.timesteps):
            if "prev_timestep" in parameters:  # UnCLIP is told where it goes
                step_options["prev_timestep"] = peer.timesteps[n + 1] if n + 1 < len(peer.timesteps) else None
            x = peer.step(network(scaled(x, t), float(t)), t, x, **step_options).prev_sample
    return x


@contextmanager
def peer_in_float64() -> Iterator[None]:
    """Within it the peer finds float64 wherever it asks for float32: what is left between the two is no rounding."""
    kept = torch.float32, np.float32
    torch.float32, np.float32 = torch.float64, np.float64  # pyright: ignore
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, np.float32 = kept  # pyright: ignore
        torch.set_default_dtype(torch.float32)


@contextmanager
def smooth_path() -> Iterator[None]:
    """Within it a Brownian tree is a smooth function of time, so that the last bit of a time changes no picture."""

    class Smooth:
        def __init__(self, *_: Any, w0: Any = None, size: Any = None, entropy: int = 0, **__: Any) -> None:
            generator = torch.Generator().manual_seed(entropy)
            self.waves = torch.randn((9, *(size or w0.shape)), generator=generator, dtype=torch.float64)

        def at(self, time: Any) -> Tensor:
            phases = math.log(1 + float(time)) * torch.arange(1, 10, dtype=torch.float64)
            return torch.tensordot(phases.sin(), self.waves, 1)

        def __call__(self, start: Any, end: Any) -> Tensor:
            return self.at(end) - self.at(start)

    kept = torchsde.BrownianTree, torchsde.BrownianInterval
    torchsde.BrownianTree = torchsde.BrownianInterval = Smooth
    try:
        yield
    finally:
        torchsde.BrownianTree, torchsde.BrownianInterval = kept


def distance(ours: Tensor, peer: Tensor) -> float:
    """Relative to the peer's, in the norm of the whole latent; nan where the peer's is."""
    return float((ours - peer).norm() / peer.norm())
