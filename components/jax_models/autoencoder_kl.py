"""The variational autoencoder of Stable Diffusion: images (B, 3, H, W) to latents (B, 4, H/8, W/8) and back.

Latent diffusion, arXiv:2112.10752. Scaling is not inside the model: what the UNet sees is `latents * scaling_factor`.
The twin of torch_models/autoencoder_kl.py: (B, C, H, W) at the door, (B, H, W, C) inside. No tiling, no slicing.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jax import Array

from components.jax_models.base import Model, channels_first, channels_last
from components.jax_models.blocks import AttentionMaker, DownBlock, MidBlock, UpBlock
from components.jax_models.layers import SpatialAttention, activation
from components.jax_models.primitives import Conv, GroupNorm
from components.model_config import AutoencoderKLConfig

EPS = 1e-6


@struct.dataclass
class DiagonalGaussian:
    """The encoder's posterior: a normal distribution per latent number, mean and log-variance (B, C, h, w) each."""

    mean: Array
    logvar: Array

    @classmethod
    def of(cls, moments: Array) -> "DiagonalGaussian":
        """From (B, 2·C, h, w) moments as the encoder gives them."""
        mean, logvar = jnp.split(moments, 2, axis=1)
        return cls(mean, jnp.clip(logvar, -30.0, 20.0))

    @property
    def std(self) -> Array:
        return jnp.exp(0.5 * self.logvar)

    @property
    def var(self) -> Array:
        return jnp.exp(self.logvar)

    def mode(self) -> Array:
        return self.mean

    def sample(self, key: Array) -> Array:
        """One draw, with a key of `jax.random`."""
        return self.mean + self.std * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def kl(self) -> Array:
        """KL divergence to the standard normal in nats, summed over each image: (B,)."""
        return 0.5 * (jnp.square(self.mean) + self.var - 1.0 - self.logvar).sum((1, 2, 3))


@struct.dataclass
class EncoderOutput:
    latent_dist: DiagonalGaussian


@struct.dataclass
class DecoderOutput:
    sample: Array


def _resnet(config: AutoencoderKLConfig) -> dict[str, Any]:
    return {"groups": config.norm_num_groups, "eps": EPS, "act_fn": config.act_fn}


def _attention(config: AutoencoderKLConfig) -> AttentionMaker | None:
    if not config.mid_block_add_attention:
        return None
    return lambda channels, _: SpatialAttention(channels, groups=config.norm_num_groups, eps=EPS)


class Encoder(nnx.Module):
    """Image to moments: one level per width, halving between levels."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        widths = config.block_out_channels
        resnet = _resnet(config)
        self.conv_in = Conv(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nnx.List(
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
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.act = activation("silu")
        self.conv_out = Conv(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def __call__(self, x: Array) -> Array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x, _ = block(x)
        x = self.mid_block(x)
        return self.conv_out(self.act(self.conv_norm_out(x)))


class Decoder(nnx.Module):
    """Latents to image: the encoder's levels reversed, each with one resnet more."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        widths = config.block_out_channels[::-1]
        resnet = _resnet(config)
        self.conv_in = Conv(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], resnet=resnet, attention=_attention(config))
        self.up_blocks = nnx.List()
        for i, width in enumerate(widths):
            widths_in = [widths[max(i - 1, 0)]] + [width] * config.layers_per_block
            self.up_blocks.append(UpBlock(widths_in, width, resnet=resnet, upsample=i < len(widths) - 1))
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.act = activation("silu")
        self.conv_out = Conv(widths[-1], config.out_channels, 3, padding=1)

    def __call__(self, z: Array) -> Array:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(self.act(self.conv_norm_out(x)))


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
        self.quant_conv = Conv(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        self.post_quant_conv = Conv(channels, channels, 1) if config.use_post_quant_conv else None

    def encode(self, x: Array) -> EncoderOutput:
        """(B, 3, H, W) in [-1, 1] to the posterior over (B, latent_channels, H/scale, W/scale)."""
        moments = self.encoder(channels_last(x))
        moments = moments if self.quant_conv is None else self.quant_conv(moments)
        return EncoderOutput(DiagonalGaussian.of(channels_first(moments)))

    def decode(self, z: Array) -> DecoderOutput:
        """Latents (B, latent_channels, h, w), already divided by the scaling factor, to (B, 3, h·scale, w·scale)."""
        z = channels_last(z)
        z = z if self.post_quant_conv is None else self.post_quant_conv(z)
        return DecoderOutput(channels_first(self.decoder(z)))

    def __call__(self, sample: Array, key: Array | None = None) -> DecoderOutput:
        """Encode and decode, through the posterior's mode, or a draw from it where a key is given."""
        posterior = self.encode(sample).latent_dist
        return self.decode(posterior.mode() if key is None else posterior.sample(key))
