"""The torch backend: components on one device in one dtype, prompts to hidden states, noise to latents to pixels.

The update runs in torch_engine, the draws in torch_noise; here is only what connects them to the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from components.torch_models.autoencoder_kl import AutoencoderKL
from components.torch_models.base import load_model
from components.torch_models.offload import Offload
from components.torch_models.text_encoder import (
    encode_clip,
    encode_clip_penultimate,
    load_text_encoder,
    load_tokenizer,
)
from components.torch_models.unet_2d import UNet2DModel
from components.torch_models.unet_2d_condition import UNet2DConditionModel
from runner.backends.base import SAVING_NOTHING, AfterRow, Guidance, NoiseSource, NoiseSpec, Role, Saving, Start
from runner.backends.heap import keep_freed_memory
from runner.backends.torch_engine import compile_table, run, start
from runner.backends.torch_guidance import GuidedNetwork, layout
from runner.backends.torch_noise import BrownianNoise, GeneratorNoise, IndependentNoise
from runner.conditions import Conditions
from runner.errors import Problem, RecipeError
from runner.memory import decoded_at_once

if TYPE_CHECKING:
    from components.component_files import ComponentFiles
    from components.latent_space import LatentSpace
    from components.schedulers import Tableau

MODELS = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "UNet2DModel": UNet2DModel,
    "AutoencoderKL": AutoencoderKL,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class TorchBackend:
    """One device and one dtype. Making it sets the process's thread count, which decides the last bit on a CPU, and
    has its heap keep freed memory."""

    name = "torch"

    def __init__(
        self,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = 1,
        compile: bool = False,
        saving: Saving = SAVING_NOTHING,
        offload: Offload | None = None,
    ) -> None:
        """`threads` None leaves the process as it is; `offload` is for components that are already in its charge.

        Raises RecipeError when the device is not here.
        """
        self._device = pick_device(device)
        self._dtype = DTYPES[pick_dtype(dtype, self._device)]
        self.device = str(self._device)
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.threads = threads or torch.get_num_threads()
        self.compile = compile
        self._saving = saving
        self._offload = offload or (None if saving.offload == "none" else Offload(self._device, saving.offload))
        if threads:
            torch.set_num_threads(threads)
            keep_freed_memory()

    def load(self, role: Role, files: ComponentFiles) -> Any:
        """See `Backend.load`. Raises CheckpointError for weights that are damaged or do not fit."""
        place = torch.device("cpu") if self._offload else self._device
        model = load_component(role, files, place, self._dtype)
        if role == "autoencoder":
            model.enable_tiling(self._saving.vae_tiling)
            model.enable_slicing(self._saving.vae_slicing)
        if self._offload and isinstance(model, nn.Module):
            self._offload.add(model)
        if self.compile and role == "network":
            model.compile()
        return model

    def encode_text(self, encoder: Any, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Tensor:
        """See `Backend.encode_text`. With `skip` the final layer norm still applies."""
        self._ready(encoder)
        tokens = torch.as_tensor(ids, device=self._device)
        attention = None if mask is None else torch.as_tensor(mask, device=self._device)
        with torch.inference_mode():
            return encode_clip(encoder, tokens, skip, attention)

    def encode_texts(
        self, encoders: Sequence[Any], ids: Sequence[np.ndarray], skip: int | None
    ) -> tuple[Tensor, Tensor]:
        """See `Backend.encode_texts`."""
        read = []
        with torch.inference_mode():
            for encoder, tokens in zip(encoders, ids, strict=True):
                self._ready(encoder)
                read.append(encode_clip_penultimate(encoder, torch.as_tensor(tokens, device=self._device), skip))
            pooled = read[-1][1]
            assert pooled is not None, "the last encoder has a projection"
            return torch.cat([hidden for hidden, _ in read], dim=-1), pooled

    def join(self, arrays: Sequence[Any], axis: int = 0) -> Tensor:
        """See `Backend.join`."""
        return torch.cat([torch.as_tensor(array, device=self._device) for array in arrays], axis)

    def denoise(
        self,
        network: Any,
        table: Tableau,
        noise: NoiseSpec | NoiseSource,
        conditions: Conditions,
        guidance: Guidance,
        after_row: AfterRow,
        begin: Start | None = None,
    ) -> Tensor:
        """See `Backend.denoise`. Latents and the update are float32 whatever the network's dtype."""
        self._ready(network)
        program = compile_table(table, self._device)
        source = self._source(noise, table) if isinstance(noise, NoiseSpec) else noise
        guided = GuidedNetwork(network, conditions, guidance, self._dtype, self._device)

        def after(n: int, latents: Tensor) -> Tensor | None:
            change = after_row(n, latents)
            if change is None:
                return None
            guided.steer(change.conditions, change.guidance)
            return change.latents

        with torch.inference_mode():
            first = start(program, source, begin and self._begun(begin, table, source))
            state = run(program, first, guided, source, after_row=after)
        assert state.registers[0] is not None
        return state.registers[0]

    def _begun(self, begin: Start, table: Tableau, source: NoiseSource) -> Tensor:
        """x before the first row, of latents that stand at a level."""
        terms = begin.terms(table)
        kept, added = torch.tensor(terms, dtype=torch.float32, device=self._device).view(2, -1, 1, 1, 1)
        x = torch.as_tensor(begin.latents, dtype=torch.float32, device=self._device) * kept
        source.started = not terms[1].any()
        return x if source.started else x + source.draw() * added

    def _source(self, noise: NoiseSpec, table: Tableau) -> GeneratorNoise:
        options: dict[str, Any] = {"device": self._device}
        if noise.on_device:
            row_dtype = None if noise.row_dtype is None else DTYPES[noise.row_dtype]
            options |= {"draw_on": self._device, "draw_dtype": self._dtype, "row_dtype": row_dtype}
        if table.brownian is not None:
            return BrownianNoise(table, noise.seeds, noise.shape, **options)
        return IndependentNoise(noise.seeds, noise.shape, **options)

    def decode(
        self, vae: Any | None, latents: Tensor, space: LatentSpace | None = None, upcast: bool = False
    ) -> Tensor:
        """See `Backend.decode`."""
        if vae is None or space is None:
            return (latents.float() * 0.5 + 0.5).clamp(0, 1)
        self._ready(vae)
        dtype = vae.dtype
        if not (upcast and dtype == torch.float16):
            return self._decode(vae, latents, space)
        vae.to(torch.float32)
        try:
            return self._decode(vae, latents, space)
        finally:
            vae.to(dtype)

    def _ready(self, network: Any) -> None:
        """Before a network works: on the device it must be, if it waits elsewhere."""
        if self._offload:
            self._offload.ready(network)

    @torch.inference_mode()
    def _decode(self, vae: Any, latents: Tensor, space: LatentSpace) -> Tensor:
        pixels = latents.shape[-2] * latents.shape[-1] * space.factor**2
        group = decoded_at_once(self._device.type, pixels)
        images = []
        for part in latents.split(group):
            scaled = space.unscaled(part, _per_channel(part)).to(vae.dtype, memory_format=layout(self._device))
            image = vae.decode(scaled).sample.float()
            images.append((image * 0.5 + 0.5).clamp(0, 1))
        return torch.cat(images)

    def to_pixels(self, images: Tensor) -> np.ndarray:
        """See `Backend.to_pixels`. Rounds half to even, as numpy does; one channel is repeated to three."""
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels

    def to_numpy(self, array: Tensor) -> np.ndarray:
        """See `Backend.to_numpy`."""
        return array.float().cpu().numpy()

    def wait(self) -> None:
        """See `Backend.wait`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def versions(self) -> dict[str, str]:
        """See `Backend.versions`."""
        found = {"torch": str(torch.__version__)}
        if self._device.type == "cuda":
            found["cuda"] = str(torch.version.cuda)
            found["device"] = torch.cuda.get_device_name(self._device)
        return found


BACKEND = TorchBackend
MOST_ARRANGED = 1 << 27  # bytes of weights that are copied into another layout: one step of the demo gains 5 to 10 %


def load_component(role: Role, files: ComponentFiles, device: torch.device, dtype: torch.dtype) -> Any:
    """A tokenizer, text encoder or network. Raises CheckpointError for files that are damaged or do not fit."""
    if role == "tokenizer":
        return load_tokenizer(files)
    if role == "encoder":
        return load_text_encoder(files, device=device, dtype=dtype)
    model = load_model(MODELS[files.class_name], files, device=device, dtype=dtype)
    # Convolutions want the channels of their weights innermost too. A large network's are left as they are on a CPU,
    # where they are read from the file as they are needed and it is enough for the images.
    size = sum(weight.nbytes for weight in model.parameters())
    arrange = device.type == "cuda" or (device.type == "cpu" and size <= MOST_ARRANGED)
    return model.to(memory_format=torch.channels_last) if arrange else model


def _per_channel(like: Tensor) -> Callable[[tuple[float, ...]], Tensor]:
    """Makes a number for each channel (1, C, 1, 1), of the kind of `like`."""
    return lambda numbers: torch.tensor(numbers, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


def pick_device(device: str) -> torch.device:
    """`auto` is cuda, else mps, else cpu. Raises RecipeError for a device that is unknown or not here."""
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here[:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if device == "auto":
        return torch.device(here[0])
    if device not in here:
        raise RecipeError(
            (Problem(where="backend.device", what=f"{device!r} is not on this machine", allowed=("auto", *here)),)
        )
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> str:
    """`auto` is float32 on a CPU and half precision elsewhere: bfloat16 where the device has it, else float16."""
    if dtype != "auto":
        return dtype
    if device.type == "cpu":
        return "float32"
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"
