"""The layers that hold parameters: convolution, linear, norms, embedding; as flax modules without any initialisation.

A layer is made of shapes alone (`jax.ShapeDtypeStruct`), so making a network costs no memory and no compilation; the
weights come from files. Images are (B, H, W, C). Norms compute in float32 whatever the network's dtype, as torch's do,
and in two passes: one pass loses digits where the mean is far from zero.
"""

from collections.abc import Callable
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

Padding = list[tuple[int, int]]
bring: ContextVar[Callable[[Array, Array], tuple[Array, Array]]] = ContextVar("bring", default=lambda k, x: (k, x))
"""What a layer calls with its kernel and its input, to get both back: whoever shares kernels out over devices puts here
what brings one together."""


def parameter(*shape: int) -> nnx.Param:
    """A parameter yet to be filled."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32))


class Conv(nnx.Module):
    """Convolution with a square kernel (size, size, in, out) and a bias; `padding` as ((top, bottom), (left, right))
    or one number for all sides."""

    def __init__(
        self, in_channels: int, out_channels: int, size: int, *, stride: int = 1, padding: int | Padding = 0
    ) -> None:
        self.stride = stride
        self.padding = tuple([(padding, padding)] * 2 if isinstance(padding, int) else padding)
        self.kernel = parameter(size, size, in_channels, out_channels)
        self.bias = parameter(out_channels)

    def __call__(self, x: Array) -> Array:
        kernel, x = bring.get()(self.kernel[...], x)
        y = lax.conv_general_dilated(
            x, kernel, (self.stride,) * 2, self.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + self.bias[...]


class Linear(nnx.Module):
    """x · kernel (in, out) + bias over the last axis."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        self.kernel = parameter(in_channels, out_channels)
        self.bias = parameter(out_channels) if bias else None

    def __call__(self, x: Array) -> Array:
        kernel, x = bring.get()(self.kernel[...], x)
        y = x @ kernel
        return y if self.bias is None else y + self.bias[...]


class GroupNorm(nnx.Module):
    """Normalises each image's channels in groups, over all positions (arXiv:1803.08494)."""

    def __init__(self, groups: int, channels: int, eps: float) -> None:
        self.groups = groups
        self.eps = eps
        self.scale = parameter(channels)
        self.bias = parameter(channels)

    def __call__(self, x: Array) -> Array:
        grouped = x.astype(jnp.float32).reshape(len(x), -1, self.groups, x.shape[-1] // self.groups)
        y = _standardised(grouped, (1, 3), self.eps).reshape(x.shape)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class LayerNorm(nnx.Module):
    """Normalises each token over its channels (arXiv:1607.06450)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        self.eps = eps
        self.scale = parameter(channels)
        self.bias = parameter(channels)

    def __call__(self, x: Array) -> Array:
        y = _standardised(x.astype(jnp.float32), -1, self.eps)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class Embed(nnx.Module):
    """Rows of a table (count, channels), by number."""

    def __init__(self, count: int, channels: int) -> None:
        self.embedding = parameter(count, channels)

    def __call__(self, ids: Array) -> Array:
        return self.embedding[...][ids]


def _standardised(x: Array, axes: int | tuple[int, ...], eps: float) -> Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)
