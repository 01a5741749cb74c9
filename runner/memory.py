"""How much memory a run takes at its peak: from headers and configurations, before a weight is read or torch imported.

    peak = weights of all components, in the run's number format
         + the larger of what denoising and what decoding holds besides (components/activation_size.py)
         + what Python, the libraries and their workspaces take themselves, a constant

On a CPU in float32 part of the weights are pages of the file, which the system can take back; in half precision a layer
computes in float32 there, so tensors of images count double. How near it comes is measured by benchmarks/full_size.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.activation_size import decoder_elements, unet_elements
from components.model_config import AutoencoderKLConfig

if TYPE_CHECKING:
    from runner.plan import Plan

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
# pixels decoded at once: the decoder's widest layers take about 2.5 kB a pixel in float32
DECODED_AT_ONCE = {"cpu": 512 * 512, "mps": 512 * 512, "cuda": 4 * 1024 * 1024}
# bytes of a process that has imported everything, with the workspace of one large layer
LIBRARIES = {"torch": 500_000_000, "jax": 600_000_000}


@dataclass(frozen=True)
class Peak:
    """Bytes. `weights` by component; `denoise` and `decode` are what those phases hold besides; `libraries` is there
    from the start. `dtype` is the number format it was reckoned in."""

    weights: Mapping[str, int] = field(repr=False)
    denoise: int
    decode: int
    libraries: int
    dtype: str

    @property
    def total(self) -> int:
        """The most bytes at any time."""
        return sum(self.weights.values()) + max(self.denoise, self.decode) + self.libraries


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
    jax = plan.recipe.backend.name == "jax"
    _, height, columns = plan.latent_shape
    unet = unet_elements(plan.configs["unet"], (height, columns), count=count * _calls(plan), scores=jax)
    return Peak(
        weights={name: parameters(files) * width for name, files in plan.components.items() if files.weights},
        denoise=unet * held,
        decode=_decoding(plan, count, held, device, scores=jax),
        libraries=LIBRARIES[plan.recipe.backend.name],
        dtype=dtype,
    )


def parameters(files: object) -> int:
    """Numbers in a component's weight files, by their headers."""
    total = 0
    for info in files.tensors().values():  # type: ignore[attr-defined]
        size = 1
        for side in info.shape:
            size *= side
        total += size
    return total


def decoded_at_once(device: str, pixels: int) -> int:
    """How many pictures of so many pixels are decoded together, whatever the batch."""
    return max(1, DECODED_AT_ONCE.get(device, 512 * 512) // pixels)


def device_type(plan: Plan) -> str:
    """cpu, cuda or mps; `auto` is taken for the CPU, because only the backend's library knows what is here."""
    return "cpu" if plan.device == "auto" else plan.device.partition(":")[0]


def _calls(plan: Plan) -> int:
    """Inputs of the network for one image: with the prompt, and without where guidance compares the two."""
    return 2 if plan.guidance.doubles and "text_encoder" in plan.pipeline.COMPONENTS else 1


def _decoding(plan: Plan, count: int, width: int, device: str, scores: bool) -> int:
    pictures = count * 3 * plan.height * plan.width * 4
    vae = plan.configs.get("vae")
    if not isinstance(vae, AutoencoderKLConfig):
        return 2 * pictures
    together = 1 if scores else min(count, decoded_at_once(device, plan.height * plan.width))
    size = plan.latent_shape[1:]
    return pictures + decoder_elements(vae, size, count=together, scores=scores) * width
