"""The JAX backend: components on devices in one dtype, prompts to hidden states, noise to latents to pixels.

Denoising is one compiled program for every scheduler, schedule, number of steps, guidance scale, prompt and seed; the
update runs in jax_engine. Here is what connects it to the networks. Programs are kept between processes in the user's
cache folder. torch is imported only to draw noise on the CPU, which is the default as it makes pictures equal.
"""

from __future__ import annotations

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
from components.jax_models.unet_2d import UNet2DModel
from components.jax_models.unet_2d_condition import UNet2DConditionModel
from runner.backends.base import SAVING_NOTHING, AfterRow, Guidance, NoiseSource, NoiseSpec, Role, Saving, Start
from runner.backends.jax_devices import Layout, keep_programs, name_of, pick_devices, pick_dtype, set_threads
from runner.backends.jax_engine import SEGMENT, clipping, per_image, segments, start
from runner.backends.jax_noise import HostNoise, Source, seeded
from runner.backends.jax_programs import (
    denoise_rows,
    draw_images,
    read_text,
    read_text_early,
    steer,
    to_bytes,
    to_unit,
)
from runner.conditions import Conditions
from runner.provenance import physical_cores, versions

if TYPE_CHECKING:
    from components.component_files import ComponentFiles
    from components.latent_space import LatentSpace
    from components.schedulers import Tableau

MODELS = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "UNet2DModel": UNet2DModel,
    "AutoencoderKL": AutoencoderKL,
}


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
    """The devices of one kind, or one of them, and one dtype. Batches are shared out over the devices.

    The first backend made in a process sets how many CPU threads JAX has from then on.
    """

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
        """`compile` changes nothing, as everything is compiled. Of `saving` it knows to share parameters out: pictures
        are decoded one by one anyway, and planning refuses the rest. Raises RecipeError when the device is not here.
        """
        keep_programs()
        self.threads = set_threads(threads or physical_cores())
        self._devices = pick_devices(device)
        self.layout = Layout.over(self._devices, saving.shard_parameters)
        self.device = name_of(self._devices)
        self.dtype = pick_dtype(dtype, self.layout.platform)
        self._dtype = jnp.dtype(self.dtype)

    def load(self, role: Role, files: ComponentFiles) -> Any:
        """See `Backend.load`. Raises CheckpointError for weights that are damaged or do not fit."""
        if role == "tokenizer":
            return load_tokenizer(files)
        put: dict[str, Any] = {"device": self.layout.parameter, "dtype": self._dtype}
        if role == "encoder":
            return Component.of(load_text_encoder(files, **put))
        return Component.of(load_model(MODELS[files.class_name], files, **put))

    def encode_text(self, encoder: Component, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Array:
        """See `Backend.encode_text`. With `skip` the final layer norm still applies."""
        attention = None if mask is None else self._everywhere(mask)
        return read_text(
            self.layout, encoder.structure, encoder.parameters, self._everywhere(ids), attention, skip or 0
        )

    def encode_texts(
        self, encoders: Sequence[Component], ids: Sequence[np.ndarray], skip: int | None
    ) -> tuple[Array, Array]:
        """See `Backend.encode_texts`."""
        read = [
            read_text_early(self.layout, encoder.structure, encoder.parameters, self._everywhere(tokens), skip or 0)
            for encoder, tokens in zip(encoders, ids, strict=True)
        ]
        pooled = read[-1][1]
        assert pooled is not None, "the last encoder has a projection"
        return jnp.concatenate([hidden for hidden, _ in read], axis=-1), pooled

    def _everywhere(self, array: np.ndarray) -> Array:
        return jax.device_put(np.asarray(array), self.layout.everywhere)

    def join(self, arrays: Sequence[Any], axis: int = 0) -> Array:
        """See `Backend.join`."""
        return jnp.concatenate([jnp.asarray(array) for array in arrays], axis)

    def denoise(
        self,
        network: Component,
        table: Tableau,
        noise: NoiseSpec | NoiseSource | Source,
        conditions: Conditions,
        guidance: Guidance,
        after_row: AfterRow,
        begin: Start | None = None,
    ) -> Array:
        """See `Backend.denoise`. Latents and the update are float32 whatever the network's dtype.

        Some rows at a time are handed to the program, then `after_row` is called for each of them, with the latents
        after the last; what it wants changed is changed from there on. `row_by_row` makes that every single row.
        """
        source, layout = self._source(noise, table), self.layout
        x, clip = self._begun(begin, table, source), clipping(table.clip)
        count = source.images
        state = start(table, x, layout.share_out)
        steering = steer(conditions, guidance, count, layout)
        pace = Pace(0.0) if self.row_by_row else Pace()
        for segment in segments(table, count, layout.share_out):
            draws, done = source.rows(segment), 0
            while done < segment.count:
                end = min(segment.count, done + pace.rows)
                with pace.measured(end - done):
                    state = denoise_rows(
                        layout,
                        network.structure,
                        guidance.twice(conditions),
                        guidance.embedded,
                        network.parameters,
                        steering,
                        segment.rows,
                        clip,
                        state,
                        draws,
                        jnp.int32(done),
                        jnp.int32(end),
                    ).block_until_ready()
                for row in range(done, end):
                    if (change := after_row(segment.first + row, state[0, :count])) is not None:
                        conditions, guidance = change.conditions or conditions, change.guidance or guidance
                        steering = steer(conditions, guidance, count, layout)
                        if change.latents is not None:
                            state = layout.share_out(state.at[0].set(layout.share_out(change.latents)), 1)
                done = end
        return state[0, :count]

    def _begun(self, begin: Start | None, table: Tableau, source: Source) -> Array:
        """x before the first row, of a draw alone or of latents that stand at a level; padded as arrays here are."""
        kept, added = (None, table.init_noise_sigma) if begin is None else begin.terms(table)
        drawn = source.first(None if begin is None or np.any(added) else np.asarray(begin.latents, np.float32))

        def number(values: Any) -> Array:
            spread = np.broadcast_to(np.asarray(values, np.float32), (source.images,))
            return per_image(self.layout.share_out(spread))

        x = drawn * number(added)
        if begin is None:
            return x
        return self.layout.share_out(np.asarray(begin.latents, np.float32)) * number(kept) + x

    def _source(self, noise: NoiseSpec | NoiseSource | Source, table: Tableau) -> Source:
        if isinstance(noise, NoiseSpec):
            return seeded(table, noise, self.layout)
        return noise if isinstance(noise, Source) else HostNoise(noise, self.layout)

    def decode(
        self, vae: Component | None, latents: Array, space: LatentSpace | None = None, upcast: bool = False
    ) -> Array:
        """See `Backend.decode`. One image at a time on each device: a single program, whatever the batch."""
        if vae is None or space is None:
            return to_unit(latents)
        parameters, layout = vae.parameters, self.layout
        if upcast and self.dtype == "float16":
            parameters = jax.tree.map(lambda array: array.astype(jnp.float32), parameters)
        by_device = layout.share_out(latents).reshape(layout.count, -1, *latents.shape[1:])
        drawn = [
            draw_images(layout, space, vae.structure, parameters, layout.share_out(by_device[:, turn]))
            for turn in range(by_device.shape[1])
        ]
        return jnp.stack(drawn, axis=1).reshape(-1, *drawn[0].shape[1:])[: len(latents)]

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
        if self.layout.count > 1:
            found["devices"] = str(self.layout.count)
        return found if self.layout.platform == "cpu" else {**found, "device": self._devices[0].device_kind}


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
