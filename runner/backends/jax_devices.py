"""The devices that a run uses, and how its arrays lie on them: images are shared out, parameters are on every one, or
shared out as well where they would not fit.

The devices stand in a row (a mesh of one axis). A batch that they do not divide evenly is padded, and what an image
looks like depends on none of this. JAX's threads and its folder of compiled programs are set up here too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from components.jax_models.loading import Device
from components.jax_models.primitives import bring
from runner.errors import Problem, RecipeError
from runner.provenance import cache_folder

PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "mps")
IMAGES = "images"
"""Name of the mesh's axis."""


@dataclass(frozen=True)
class Layout:
    """Devices in a row; `shares_parameters`: each of them keeps a part of every large parameter instead of all of it.

    It can be an argument of a program, static: two layouts of the same devices are the same one.
    """

    mesh: Mesh
    shares_parameters: bool = False

    @classmethod
    def over(cls, devices: Sequence[Device], shares_parameters: bool = False) -> Layout:
        """A layout over these devices; one alone has nobody to share with."""
        return cls(Mesh(np.array(devices), (IMAGES,)), shares_parameters and len(devices) > 1)

    @property
    def count(self) -> int:
        return self.mesh.size

    @property
    def platform(self) -> str:
        return self.mesh.devices.flat[0].platform

    @cached_property
    def everywhere(self) -> NamedSharding:
        """The whole of an array on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def images(self, axis: int = 0) -> NamedSharding:
        """Arrays whose axis of this number counts images, as many on each device."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, IMAGES))

    def parameter(self, shape: tuple[int, ...]) -> NamedSharding:
        """Where a parameter of this shape lies: a large one shared out along its longest axis that divides evenly."""
        axes = [axis for axis, length in enumerate(shape) if length % self.count == 0]
        if not (self.shares_parameters and axes and len(shape) > 1):
            return self.everywhere
        return self.images(max(axes, key=lambda axis: shape[axis]))

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """While a program is traced: layers bring together the kernels that are shared out, each when its input is
        there. Were it not for the barrier, the compiler would do it once, before the loop over rows, and every device
        would hold all of them after all."""

        def brought(kernel: Array, x: Array) -> tuple[Array, Array]:
            kernel, x = lax.optimization_barrier((kernel, x))
            return lax.with_sharding_constraint(kernel, self.everywhere), x

        if not self.shares_parameters:
            yield
            return
        before = bring.set(brought)
        try:
            yield
        finally:
            bring.reset(before)

    def padded(self, images: int) -> int:
        """Images in a batch after padding."""
        return -(-images // self.count) * self.count

    def share_out(self, array: Any, axis: int = 0) -> Array:
        """An array of the host or of any device, shared out along an axis that counts images; the last of them is
        repeated until they divide evenly."""
        missing = self.padded(array.shape[axis]) - array.shape[axis]
        if missing:
            library: Any = np if isinstance(array, np.ndarray) else jnp
            last = library.take(array, library.array([-1] * missing), axis)
            array = library.concatenate([array, last], axis)
        return jax.device_put(array, self.images(axis))


def pick_devices(device: str) -> list[Device]:
    """`auto` is JAX's own choice, accelerators where there are any, and a kind alone (cpu, cuda) all of that kind;
    cuda:1 is that one. Raises RecipeError for devices that are not here."""
    if device == "auto":
        return jax.devices()
    here: dict[str, list[Device]] = {}
    for platform in PLATFORMS:
        for found in _devices(platform):
            here.setdefault(kind_of(found), []).append(found)
            if found.platform != "cpu":
                here[f"{kind_of(found)}:{found.id}"] = [found]
    if device not in here:
        what = f"{device!r} is not a device that JAX has here"
        raise RecipeError([Problem("backend.device", what, ("auto", *sorted(here)))])
    return here[device]


def kind_of(device: Device) -> str:
    """What recipes call a device's kind: cpu, cuda, or the platform's own name."""
    return "cuda" if device.platform == "gpu" else device.platform


def name_of(devices: Sequence[Device]) -> str:
    """Devices as recipes call them: their kind, with its number where it is one of several that there could be."""
    kind = kind_of(devices[0])
    return kind if kind == "cpu" or len(devices) > 1 else f"{kind}:{devices[0].id}"


def pick_dtype(dtype: str, platform: str) -> str:
    """`auto` is float32 on a CPU and bfloat16 elsewhere."""
    if dtype != "auto":
        return dtype
    return "float32" if platform == "cpu" else "bfloat16"


def _devices(platform: str) -> list[Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # JAX's way to say that there are none
        return []


def set_threads(threads: int) -> int:
    """The number of CPU threads that JAX has, which is this one if JAX has not been used in the process before.

    JAX reads it from the environment (NPROC), once, when it looks for devices. There is no other switch.
    """
    global _threads
    if _threads is None:
        before = os.environ.get("NPROC")
        os.environ["NPROC"] = str(threads)
        jax.devices()
        del os.environ["NPROC"]
        if before is not None:
            os.environ["NPROC"] = before
        _threads = threads
    return _threads


_threads: int | None = None


def keep_programs() -> None:
    """Compiled programs stay in the user's cache folder, so that the next process starts warm; a folder that the user
    has chosen (JAX_COMPILATION_CACHE_DIR) is left as it is."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
