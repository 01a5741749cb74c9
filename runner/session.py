"""What stays warm between pictures: backends, loaded components and encoded prompts; and the drawing of one batch.

A batch is any images that one call of the network can serve: of one plan, or of several whose tables can be stacked.
Which images those are is decided elsewhere (a plan's batches, a sweep's partition); nothing here touches a file.
"""

from __future__ import annotations

import gc
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.backends.base import Backend, Guidance, NoiseSpec, Saving, make_backend
from runner.conditions import Array, Conditions, join
from runner.sampling import Request, sample

if TYPE_CHECKING:
    from runner.plan import Plan

PHASES = ("load", "encode", "denoise", "decode", "save")
CONDITIONS_KEPT = 256  # of Stable Diffusion's, half a megabyte each
Say = Callable[[str], None]


@dataclass
class Stopwatch:
    """Seconds spent in each phase."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @contextmanager
    def timing(self, phase: str, backend: Backend | None = None) -> Iterator[None]:
        """Adds the time of the block; work handed to `backend` is waited for."""
        begun = time.perf_counter()
        yield
        if backend is not None:
            backend.wait()
        self.seconds[phase] += time.perf_counter() - begun


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collections meanwhile: importing torch and transformers makes much that lasts and little garbage.

    To look through all of it again and again is a fifth of the time the two take.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass(frozen=True)
class Shot:
    """One image to draw: a settled plan, and the image's own seed."""

    plan: Plan
    seed: int


@dataclass(frozen=True)
class Drawn:
    """A batch as it was drawn: pictures (B, H, W, 3) uint8 and the latents (B, C, h, w) they were decoded from."""

    pictures: np.ndarray
    latents: Array
    backend: Backend


class Session:
    """Backends, components and encoded prompts, kept between runs and between the batches of a sweep."""

    def __init__(self, memory: int | None = None) -> None:
        """`memory` bounds the bytes of loaded weights on a CPU; None: half of what the machine has."""
        self._memory = _half_of_memory() if memory is None else memory
        self._backends: dict[tuple[Any, ...], Backend] = {}
        self._parts: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()
        self._conditions: OrderedDict[tuple[Any, ...], Conditions] = OrderedDict()

    def backend(self, plan: Plan) -> Backend:
        """The plan's backend; the last one is made again when its thread count differs, as that is process-wide."""
        choice = plan.recipe.backend
        key = (choice.name, plan.device, plan.dtype, plan.threads, choice.compile, _saving(plan))
        if key not in self._backends:
            self._backends.clear()
            self._backends[key] = make_backend(*key)
        return self._backends[key]

    def parts(self, plan: Plan, backend: Backend) -> dict[str, Any]:
        """The pipeline's components, those not yet here loaded one after the other.

        What was used longest ago is dropped first: all that is not wanted now on a device with a memory of its own,
        as much as the bound asks for on a CPU.
        """
        wanted = self._wanted(plan, backend)
        bound = self._memory if backend.device == "cpu" else 0
        coming = sum(_weight_bytes(plan, name) for name, key in wanted.items() if key not in self._parts)
        for key in [key for key in self._parts if key not in wanted.values()]:
            if sum(size for _, size in self._parts.values()) + coming <= bound:
                break
            del self._parts[key]
        for name, key in wanted.items():
            if key not in self._parts:
                self._parts[key] = (
                    backend.load(plan.family.role(name), plan.components[name]),
                    _weight_bytes(plan, name),
                )
            self._parts.move_to_end(key)
        return {name: self._parts[key][0] for name, key in wanted.items()}

    def draw(
        self,
        shots: Sequence[Shot],
        watch: Stopwatch,
        say: Say = lambda sentence: None,
        after_row: Callable[[int], None] = lambda row: None,
    ) -> Drawn:
        """Draws a batch: loads what is not here, encodes, denoises, decodes.

        Args:
            shots: of one plan, or of plans with equal sources, sizes and row counts whose tables can be stacked.
            after_row: called with the number of each row of the table when it is done.

        Raises:
            RecipeError, CheckpointError, OSError, MemoryError, RuntimeError: it cannot be drawn; the message says why.
        """
        plan = shots[0].plan
        with watch.timing("load"), uncollected():
            backend = self.backend(plan)
            parts = self.parts(plan, backend)
        with watch.timing("encode", backend):
            conditions = join([self._encoded(shot.plan, backend, parts, say) for shot in shots], backend.join)
        with watch.timing("denoise", backend):
            request = Request(
                _stacked([shot.plan for shot in shots]),
                conditions,
                _guidance([shot.plan.guidance for shot in shots]),
                _noise(shots),
                after_row=lambda landed: after_row(landed.row),
            )
            drawn = sample(backend, plan.family, parts, request)
            if not np.isfinite(backend.to_numpy(drawn.latents)).all():
                raise RuntimeError(f"the latents are not finite numbers: the network overflowed in {backend.dtype}")
        with watch.timing("decode", backend):
            pictures = backend.to_pixels(drawn.images)
        return Drawn(pictures, drawn.latents, backend)

    def _encoded(self, plan: Plan, backend: Backend, parts: dict[str, Any], say: Say) -> Conditions:
        """The plan's conditions, encoded once for all images and jobs that share it."""
        wanted = self._wanted(plan, backend)
        encoders = tuple(key for name, key in wanted.items() if name in plan.family.encoders)
        key = (encoders, plan.family.classes, repr(plan.wish), plan.guidance.doubles)
        if key not in self._conditions:
            self._conditions[key] = plan.family.encode(backend, parts, plan.wish, plan.guidance, say)
            if len(self._conditions) > CONDITIONS_KEPT:
                self._conditions.popitem(last=False)
        self._conditions.move_to_end(key)
        return self._conditions[key]

    def _wanted(self, plan: Plan, backend: Backend) -> dict[str, tuple[Any, ...]]:
        """What a loaded component is known by; optional ones that the checkpoint has not are left out."""
        return {
            name: (
                backend.name,
                name,
                plan.components[name].folder,
                plan.components[name].weights,
                backend.dtype,
                backend.device,
                plan.recipe.backend.compile,
                _saving(plan),
            )
            for name in plan.family.components
            if name in plan.components
        }


def _saving(plan: Plan) -> Saving:
    choice = plan.recipe.backend
    return Saving(choice.offload, choice.vae_tiling, choice.vae_slicing, choice.shard_parameters)


def _stacked(plans: Sequence[Plan]) -> Any:
    """One table for all: the only one there is, or a stack."""
    from components.schedulers.tableau import stack

    tables = [plan.tableau for plan in plans]
    return tables[0] if all(table is tables[0] for table in tables) else stack(tables)


def _noise(shots: Sequence[Shot]) -> NoiseSpec:
    plan = shots[0].plan
    seeds = tuple(shot.seed for shot in shots)
    return NoiseSpec(seeds, plan.latent_shape, plan.recipe.noise.device == "device", plan.scheduler.noise_dtype)


def _guidance(given: Sequence[Guidance]) -> Guidance:
    """One guidance for all images, or one with a scale for each."""
    if all(one == given[0] for one in given):
        return given[0]
    scales, rescales = ([getattr(one, name) for one in given] for name in ("scale", "rescale"))
    return Guidance(tuple(scales), tuple(rescales), given[0].embedded)


def _weight_bytes(plan: Plan, name: str) -> int:
    return sum(path.stat().st_size for path in plan.components[name].weights)


def _half_of_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 8 << 30
