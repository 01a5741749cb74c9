"""The variational autoencoder of Stable Diffusion: images (B, 3, H, W) to latents (B, 4, H/8, W/8) and back.

Latent diffusion, arXiv:2112.10752. Scaling is not inside the model: what the UNet sees is `latents * scaling_factor`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.model_config import AutoencoderKLConfig
from components.outputs import Output
from components.torch_models.base import Model
from components.torch_models.blocks import AttentionMaker, DownBlock, MidBlock, UpBlock
from components.torch_models.layers import SpatialAttention, activation
from components.torch_models.operations import Convolution, free
from components.torch_models.tiling import tiled

EPS = 1e-6


class DiagonalGaussian:
    """The encoder's posterior: a normal distribution per latent number, from (B, 2·C, h, w) moments."""

    def __init__(self, moments: Tensor) -> None:
        self.mean, logvar = moments.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)

    @property
    def std(self) -> Tensor:
        return torch.exp(0.5 * self.logvar)

    @property
    def var(self) -> Tensor:
        return torch.exp(self.logvar)

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw; the noise comes from `generator` on the generator's own device."""
        mean = self.mean
        device = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, generator=generator, device=device, dtype=mean.dtype).to(mean.device)
        return mean + self.std * noise

    def kl(self, other: "DiagonalGaussian | None" = None) -> Tensor:
        """KL divergence to another one (None: the standard normal) in nats, summed over each image: (B,)."""
        distance = self.mean.square() if other is None else (self.mean - other.mean).square() / other.var
        ratio = self.var if other is None else self.var / other.var
        logs = self.logvar if other is None else self.logvar - other.logvar
        return 0.5 * (distance + ratio - 1.0 - logs).sum(dim=(1, 2, 3))

    def nll(self, sample: Tensor, dims: Sequence[int] = (1, 2, 3)) -> Tensor:
        """Minus the log likelihood of a sample in nats, summed over `dims`."""
        each = math.log(2 * math.pi) + self.logvar + (sample - self.mean).square() / self.var
        return 0.5 * each.sum(dim=tuple(dims))


@dataclass
class EncoderOutput(Output):
    latent_dist: DiagonalGaussian


@dataclass
class DecoderOutput(Output):
    sample: Tensor


def _resnet(config: AutoencoderKLConfig) -> dict[str, Any]:
    return {"groups": config.norm_num_groups, "eps": EPS, "act_fn": config.act_fn}


def _attention(config: AutoencoderKLConfig) -> AttentionMaker | None:
    if not config.mid_block_add_attention:
        return None
    return lambda channels, _: SpatialAttention(channels, groups=config.norm_num_groups, eps=EPS)


class Encoder(nn.Module):
    """Image to moments: one level per width, halving between levels."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        resnet = _resnet(config)
        self.conv_in = Convolution(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(
                widths[max(i - 1, 0)],
                width,
                config.layers_per_block,
                resnet=resnet,
                downsample=i < len(widths) - 1,
                downsample_padding=0,
            )
            for i, width in enumerate(widths)
        )
        self.mid_block = MidBlock(widths[-1], resnet=resnet, attention=_attention(config))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.act = activation("silu")
        self.conv_out = Convolution(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x, _ = block(x)
        x = self.mid_block(x)
        return self.conv_out(self.act(self.conv_norm_out(x), inplace=free()))


class Decoder(nn.Module):
    """Latents to image: the encoder's levels reversed, each with one resnet more."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        resnet = _resnet(config)
        self.conv_in = Convolution(config.latent_channels, widths[0], 3, padding=1)
        self.up_blocks = nn.ModuleList()  # registered before the middle, made after it
        self.mid_block = MidBlock(widths[0], resnet=resnet, attention=_attention(config))
        for i, width in enumerate(widths):
            widths_in = [widths[max(i - 1, 0)]] + [width] * config.layers_per_block
            self.up_blocks.append(UpBlock(widths_in, width, resnet=resnet, upsample=i < len(widths) - 1))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.act = activation("silu")
        self.conv_out = Convolution(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(self.act(self.conv_norm_out(x), inplace=free()))


class AutoencoderKL(Model):
    """Encoder, decoder and the 1x1 convolutions between them and the latent space."""

    config_class = AutoencoderKLConfig
    config: AutoencoderKLConfig

    def __init__(self, given: AutoencoderKLConfig | None = None, /, **options: Any) -> None:
        super().__init__(given, **options)
        config = self.config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = Convolution(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        self.post_quant_conv = Convolution(channels, channels, 1) if config.use_post_quant_conv else None
        self.use_slicing = False
        self.tile_size: int | None = None

    def enable_tiling(self, enabled: bool = True, tile_size: int | None = None) -> None:
        """Work on images larger than `tile_size` pixels a side (default: the configured sample_size) in tiles of it."""
        self.tile_size = (tile_size or self.config.tile_size) if enabled else None

    def enable_slicing(self, enabled: bool = True) -> None:
        """Encode and decode one image of a batch at a time: less memory, no other effect."""
        self.use_slicing = enabled

    def disable_tiling(self) -> None:
        self.enable_tiling(False)

    def disable_slicing(self) -> None:
        self.enable_slicing(False)

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """(B, 3, H, W) in [-1, 1] to the posterior over (B, latent_channels, H/scale, W/scale).

        An EncoderOutput, or without `return_dict` a tuple of its `latent_dist`; and so of the other calls.
        """
        posterior = DiagonalGaussian(self._sliced(self._encode, x))
        return EncoderOutput(posterior) if return_dict else (posterior,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None) -> Any:
        """Latents (B, latent_channels, h, w), already divided by the scaling factor, to (B, 3, h·scale, w·scale).

        `generator` is taken so that old scripts run: nothing is drawn.
        """
        image = self._sliced(self._decode, z)
        return DecoderOutput(image) if return_dict else (image,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Encode and decode, through the posterior's mode or a draw from it."""
        posterior = self.encode(sample).latent_dist
        return self.decode(posterior.sample(generator) if sample_posterior else posterior.mode(), return_dict)

    def _sliced(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.use_slicing and len(x) > 1:
            return torch.cat([function(image) for image in x.split(1)])
        return function(x)

    def _encode(self, x: Tensor) -> Tensor:
        if self.tile_size and max(x.shape[2:]) > self.tile_size:
            return tiled(self._moments, x, self.tile_size, self.tile_size // self.config.scale)
        return self._moments(x)

    def _decode(self, z: Tensor) -> Tensor:
        if self.tile_size and max(z.shape[2:]) > self.tile_size // self.config.scale:
            return tiled(self._image, z, self.tile_size // self.config.scale, self.tile_size)
        return self._image(z)

    def _moments(self, x: Tensor) -> Tensor:
        moments = self.encoder(x)
        return moments if self.quant_conv is None else self.quant_conv(moments)

    def _image(self, z: Tensor) -> Tensor:
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))
