"""How much memory a run takes at its peak: from headers and configurations, before a weight is read or torch imported.

    peak = weights of all components, in the run's number format
         + the larger of what denoising and what decoding holds besides (components/activation_size.py)
         + what Python, the libraries and their workspaces take themselves, a constant

On a CPU in float32 part of the weights are pages of the file, which the system can take back; in half precision a layer
computes in float32 there, so tensors of images count double. How near it comes is measured by benchmarks/full_size.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.activation_size import context_elements, decoder_elements, unet_elements
from components.model_config import AutoencoderKLConfig, UNet2DConditionConfig
from runner.backends.abilities import ABILITIES

if TYPE_CHECKING:
    from components.component_files import ComponentFiles
    from runner.plan import Plan

CLIP_TOKENS = 77
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
# pixels decoded at once: the decoder's widest layers take about 2.5 kB a pixel in float32
DECODED_AT_ONCE = {"cpu": 512 * 512, "mps": 512 * 512, "cuda": 4 * 1024 * 1024}


@dataclass(frozen=True)
class Peak:
    """Bytes. `weights` by component, of which `resident` are on the device at once; `denoise` and `decode` are what
    those phases hold besides; `libraries` is there from the start. `dtype` is the number format it was reckoned in."""

    weights: Mapping[str, int] = field(repr=False)
    resident: int
    denoise: int
    decode: int
    libraries: int
    dtype: str

    @property
    def total(self) -> int:
        """The most bytes at any time."""
        return self.resident + max(self.denoise, self.decode) + self.libraries


def estimate_peak(plan: Plan, batch: int | None = None) -> Peak:
    """What a plan takes with `batch` images at once; None: as many as its largest batch has.

    Raises:
        CheckpointError: a weight file is damaged, or is a pickle where that is not allowed.
    """
    count = batch or max(len(batch.indices) for batch in plan.batches)
    device = device_type(plan)
    dtype = plan.dtype if plan.dtype != "auto" else ("float32" if device == "cpu" else "bfloat16")
    width = WIDTHS[dtype]
    held = 4 if device == "cpu" else width
    backend = ABILITIES[plan.recipe.backend.name]
    _, height, columns = plan.latent_shape
    config, inputs = plan.configs[plan.family.network], count * _calls(plan)
    unet = unet_elements(config, (height, columns), count=inputs, scores=backend.whole_scores)
    if isinstance(config, UNet2DConditionConfig) and backend.keeps_context:
        unet += context_elements(config, CLIP_TOKENS, count=inputs)
    weights = {name: parameters(files) * width for name, files in plan.components.items() if files.weights}
    return Peak(
        weights=weights,
        resident=_resident(plan, weights, width, device),
        denoise=unet * held,
        decode=_decoding(plan, count, held, device, scores=backend.whole_scores),
        libraries=backend.own_bytes,
        dtype=dtype,
    )


def parameters(files: ComponentFiles) -> int:
    """Numbers in a component's weight files, by their headers."""
    return sum(math.prod(info.shape) for info in files.tensors().values())


def decoded_at_once(device: str, pixels: int) -> int:
    """How many pictures of so many pixels are decoded together, whatever the batch."""
    return max(1, DECODED_AT_ONCE.get(device, 512 * 512) // pixels)


def device_type(plan: Plan) -> str:
    """cpu, cuda or mps; `auto` is taken for the CPU, because only the backend's library knows what is here."""
    return "cpu" if plan.device == "auto" else plan.device.partition(":")[0]


def _calls(plan: Plan) -> int:
    """Inputs of the network for one image: with the prompt, and without where guidance compares the two."""
    return 2 if plan.guidance.doubles and plan.family.encoders else 1


def _resident(plan: Plan, weights: Mapping[str, int], width: int, device: str) -> int:
    """Bytes of weights on the device at once; on a CPU the device is where offloaded weights wait."""
    offload = plan.recipe.backend.offload
    if offload == "none" or device == "cpu":
        return sum(weights.values())
    if offload == "model":
        return max(weights.values())
    tensors = (info for name in weights for info in plan.components[name].tensors().values())
    return max(math.prod(info.shape) for info in tensors) * width


def _decoding(plan: Plan, count: int, width: int, device: str, scores: bool) -> int:
    pictures = count * 3 * plan.height * plan.width * 4
    vae = plan.configs.get(plan.family.autoencoder or "")
    if not isinstance(vae, AutoencoderKLConfig):
        return 2 * pictures
    choice = plan.recipe.backend
    single = scores or choice.vae_slicing
    together = 1 if single else min(count, decoded_at_once(device, plan.height * plan.width))
    size = plan.latent_shape[1:]
    if choice.vae_tiling:
        tile = vae.tile_size // vae.scale
        size = min(size[0], tile), min(size[1], tile)
    return pictures + decoder_elements(vae, size, count=together, scores=scores) * width
