"""The JAX backend: components on one device in one dtype, prompts to hidden states, noise to latents to pixels.

Denoising is one compiled program for every scheduler, schedule, number of steps, guidance scale, prompt and seed; the
update runs in jax_engine. Here is what connects it to the networks. Programs are kept between processes in the user's
cache folder. torch is imported only to draw noise on the CPU, which is the default as it makes pictures equal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from components.clip_files import load_tokenizer
from components.jax_models.autoencoder_kl import AutoencoderKL
from components.jax_models.base import load_model
from components.jax_models.clip_text import load_text_encoder
from components.jax_models.loading import Device
from components.jax_models.unet_2d import UNet2DModel
from components.jax_models.unet_2d_condition import UNet2DConditionModel
from runner.backends.base import SAVING_NOTHING, AfterRow, Conditioning, Guidance, NoiseSource, NoiseSpec, Saving
from runner.backends.jax_engine import SEGMENT, clipping, segments, start
from runner.backends.jax_noise import DeviceNoise, HostNoise
from runner.backends.jax_programs import (
    denoise_rows,
    doubles,
    draw_images,
    read_text,
    read_text_early,
    steer,
    to_bytes,
    to_unit,
)
from runner.errors import Problem, RecipeError
from runner.provenance import cache_folder, physical_cores, versions

if TYPE_CHECKING:
    from components.component_files import ComponentFiles
    from components.schedulers import Tableau

MODELS = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "UNet2DModel": UNet2DModel,
    "AutoencoderKL": AutoencoderKL,
}
PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "mps")


@dataclass(frozen=True)
class Component:
    """A network as compiled programs take it: its structure, which is static, and its parameters, which are data."""

    structure: nnx.GraphDef
    parameters: Any
    config: Any

    @classmethod
    def of(cls, model: Any) -> Component:
        return cls(*nnx.split(model), model.config)


class JaxBackend:
    """One device and one dtype. The first one made in a process sets how many CPU threads JAX has from then on."""

    name = "jax"
    row_by_row = False

    def __init__(
        self,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = 1,
        compile: bool = False,
        saving: Saving = SAVING_NOTHING,
    ) -> None:
        """`compile` changes nothing, as everything is compiled, and `saving` nothing: pictures are decoded one by one,
        and planning refuses the rest. Raises RecipeError when the device is not here."""
        keep_programs()
        self.threads = set_threads(threads or physical_cores())
        self._device = pick_device(device)
        self.device = device_name(self._device)
        self.dtype = pick_dtype(dtype, self._device)
        self._dtype = jnp.dtype(self.dtype)

    def load(self, name: str, files: ComponentFiles) -> Any:
        """See `Backend.load`. Raises CheckpointError for weights that are damaged or do not fit."""
        if name.startswith("tokenizer"):
            return load_tokenizer(files)
        if name.startswith("text_encoder"):
            return Component.of(load_text_encoder(files, device=self._device, dtype=self._dtype))
        return Component.of(load_model(MODELS[files.class_name], files, device=self._device, dtype=self._dtype))

    def encode_text(self, encoder: Component, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Array:
        """See `Backend.encode_text`. With `skip` the final layer norm still applies."""
        attention = None if mask is None else jnp.asarray(mask)
        return read_text(encoder.structure, encoder.parameters, jnp.asarray(ids), attention, skip or 0)

    def encode_texts(
        self, encoders: Sequence[Component], ids: Sequence[np.ndarray], skip: int | None
    ) -> tuple[Array, Array]:
        """See `Backend.encode_texts`."""
        read = [
            read_text_early(encoder.structure, encoder.parameters, jnp.asarray(tokens), skip or 0)
            for encoder, tokens in zip(encoders, ids, strict=True)
        ]
        pooled = read[-1][1]
        assert pooled is not None, "the last encoder has a projection"
        return jnp.concatenate([hidden for hidden, _ in read], axis=-1), pooled

    def denoise(
        self,
        unet: Component,
        table: Tableau,
        noise: NoiseSpec | NoiseSource,
        conditioning: Conditioning,
        guidance: Guidance,
        after_row: AfterRow,
    ) -> Array:
        """See `Backend.denoise`. Latents and the update are float32 whatever the network's dtype.

        Some rows at a time are handed to the program, then `after_row` is called for each of them, with the latents
        after the last; what it wants changed is changed from there on. `row_by_row` makes that every single row.
        """
        source = self._source(noise, table)
        state = start(table, source.first())
        count, clip = state.shape[1], clipping(table.clip)
        steering = steer(conditioning, guidance, count)
        pace = Pace(0.0) if self.row_by_row else Pace()
        for segment in segments(table, count):
            draws, done = source.rows(segment), 0
            while done < segment.count:
                end = min(segment.count, done + pace.rows)
                with pace.measured(end - done):
                    state = denoise_rows(
                        unet.structure,
                        doubles(conditioning, guidance),
                        guidance.embedded,
                        unet.parameters,
                        steering,
                        segment.rows,
                        clip,
                        state,
                        draws,
                        jnp.int32(done),
                        jnp.int32(end),
                    ).block_until_ready()
                for row in range(done, end):
                    if (change := after_row(segment.first + row, state[0])) is not None:
                        conditioning, guidance = change.conditioning or conditioning, change.guidance or guidance
                        steering = steer(conditioning, guidance, count)
                        state = state if change.latents is None else state.at[0].set(change.latents)
                done = end
        return state[0]

    def _source(self, noise: NoiseSpec | NoiseSource, table: Tableau) -> DeviceNoise | HostNoise:
        """A Brownian path is drawn on the host wherever the other noise is."""
        if not isinstance(noise, NoiseSpec):
            return HostNoise(noise, self._device)
        if noise.on_device and table.brownian is None:
            return DeviceNoise(noise.seeds, noise.shape, self._device)
        return HostNoise.seeded(table, noise.seeds, noise.shape, self._device)

    def decode(self, vae: Component | None, latents: Array, upcast: bool = False) -> Array:
        """See `Backend.decode`. One image at a time: a single program, whatever the batch."""
        if vae is None:
            return to_unit(latents)
        parameters = vae.parameters
        if upcast and self.dtype == "float16":
            parameters = jax.tree.map(lambda array: array.astype(jnp.float32), parameters)
        return jnp.concatenate([draw_images(vae.structure, parameters, one[None]) for one in latents])

    def to_pixels(self, images: Array) -> np.ndarray:
        """See `Backend.to_pixels`. One channel is repeated to three."""
        pixels = np.asarray(to_bytes(images))
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels

    def to_numpy(self, array: Array) -> np.ndarray:
        """See `Backend.to_numpy`."""
        return np.array(array, dtype=np.float32)

    def wait(self) -> None:
        """See `Backend.wait`. What is handed out here is waited for, or data of what comes next."""

    def versions(self) -> dict[str, str]:
        """See `Backend.versions`."""
        found = versions(("jax", "jaxlib", "flax"))
        return found if self._device.platform == "cpu" else {**found, "device": self._device.device_kind}


BACKEND = JaxBackend


@dataclass
class Pace:
    """How many rows to hand to the program at once, found out on the way: as many as fit into `seconds_a_call`, for
    which Ctrl-C and the progress bar wait."""

    seconds_a_call: float = 0.3
    rows: int = 1
    _calls: int = 0

    @contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Around a call with this many rows. The first may compile and says nothing."""
        begun = time.perf_counter()
        yield
        self._calls += 1
        if self._calls > 1:
            a_row = (time.perf_counter() - begun) / rows
            self.rows = max(1, min(SEGMENT, round(self.seconds_a_call / a_row)))


def pick_device(device: str) -> Device:
    """`auto` is JAX's own choice: an accelerator where there is one. Raises RecipeError for a device not here."""
    if device == "auto":
        return jax.devices()[0]
    here = {device_name(found): found for platform in PLATFORMS for found in _devices(platform)}
    for name in [name for name in here if name.endswith(":0")]:
        here[name.removesuffix(":0")] = here[name]
    if device not in here:
        what = f"{device!r} is not a device that JAX has here"
        raise RecipeError([Problem("backend.device", what, ("auto", *sorted(here)))])
    return here[device]


def device_name(device: Device) -> str:
    """A device as recipes call it: cpu, or cuda:0, or the platform's own name and number."""
    if device.platform == "cpu":
        return "cpu"
    return f"{'cuda' if device.platform == 'gpu' else device.platform}:{device.id}"


def pick_dtype(dtype: str, device: Device) -> str:
    """`auto` is float32 on a CPU and bfloat16 elsewhere."""
    if dtype != "auto":
        return dtype
    return "float32" if device.platform == "cpu" else "bfloat16"


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
