"""Layers the networks share: timestep embedding, residual block, resampling, attention.

The twin of torch_models/layers.py: the same names in the same order, so the two files can be read side by side. Images
are (B, H, W, C) in here, tokens (B, L, C). Nothing here knows block layouts or configurations.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from components.jax_models.primitives import Conv, GroupNorm, LayerNorm, Linear


def exact_gelu(x: Array) -> Array:
    """x · Φ(x) by the error function, as torch computes it; JAX's own default is an approximation by tanh."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "gelu": exact_gelu,
    "relu": jax.nn.relu,
}


def activation(name: str) -> Callable[[Array], Array]:
    """The activation function of a configuration's `act_fn`, whatever the case of its letters."""
    return ACTIVATIONS[name.lower()]


def timestep_embedding(
    timestep: Array, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: float = 0, max_period: float = 10000
) -> Array:
    """Sinusoids of (N,) timesteps, fractional ones included: (N, dim) in float32 (DDPM, arXiv:2006.11239, section 4).

    The halves are [sin, cos], or [cos, sin] when flipped; an odd `dim` is filled with a zero column.
    """
    half = dim // 2
    exponent = -math.log(max_period) * jnp.arange(half, dtype=jnp.float32)
    angle = timestep.astype(jnp.float32)[:, None] * jnp.exp(exponent / (half - freq_shift))
    halves = (jnp.cos(angle), jnp.sin(angle)) if flip_sin_to_cos else (jnp.sin(angle), jnp.cos(angle))
    return jnp.pad(jnp.concatenate(halves, axis=-1), ((0, 0), (0, dim % 2)))


class TimestepEmbedding(nnx.Module):
    """Two-layer perceptron over a sinusoid, with an optional projected condition added to it (LCM's guidance scale)."""

    def __init__(self, in_channels: int, channels: int, act_fn: str = "silu", cond_channels: int | None = None) -> None:
        self.linear_1 = Linear(in_channels, channels)
        self.cond_proj = Linear(cond_channels, in_channels, bias=False) if cond_channels else None
        self.act = activation(act_fn)
        self.linear_2 = Linear(channels, channels)

    def __call__(self, sinusoid: Array, condition: Array | None = None) -> Array:
        if condition is not None and self.cond_proj is not None:
            sinusoid = sinusoid + self.cond_proj(condition)
        return self.linear_2(self.act(self.linear_1(sinusoid)))


