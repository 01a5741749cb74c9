"""For people who bring their own loop: `set_timesteps`, `scale_model_input`, `step` and `add_noise`, over a table.

The one module that keeps a loop's state on an object and looks a timestep up, because the names it promises say so.
It takes and returns the caller's kind of array (numpy, torch, JAX) and imports torch only when handed or asked for it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from components.schedulers.brownian import brownian_path
from components.schedulers.noise import variance_preserving
from components.schedulers.schedule import Schedule
from components.schedulers.tableau import Clip, Tableau


class StepOutput(NamedTuple):
    """What `step` returns: x at the next level, and the x0 that this row predicts."""

    prev_sample: Any
    pred_original_sample: Any


@dataclass
class Loop:
    """Where a caller's loop stands: its table, the next row, and the registers beside x."""

    schedule: Schedule
    table: Tableau
    run: Any
    device: Any = None
    row: int | None = None
    path: Any = None
    history: list[Any] = field(default_factory=list)


class Facade:
    """The old names. Everything they do is said by the table that `tableau` of the scheduler returns."""

    _loop: Loop | None = None
    order: int = 1
    """Network evaluations that make one step."""

    def __len__(self) -> int:
        """Length of the training clock."""
        return self.config["num_train_timesteps"]  # type: ignore[attr-defined]

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        **run: Any,
    ) -> None:
        """Begin a run of so many steps, or of listed timesteps or sigmas (ratios, the end included).

        `run` takes run options (eta, s_churn, …). Raises SchedulerConfigError for an unfit schedule.
        """
        schedule = Schedule(num_inference_steps, timesteps=_listed(timesteps), sigmas=_listed(sigmas))
        options = replace(self.run, **run)  # type: ignore[attr-defined]
        self._loop = Loop(schedule, self.table_of(schedule, options), options, device)  # type: ignore[attr-defined]

    @property
    def _begun(self) -> Loop:
        if self._loop is None:
            raise ValueError("there is no run yet: call set_timesteps first")
        return self._loop

    @property
    def num_inference_steps(self) -> int | None:
        return None if self._loop is None else self._loop.table.steps

    @property
    def timesteps(self) -> Any:
        """(N,) what the network is told, row by row: whole numbers as int64, others as float32."""
        t = self._begun.table.timestep
        return self._handed(t.astype(np.int64 if np.array_equal(t, np.round(t)) else np.float32))

    @property
    def sigmas(self) -> Any:
        """(N + 1,) noise-to-signal ratio where each row reads, and where the last one lands; float32."""
        table = self._begun.table
        levels = np.vstack([table.read, table.land[-1:]])
        with np.errstate(divide="ignore"):
            return self._handed((levels[:, 1] / levels[:, 0]).astype(np.float32))

    @property
    def init_noise_sigma(self) -> float:
        """What to multiply a standard normal draw by."""
        table: Tableau = self.table_of(Schedule(1), self.run) if self._loop is None else self._loop.table  # type: ignore
        return float(table.init_noise_sigma)

    def _handed(self, values: np.ndarray) -> Any:
        """torch's arrays where the caller uses torch, numpy's otherwise."""
        torch = sys.modules.get("torch")
        device = self._begun.device
        return values if torch is None else torch.from_numpy(values).to(device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this row (image to image begins in the middle)."""
        self._begun.row = begin_index
        self._begun.history = []

    def _row_of(self, timestep: Any) -> int:
        """The loop's next row; at its start the first one that is told this timestep."""
        loop = self._begun
        if loop.row is None:
            matches = np.flatnonzero(np.isclose(loop.table.timestep, float(timestep), rtol=1e-6, atol=1e-4))
            loop.row = int(matches[0]) if len(matches) else 0
        if loop.row >= loop.table.rows:
            raise ValueError(f"the run is over after {loop.table.rows} rows: call set_timesteps for another one")
        return loop.row

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        """What the network is to see of x at this row."""
        scale = float(self._begun.table.input_scale[self._row_of(timestep)])
        return sample if scale == 1.0 else sample * scale

    def step(
        self,
        model_output: Any,
        timestep: Any,
        sample: Any,
        *,
        generator: Any = None,
        variance_noise: Any = None,
        return_dict: bool = True,
        **run: Any,
    ) -> Any:
        """One row: x and the network's answer at its level -> x at the next one, of the same shape and kind.

        `run` takes run options, as of the peer's `step` (eta, s_churn, order, …). `generator` is a torch.Generator or
        a list of one per image, a numpy Generator, or a JAX key, after the kind of `sample`.
        """
        loop = self._begun
        n = self._row_of(timestep)
        if run and (options := replace(loop.run, **run)) != loop.run:
            loop.run, loop.table = options, self.table_of(loop.schedule, options)  # type: ignore[attr-defined]
        table = loop.table
        variance, channels = None, sample.shape[1]
        if model_output.shape[1] == 2 * channels:  # a network that predicts a variance as well
            model_output, variance = model_output[:, :channels], model_output[:, channels:]
        p, q = map(float, table.to_x0[n])
        x0 = _sum((p, sample), (q, model_output))
        if table.clip is not None:
            x0 = clipped(x0, table.clip)
        noise = None
        if table.takes_noise[n]:
            noise = self._drawn(n, sample, generator) if variance_noise is None else variance_noise
            if variance is not None and table.log_std[n].any():
                base, slope = map(float, table.log_std[n])
                noise = noise * math.e ** (base + slope * variance)
        history = loop.history or [None] * (table.registers - 1)
        sources = [sample, *history, model_output, x0, noise]
        new = [_sum(*zip(map(float, weights), sources, strict=True)) for weights in table.update[n]]
        loop.row, loop.history = n + 1, new[1:]
        return StepOutput(new[0], x0) if return_dict else (new[0],)

    def _drawn(self, row: int, sample: Any, generator: Any) -> Any:
        """This row's noise: a draw of its own, or an increment of the path that the generator's seed stands for."""
        loop = self._begun
        if loop.table.brownian is None:
            return standard_normal(sample, generator)
        if loop.path is None:
            import torch

            seed = self.config.get("noise_sampler_seed")  # type: ignore[attr-defined]
            if seed is None:
                seed = int(torch.randint(2**63 - 1, ())) if generator is None else generator.initial_seed()
            loop.path = brownian_path(seed, sample.shape, *loop.table.brownian, dtype=sample.dtype)
        noise = loop.path.unit(loop.table.noise_span[row])
        return _like(noise, sample) if _kind(noise) == "numpy" else noise.to(sample.device)

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        """x at these timesteps (B,), in the scale this solver keeps x in: alpha x0 + sigma noise."""
        alpha, sigma = self._levels_of(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, sample: Any, noise: Any, timesteps: Any) -> Any:
        """v = alpha noise - sigma x0 (arXiv 2202.00512), on the variance-preserving scale."""
        alpha, sigma = self._levels_of(timesteps, sample, variance_preserving_scale=True)
        return alpha * noise - sigma * sample

    def _levels_of(self, timesteps: Any, like: Any, variance_preserving_scale: bool = False) -> tuple[Any, Any]:
        t = np.asarray(timesteps.tolist() if hasattr(timesteps, "tolist") else timesteps, np.float64).reshape(-1)
        sigma = self.clock.sigma_at(t)  # type: ignore[attr-defined]
        if variance_preserving_scale:
            pair = variance_preserving(sigma)
        else:
            levels = self.levels(t, np.append(sigma, 0)).levels  # type: ignore[attr-defined]
            pair = levels.alpha[:-1], levels.sigma[:-1]
        shape = (-1,) + (1,) * (like.ndim - 1)
        return tuple(_like(values.reshape(shape), like) for values in pair)  # type: ignore[return-value]


def _listed(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _sum(*terms: tuple[float, Any]) -> Any:
    """The weighted sum of the terms that count; None, a register of zeros, where none does."""
    total = None
    for weight, source in terms:
        if weight == 0.0 or source is None:
            continue
        term = source if weight == 1.0 else source * weight
        total = term if total is None else total + term
    return total


def _kind(array: Any) -> str:
    return type(array).__module__.partition(".")[0]


def _like(values: np.ndarray, like: Any) -> Any:
    """These numbers in the caller's kind of array."""
    if _kind(like) == "torch":
        import torch

        return torch.from_numpy(values).to(like.device, like.dtype)
    return values.astype(like.dtype)


def clipped(x0: Any, clip: Clip) -> Any:
    """x0 clamped, or thresholded at the quantile of each image's own magnitudes (Imagen, arXiv 2205.11487, 2.3)."""
    if clip.kind == "range":
        return x0.clip(-clip.limit, clip.limit)
    magnitudes = abs(x0).reshape(x0.shape[0], -1)
    if _kind(x0) == "torch":
        import torch

        threshold = torch.quantile(magnitudes.float(), clip.ratio, dim=1).to(x0.dtype)
    elif _kind(x0) == "numpy":
        threshold = np.quantile(magnitudes, clip.ratio, axis=1)
    else:
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

        threshold = jnp.quantile(magnitudes, clip.ratio, axis=1)
    threshold = threshold.clip(1.0, max(clip.limit, 1.0)).reshape((-1,) + (1,) * (x0.ndim - 1))
    return x0.clip(-threshold, threshold) / threshold


def standard_normal(like: Any, generator: Any) -> Any:
    """A draw of the shape, kind and dtype of `like`; a list of torch generators draws image by image."""
    kind = _kind(like)
    if kind == "torch":
        import torch

        if isinstance(generator, list | tuple):
            return torch.cat([standard_normal(one[None], g) for one, g in zip(like, generator, strict=True)])
        place = like.device if generator is None else generator.device
        return torch.randn(like.shape, generator=generator, device=place, dtype=like.dtype).to(like.device)
    if kind == "numpy":
        return (generator or np.random.default_rng()).standard_normal(like.shape).astype(like.dtype)
    if generator is None:
        raise ValueError("a JAX array takes its noise from generator=, a key of jax.random")
    import jax  # pyright: ignore[reportMissingImports]

    return jax.random.normal(generator, like.shape, like.dtype)
