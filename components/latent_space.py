"""The space a network denoises in, and its way back to the autoencoder's own. Shared by both libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.model_config import AutoencoderKLConfig

Array = Any


@dataclass(frozen=True)
class LatentSpace:
    """What the network denoises: `channels` numbers for each square of `factor` pixels.

    The autoencoder's own z is x / scaling, times `std` plus `mean` where it has statistics of its channels, plus
    `shift`.
    """

    channels: int
    factor: int = 1
    scaling: float = 1.0
    shift: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(cls, vae: AutoencoderKLConfig) -> LatentSpace:
        """That of an autoencoder."""
        return cls(
            channels=vae.latent_channels,
            factor=vae.scale,
            scaling=vae.latent_scale,
            shift=vae.shift_factor or 0.0,
            mean=vae.latents_mean,
            std=vae.latents_std,
        )

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the latents of one picture of so many pixels."""
        return self.channels, height // self.factor, width // self.factor

    def unscaled(self, x: Array, per_channel: Callable[[tuple[float, ...]], Array]) -> Array:
        """The autoencoder's z of the network's x (B, C, h, w); `per_channel` makes an array (1, C, 1, 1) of numbers."""
        z = x / self.scaling
        if self.mean is not None and self.std is not None:
            z = z * per_channel(self.std) + per_channel(self.mean)
        return z + self.shift if self.shift else z
