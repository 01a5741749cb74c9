"""What a pipeline returns: images as PIL pictures, numpy arrays or tensors, in an object read by name or by index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.outputs import Output
from runner.errors import Problem, RecipeError, nearest

if TYPE_CHECKING:
    from torch import Tensor

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
ARRAYS = ("np", "numpy", "np.array")  # as older guides spell it


@dataclass(eq=False)
class ImagePipelineOutput(Output):
    """`output.images`, `output["images"]` and `output[0]` are the same."""

    images: Any


@dataclass(eq=False)
class StableDiffusionPipelineOutput(Output):
    """As `ImagePipelineOutput`; `nsfw_content_detected` is None, as no safety checker is run."""

    images: Any
    nsfw_content_detected: list[bool] | None = None


def output_problems(output_type: Any, allowed: tuple[str, ...] = OUTPUT_TYPES) -> Iterator[Problem]:
    """A kind of output there is not."""
    if output_type not in (*allowed, *(ARRAYS if "np" in allowed else ())):
        what = f"is {output_type!r}, which is no kind of output"
        yield Problem("output_type", what, allowed, nearest(str(output_type), allowed))


def check_output_type(output_type: str, allowed: tuple[str, ...] = OUTPUT_TYPES) -> None:
    """Raises RecipeError (a ValueError) for a kind of output there is not."""
    if problems := list(output_problems(output_type, allowed)):
        raise RecipeError(problems)


def as_output(images: Tensor, output_type: str) -> Any:
    """Images (B, C, H, W) in [0, 1]: "pt" as they are, "np" (B, H, W, C) float32, "pil" a list of pictures."""
    if output_type == "pt":
        return images
    array = images.permute(0, 2, 3, 1).cpu().numpy()
    return array if output_type in ARRAYS else [picture(image) for image in array]


def picture(image: np.ndarray) -> Any:
    """A PIL picture of an image (H, W, C) in [0, 1]; one channel is grey."""
    from PIL import Image

    pixels = (image * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


class ImageProcessor:
    """Between images in [-1, 1], as autoencoders have them, and pictures."""

    def __init__(self, vae_scale_factor: int = 8) -> None:
        self.vae_scale_factor = vae_scale_factor

    def postprocess(self, image: Tensor, output_type: str = "pil", do_denormalize: Sequence[bool] | None = None) -> Any:
        """Images (B, C, H, W) in [-1, 1] as a call returns them; "latent" returns them as they are.

        `do_denormalize`: for each image, whether it is in [-1, 1] and not in [0, 1] already. Raises RecipeError.
        """
        check_output_type(output_type)
        if output_type == "latent":
            return image
        flags = [True] * len(image) if do_denormalize is None else do_denormalize
        chosen = image.new_tensor(flags).bool().view(-1, 1, 1, 1)
        image = image.detach()
        return as_output((image * 0.5 + 0.5).clamp(0, 1).where(chosen, image).float(), output_type)
