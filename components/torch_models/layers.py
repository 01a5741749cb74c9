"""Layers the networks share: timestep embedding, residual block, resampling, attention.

Images are (B, C, H, W) in any memory format, tokens (B, L, C). The order of the statements in each `__init__` is part
of the contract: it fixes the names and the order of the state dict and, through torch's global generator, the random
initialisation. Nothing here knows block layouts or configurations.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.torch_models.operations import Convolution, Linear, free

Activation = Callable[..., Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": lambda x, inplace=False: F.gelu(x),
    "relu": F.relu,
}


def activation(name: str) -> Activation:
    """The activation function of a configuration's `act_fn`, whatever the case of its letters; it takes `inplace`."""
    return ACTIVATIONS[name.lower()]


def timestep_embedding(
    timestep: Tensor, dim: int, *, flip_sin_to_cos: bool = True, freq_shift: float = 0, max_period: float = 10000
) -> Tensor:
    """Sinusoids of (N,) timesteps, fractional ones included: (N, dim) in float32 (DDPM, arXiv:2006.11239, section 4).

    The halves are [sin, cos], or [cos, sin] when flipped; an odd `dim` is filled with a zero column.
    """
    half = dim // 2
    exponent = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=timestep.device)
    angle = timestep.float()[:, None] * torch.exp(exponent / (half - freq_shift))
    halves = (angle.cos(), angle.sin()) if flip_sin_to_cos else (angle.sin(), angle.cos())
    return F.pad(torch.cat(halves, dim=-1), (0, dim % 2))