class ResnetBlock(nnx.Module):
    """norm, act, conv, + time, norm, act, conv, + skip. `time_channels` None: a block that knows no time (VAE)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        time_channels: int | None = None,
        groups: int = 32,
        eps: float = 1e-5,
        act_fn: str = "silu",
        scale_shift: bool = False,
        output_scale_factor: float = 1.0,
    ) -> None:
        self.scale_shift = scale_shift
        self.output_scale_factor = output_scale_factor
        self.act = activation(act_fn)
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = Conv(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = Linear(time_channels, out_channels * (1 + scale_shift)) if time_channels else None
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = Conv(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = Conv(in_channels, out_channels, 1) if in_channels != out_channels else None

    def __call__(self, x: Array, temb: Array | None = None) -> Array:
        h = self.conv1(self.act(self.norm1(x)))
        if self.time_emb_proj is None or temb is None:
            h = self.norm2(h)
        elif self.scale_shift:
            scale, shift = jnp.split(self.time_emb_proj(self.act(temb))[:, None, None, :], 2, axis=-1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + self.time_emb_proj(self.act(temb))[:, None, None, :])
        h = self.conv2(self.act(h))
        skip = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return skip + h if self.output_scale_factor == 1 else (skip + h) / self.output_scale_factor


class Downsample(nnx.Module):
    """Half the size by a strided convolution. Padding 0 means one row and column of zeros at the right and bottom."""

    def __init__(self, channels: int, padding: int = 1) -> None:
        self.conv = Conv(channels, channels, 3, stride=2, padding=padding or [(0, 1), (0, 1)])

    def __call__(self, x: Array) -> Array:
        return self.conv(x)


class Upsample(nnx.Module):
    """Nearest neighbour to twice the size, or to `size` (H, W), then a convolution."""

    def __init__(self, channels: int) -> None:
        self.conv = Conv(channels, channels, 3, padding=1)

    def __call__(self, x: Array, size: tuple[int, int] | None = None) -> Array:
        for axis, wanted in zip((1, 2), size or (2 * x.shape[1], 2 * x.shape[2]), strict=True):
            count = x.shape[axis]
            if wanted == 2 * count:
                x = jnp.repeat(x, 2, axis)
            else:
                x = jnp.take(x, np.arange(wanted) * count // wanted, axis)
        return self.conv(x)


class Attention(nnx.Module):
    """Multi-head attention of tokens (B, L, channels) over themselves or over a context (B, M, context_channels)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        context_channels: int | None = None,
        bias: bool = False,
        group_norm: GroupNorm | None = None,
    ) -> None:
        self.heads = heads
        if group_norm is not None:
            self.group_norm = group_norm
        self.to_q = Linear(channels, channels, bias=bias)
        self.to_k = Linear(context_channels or channels, channels, bias=bias)
        self.to_v = Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nnx.List([Linear(channels, channels)])

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        context = x if context is None else context
        q, k, v = (
            y.reshape(*y.shape[:2], self.heads, -1) for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out[0](jax.nn.dot_product_attention(q, k, v).reshape(x.shape))


class SpatialAttention(Attention):
    """Self-attention over the positions of an image, with its own norm and a residual (VAE, UNet2DModel)."""

    def __init__(
        self, channels: int, heads: int = 1, *, groups: int = 32, eps: float = 1e-6, output_scale_factor: float = 1.0
    ) -> None:
        super().__init__(channels, heads, bias=True, group_norm=GroupNorm(groups, channels, eps))
        self.output_scale_factor = output_scale_factor

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        h = super().__call__(to_tokens(self.group_norm(x)))
        return (x + h.reshape(x.shape)) / self.output_scale_factor


def to_tokens(x: Array) -> Array:
    """(B, H, W, C) to (B, H·W, C)."""
    return x.reshape(len(x), -1, x.shape[-1])


class FeedForward(nnx.Module):
    """GEGLU (arXiv:2002.05202): value times the exact, erf-based GELU of a gate, both read by one linear layer."""

    def __init__(self, channels: int) -> None:
        self.net = nnx.Dict({"0": GEGLU(channels, 4 * channels), "2": Linear(4 * channels, channels)})

    def __call__(self, x: Array) -> Array:
        return self.net["2"](self.net["0"](x))


class GEGLU(nnx.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        self.proj = Linear(in_channels, 2 * out_channels)

    def __call__(self, x: Array) -> Array:
        value, gate = jnp.split(self.proj(x), 2, axis=-1)
        return value * exact_gelu(gate)


class TransformerBlock(nnx.Module):
    """Self-attention, attention over the context, feed-forward; each after a norm and added to its input."""

    def __init__(self, channels: int, heads: int, context_channels: int) -> None:
        self.norm1 = LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_channels=context_channels)
        self.norm3 = LayerNorm(channels)
        self.ff = FeedForward(channels)

    def __call__(self, x: Array, context: Array) -> Array:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nnx.Module):
    """Transformer blocks over the positions of an image, attending to a context; a residual around the whole.

    A 1x1 convolution and a linear layer are the same sum over channels here, but files differ in the weight's shape.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        context_channels: int,
        *,
        layers: int = 1,
        groups: int = 32,
        linear_projection: bool = False,
    ) -> None:
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = Linear(channels, channels) if linear_projection else Conv(channels, channels, 1)
        self.transformer_blocks = nnx.List(TransformerBlock(channels, heads, context_channels) for _ in range(layers))
        self.proj_out = Linear(channels, channels) if linear_projection else Conv(channels, channels, 1)

    def __call__(self, x: Array, context: Array) -> Array:
        h = to_tokens(self.proj_in(self.norm(x)))
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + self.proj_out(h.reshape(x.shape))
