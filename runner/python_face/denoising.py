"""What every call does between its arguments and its latents: the table, the noise, the rows. Knows no prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from components.schedulers.base import Scheduler
from components.torch_models.offload import Offload
from runner.backends.base import Change, Guidance
from runner.backends.torch import TorchBackend
from runner.backends.torch_noise import GeneratorNoise, PathNoise
from runner.conditions import Conditions
from runner.errors import Problem
from runner.families import Family
from runner.progress import Progress
from runner.python_face.wrapped import unwrapped
from runner.sampling import Hook, Landed, Request, Sample, sample

Generators = torch.Generator | Sequence[torch.Generator] | None


class StoppedByCallback(Exception):
    """A callback asked to stop here."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents


class Denoising:
    """The part of a pipeline that turns noise into latents."""

    family: ClassVar[Family]
    scheduler: Scheduler
    unet: Any
    device: torch.device
    dtype: torch.dtype
    _components: dict[str, Any]
    _offload: Offload | None
    _bar_options: dict[str, Any]

    def _backend(self) -> TorchBackend:
        dtype = str(self.dtype).removeprefix("torch.")
        return TorchBackend(str(self.device), dtype, threads=None, offload=self._offload)

    def _configs(self) -> dict[str, Any]:
        """Component name → configuration, as families read them."""
        parts = {name: unwrapped(part) for name, part in self._components.items()}
        configs = {name: part.config for name, part in parts.items() if hasattr(part, "config")}
        return {name: c if isinstance(c, Mapping) else c.to_dict() for name, c in configs.items()}

    def _table(self, steps: int | None, timesteps: Any = None, sigmas: Any = None, **run: Any) -> Any:
        """The table of this call, which the scheduler keeps: its `timesteps` and `sigmas` are this run's from here on.

        `run` has run options; those that the scheduler does not know are left out. An eta that nobody has set is 0, the
        reference library's default for every scheduler. Raises SchedulerConfigError (a ValueError) for a schedule that
        cannot be run.
        """
        scheduler = self.scheduler
        if run.get("eta") is None:
            run["eta"] = scheduler.run.eta if "eta" in scheduler.chosen else 0.0
        known = {name: value for name, value in run.items() if name in scheduler.options()}
        listed = timesteps is not None or sigmas is not None
        scheduler.set_timesteps(None if listed else steps, self.device, timesteps=timesteps, sigmas=sigmas, **known)
        return scheduler.table

    def _sample(
        self,
        backend: TorchBackend,
        table: Any,
        shape: tuple[int, int, int, int],
        conditions: Conditions,
        guidance: Guidance,
        generator: Generators,
        latents: Tensor | None = None,
        after_row: Hook = lambda landed: None,
    ) -> Sample:
        """What the rows come to, or what they had come to when a callback stopped them."""
        parts = {
            name: unwrapped(part) if name == self.family.autoencoder else part
            for name, part in self._components.items()
        }
        bar = Progress(batches=1, rows=table.rows, steps=table.steps, speak=not self._bar_options.get("disable"))

        def after(landed: Landed) -> Change | None:
            bar.row_done(0, landed.row, int(table.step[landed.row]))
            return after_row(landed)

        noise = self._noise(table, shape, generator, latents)
        try:
            return sample(backend, self.family, parts, Request(table, conditions, guidance, noise, after_row=after))
        except StoppedByCallback as stopped:
            return Sample(backend, self.family, parts, stopped.latents)
        finally:
            bar.close()

    def _noise(
        self, table: Any, shape: tuple[int, int, int, int], generator: Generators, latents: Tensor | None
    ) -> GeneratorNoise:
        """The draws of a call: first its initial latents (unless they are given), then what each row takes."""
        if isinstance(generator, Sequence) and len(generator) == 1:
            generator = generator[0]
        first = generator[0] if isinstance(generator, Sequence) else generator
        place = self.device if first is None else first.device
        on_device = place.type != "cpu"
        row_dtype = self.scheduler.noise_dtype
        options: dict[str, Any] = {
            "device": self.device,
            # on a CPU a half-precision draw is the float32 draw rounded; elsewhere it is another stream
            "draw_dtype": self.dtype if on_device else torch.float32,
            "row_dtype": getattr(torch, row_dtype) if row_dtype and on_device else None,
            "first": latents,
        }
        if table.brownian is None:
            return GeneratorNoise(generator, shape, **options)
        seed = self.scheduler.config["noise_sampler_seed"] if "noise_sampler_seed" in self.scheduler.options() else None
        return PathNoise(table, seed, generator, shape, **options)

    def _seed_problems(self, count: int) -> list[Problem]:
        """Seeds of Brownian paths in the scheduler's configuration that are not one for each image."""
        seeds = self.scheduler.config.get("noise_sampler_seed")
        if "noise_sampler_seed" not in self.scheduler.options() or not isinstance(seeds, list | tuple):
            return []
        what = f"{len(seeds)} seeds are configured for {count} images"
        return [] if len(seeds) == count else [Problem("scheduler.noise_sampler_seed", what)]

    def _generator_problems(self, generator: Any, count: int) -> list[Problem]:
        """What is wrong with the generators of a call that makes so many images."""
        if generator is None:
            return []
        several = isinstance(generator, list | tuple)
        every = list(generator) if several else [generator]
        for one in every:
            if not isinstance(one, torch.Generator):
                what = f"must be a torch.Generator or a list of them, but is {one!r}"
                return [Problem("generator", what, hint="torch.Generator().manual_seed(…) makes one")]
            if one.device.type not in ("cpu", self.device.type):
                what = f"a generator on {one.device} cannot draw for a pipeline on {self.device}"
                return [Problem("generator", what, hint="a generator on the CPU serves every device")]
        if several and len(every) not in (1, count):
            what = f"{len(every)} generators are given for {count} images"
            return [Problem("generator", what, hint="one for all, or one for each")]
        return []