class TimestepEmbedding(nn.Module):
    """Two-layer perceptron over a sinusoid, with an optional projected condition added to it (LCM's guidance scale)."""

    def __init__(self, in_channels: int, channels: int, act_fn: str = "silu", cond_channels: int | None = None) -> None:
        super().__init__()
        self.linear_1 = Linear(in_channels, channels)
        self.cond_proj = Linear(cond_channels, in_channels, bias=False) if cond_channels else None
        self.act = activation(act_fn)
        self.linear_2 = Linear(channels, channels)

    def forward(self, sinusoid: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None and self.cond_proj is not None:
            sinusoid = sinusoid + self.cond_proj(condition)
        return self.linear_2(self.act(self.linear_1(sinusoid)))


class ResnetBlock(nn.Module):
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
        dropout: float = 0.0,
        scale_shift: bool = False,
        output_scale_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.output_scale_factor = output_scale_factor
        self.act = activation(act_fn)
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = Convolution(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = Linear(time_channels, out_channels * (1 + scale_shift)) if time_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Convolution(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = Convolution(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        h = self.conv1(self.act(self.norm1(x), inplace=free()))
        if self.time_emb_proj is None or temb is None:
            h = self.norm2(h)
        elif self.scale_shift:
            scale, shift = self._of_time(temb, h).chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(added(h, self._of_time(temb, h)))
        h = self.conv2(self.dropout(self.act(h, inplace=free())))
        h = added(h, x if self.conv_shortcut is None else self.conv_shortcut(x))
        return h if self.output_scale_factor == 1 else h / self.output_scale_factor

    def _of_time(self, temb: Tensor, h: Tensor) -> Tensor:
        assert self.time_emb_proj is not None
        return as_many(self.time_emb_proj(self.act(temb)), h)[:, :, None, None]


def added(x: Tensor, y: Tensor) -> Tensor:
    """x + y, in the memory of `x`, which nobody reads again, where no gradient is asked for."""
    return x.add_(y) if free() else x + y


def as_many(x: Tensor, like: "Tensor | Context") -> Tensor:
    """`x` with at least as many rows as `like`, all over and over: where conditions begin to tell its rows apart."""
    return x if len(x) >= len(like) else torch.cat([x] * (len(like) // len(x)))  # which keeps the layout


class Downsample(nn.Module):
    """Half the size by a strided convolution. Padding 0 means one row and column of zeros at the right and bottom."""

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv = Convolution(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, or to `size` (H, W), then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        size = size or (2 * x.shape[-2], 2 * x.shape[-1])
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Attention(nn.Module):
    """Multi-head attention of tokens (B, L, channels) over themselves or over a context (B, M, context_channels)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        context_channels: int | None = None,
        bias: bool = False,
        group_norm: nn.GroupNorm | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        if group_norm is not None:
            self.group_norm = group_norm
        self.to_q = Linear(channels, channels, bias=bias)
        self.to_k = Linear(context_channels or channels, channels, bias=bias)
        self.to_v = Linear(context_channels or channels, channels, bias=bias)
        self.to_out = nn.Sequential(Linear(channels, channels))

    def forward(self, x: Tensor, context: "Tensor | Context | None" = None) -> Tensor:
        kept = isinstance(context, Context)
        k, v = context.keys_values(self) if kept else self.keys_values(x if context is None else context)
        out = F.scaled_dot_product_attention(self._by_head(self.to_q(x)), k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, M, channels / heads) of a context (B, M, C)."""
        return self._by_head(self.to_k(context)), self._by_head(self.to_v(context))

    def _by_head(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Context:
    """Hidden states (B, M, C) that many evaluations attend to, with the keys and values the layers made of them.

    They are the same at every step of a run: making them each time cost a tenth of the demo network's time.
    """

    def __init__(self, states: Tensor) -> None:
        self.states = states
        self._made: dict[Attention, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.states)

    def keys_values(self, layer: Attention) -> tuple[Tensor, Tensor]:
        """What `layer` makes of the states: made once, except in a compiled network, which keeps nothing."""
        if torch.compiler.is_compiling():
            return layer.keys_values(self.states)
        if layer not in self._made:
            self._made[layer] = layer.keys_values(self.states)
        return self._made[layer]


class SpatialAttention(Attention):
    """Self-attention over the positions of an image, with its own norm and a residual (VAE, UNet2DModel)."""

    def __init__(
        self, channels: int, heads: int = 1, *, groups: int = 32, eps: float = 1e-6, output_scale_factor: float = 1.0
    ) -> None:
        super().__init__(channels, heads, bias=True, group_norm=nn.GroupNorm(groups, channels, eps))
        self.output_scale_factor = output_scale_factor

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        h = to_image(super().forward(to_tokens(self.group_norm(x))), x)
        h = added(h, x)
        return h if self.output_scale_factor == 1 else h / self.output_scale_factor


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H·W, C): a view where the image is channels-last."""
    return x.flatten(2).transpose(1, 2)


def to_image(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) to (B, C, H, W) with the height and width of `like`."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:])


class FeedForward(nn.Module):
    """GEGLU (arXiv:2002.05202): value times the exact, erf-based GELU of a gate, both read by one linear layer."""

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Dropout(dropout), Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class GEGLU(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = Linear(in_channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        gate = F.gelu(gate)
        return gate.mul_(value) if free() else value * gate


class TransformerBlock(nn.Module):
    """Self-attention, attention over the context, feed-forward; each after a norm and added to its input."""

    def __init__(self, channels: int, heads: int, context_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_channels=context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, dropout)

    def forward(self, x: Tensor, context: Tensor | Context) -> Tensor:
        x = as_many(added(self.attn1(self.norm1(x)), x), context)
        x = added(self.attn2(self.norm2(x), context), x)
        return added(self.ff(self.norm3(x)), x)


class Transformer(nn.Module):
    """Transformer blocks over the positions of an image, attending to a context; a residual around the whole."""

    def __init__(
        self,
        channels: int,
        heads: int,
        context_channels: int,
        *,
        layers: int = 1,
        groups: int = 32,
        linear_projection: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear_projection = linear_projection
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = Linear(channels, channels) if linear_projection else Convolution(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, heads, context_channels, dropout) for _ in range(layers)
        )
        self.proj_out = Linear(channels, channels) if linear_projection else Convolution(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor | Context) -> Tensor:
        h = self.norm(x)
        h = self.proj_in(to_tokens(h)) if self.linear_projection else to_tokens(self.proj_in(h))
        for block in self.transformer_blocks:
            h = block(h, context)
        h = to_image(self.proj_out(h), x) if self.linear_projection else self.proj_out(to_image(h, x))
        return added(h, as_many(x, h))
