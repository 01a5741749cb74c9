"""The torch backend: components on one device in one dtype, prompts to hidden states, noise to latents to pixels.

The update runs in torch_engine, the draws in torch_noise; here is only what connects them to the networks.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from components.torch_models.autoencoder_kl import AutoencoderKL
from components.torch_models.base import load_model
from components.torch_models.text_encoder import encode_clip, load_text_encoder, load_tokenizer
from components.torch_models.unet_2d_condition import UNet2DConditionModel
from runner.backends.base import AfterRow, Conditioning, Guidance, NoiseSpec
from runner.backends.torch_engine import compile_table, run, start
from runner.backends.torch_noise import BrownianNoise, IndependentNoise
from runner.errors import Problem, RecipeError

if TYPE_CHECKING:
    from components.component_files import ComponentFiles
    from components.schedulers import Tableau

MODELS = {"UNet2DConditionModel": UNet2DConditionModel, "AutoencoderKL": AutoencoderKL}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# pixels decoded at once: the decoder's widest layers take about 2 kB a pixel in float32
DECODED_AT_ONCE = {"cpu": 512 * 512, "mps": 512 * 512, "cuda": 4 * 1024 * 1024}


class TorchBackend:
    """One device and one dtype. Making it sets the process's thread count, which decides the last bit on a CPU."""

    name = "torch"

    def __init__(self, device: str = "auto", dtype: str = "auto", threads: int = 1, compile: bool = False) -> None:
        """Raises RecipeError when the device is not here."""
        self._device = pick_device(device)
        self._dtype = DTYPES[pick_dtype(dtype, self._device)]
        self.device = str(self._device)
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.threads = threads
        self.compile = compile
        torch.set_num_threads(threads)

    def load(self, name: str, files: ComponentFiles) -> Any:
        """See `Backend.load`. Raises CheckpointError for weights that are damaged or do not fit."""
        if name.startswith("tokenizer"):
            return load_tokenizer(files)
        if name.startswith("text_encoder"):
            return load_text_encoder(files, device=self._device, dtype=self._dtype)
        model = load_model(MODELS[files.class_name], files, device=self._device, dtype=self._dtype)
        if self._device.type != "mps":
            # convolutions want channels innermost: UNets gain 3 to 10 %, VAEs 3 to 25 % (measured on a CPU with AVX512)
            model = model.to(memory_format=torch.channels_last)
        if self.compile and name == "unet":
            model.compile()
        return model

    def encode_text(self, encoder: Any, ids: np.ndarray, mask: np.ndarray | None, skip: int | None) -> Tensor:
        """See `Backend.encode_text`. With `skip` the final layer norm still applies."""
        tokens = torch.as_tensor(ids, device=self._device)
        attention = None if mask is None else torch.as_tensor(mask, device=self._device)
        with torch.inference_mode():
            return encode_clip(encoder, tokens, skip, attention)

    def denoise(
        self,
        unet: Any,
        table: Tableau,
        noise: NoiseSpec,
        conditioning: Conditioning,
        guidance: Guidance,
        after_row: AfterRow,
    ) -> Tensor:
        """See `Backend.denoise`. Latents and the update are float32 whatever the network's dtype."""
        program = compile_table(table, self._device)
        kind = IndependentNoise if table.brownian is None else partial(BrownianNoise, table)
        source = kind(
            noise.seeds,
            noise.shape,
            device=self._device,
            draw_on=self._device if noise.on_device else "cpu",
            draw_dtype=self._dtype if noise.on_device else torch.float32,
        )
        network = self._guided(unet, conditioning, guidance, len(noise.seeds))
        with torch.inference_mode():
            state = start(program, source)
            if noise.on_device and noise.row_dtype is not None:
                source.draw_dtype = DTYPES[noise.row_dtype]
            state = run(program, state, network, source, after_row=lambda n, _: after_row(n))
        assert state.registers[0] is not None
        return state.registers[0]

    def decode(self, vae: Any, latents: Tensor) -> np.ndarray:
        """See `Backend.decode`. Rounds half to even, as numpy does; one channel is repeated to three."""
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        pixels = latents.shape[-2] * latents.shape[-1] * factor**2
        group = max(1, DECODED_AT_ONCE.get(self._device.type, 512 * 512) // pixels)
        images = []
        with torch.inference_mode():
            for part in latents.split(group):
                image = vae.decode((part / vae.config.scaling_factor).to(self._dtype)).sample.float()
                image = (image * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu()
                images.append((image * 255).round().to(torch.uint8).numpy())
        return np.concatenate(images)

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

    def _guided(self, unet: Any, conditioning: Conditioning, guidance: Guidance, count: int) -> Any:
        """The network as the engine calls it: float32 in and out, guidance applied."""
        positive = conditioning.positive.expand(count, -1, -1)
        condition = None
        if guidance.embedded:
            condition = guidance_embedding(guidance.scale - 1.0, unet.config.time_cond_proj_dim)
            condition = condition.to(self._device, self._dtype).expand(count, -1)
        if not guidance.doubles:

            def plain(x: Tensor, timestep: Tensor) -> Tensor:
                return unet(x.to(self._dtype), timestep, positive, timestep_cond=condition).sample.float()

            return plain
        assert conditioning.negative is not None
        both = torch.cat([conditioning.negative.expand(count, -1, -1), positive])

        def guided(x: Tensor, timestep: Tensor) -> Tensor:
            x = x.to(self._dtype)
            clock = timestep if timestep.ndim == 0 else torch.cat([timestep, timestep])
            without, with_prompt = unet(torch.cat([x, x]), clock, both).sample.float().chunk(2)
            return guide(without, with_prompt, guidance)

        return guided


BACKEND = TorchBackend


def guide(without: Tensor, with_prompt: Tensor, guidance: Guidance) -> Tensor:
    """Outputs without and with the prompt, (B, C, h, w) each, to the guided one; rescaled per image where asked."""
    out = without + guidance.scale * (with_prompt - without)
    if guidance.rescale > 0.0:
        dims = tuple(range(1, out.ndim))
        rescaled = out * (with_prompt.std(dims, keepdim=True) / out.std(dims, keepdim=True))
        out = guidance.rescale * rescaled + (1.0 - guidance.rescale) * out
    return out


def guidance_embedding(weight: float, dim: int) -> Tensor:
    """(1, dim) sinusoids [sin, cos] of 1000 · weight: the guidance scale as distilled networks are told it."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000.0) / (half - 1)))
    angles = weight * 1000.0 * frequencies
    embedding = torch.cat([angles.sin(), angles.cos()])
    return torch.nn.functional.pad(embedding, (0, dim % 2))[None]


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
