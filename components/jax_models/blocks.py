"""The levels of a U-Net or autoencoder: resnets, each with its attention where the level has them, then a resampler.

The twin of torch_models/blocks.py. What an attention is (transformer over a text, self-attention, nothing) is decided
by the caller, who hands a maker `attention(channels, i) -> module` of what follows resnet i; the module is called as
`attention(x, context)`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from components.jax_models.layers import Downsample, ResnetBlock, Upsample

AttentionMaker = Callable[[int, int], Callable[..., Array]]


class _Level(nnx.Module):
    """Resnets of the given (in, out) widths, each with its attention."""

    def __init__(self, widths: list[tuple[int, int]], attention: AttentionMaker | None, resnet: dict[str, Any]) -> None:
        made = (attention(width_out, i) for i, (_, width_out) in enumerate(widths)) if attention is not None else None
        self.attentions = nnx.List(made) if made is not None else None
        self.resnets = nnx.List(ResnetBlock(width_in, width_out, **resnet) for width_in, width_out in widths)

    def layer(self, i: int, x: Array, temb: Array | None, context: Array | None) -> Array:
        x = self.resnets[i](x, temb)
        return x if self.attentions is None else self.attentions[i](x, context)


class DownBlock(_Level):
    """One level down. Returns its last state and every state an up block will want: one per resnet, one downsampled."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layers: int,
        *,
        resnet: dict[str, Any],
        attention: AttentionMaker | None = None,
        downsample: bool = True,
        downsample_padding: int = 1,
    ) -> None:
        widths = [(in_channels if i == 0 else out_channels, out_channels) for i in range(layers)]
        super().__init__(widths, attention, resnet)
        self.downsamplers = nnx.List([Downsample(out_channels, downsample_padding)]) if downsample else None

    def __call__(self, x: Array, temb: Array | None = None, context: Array | None = None) -> tuple[Array, list[Array]]:
        skips = []
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb, context)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class UpBlock(_Level):
    """One level up. `widths_in` are the widths the resnets read, skips included: it takes one skip off the list per
    resnet, and upsamples to the size of the skip that comes next. Without `skips` it just doubles (decoder)."""

    def __init__(
        self,
        widths_in: list[int],
        out_channels: int,
        *,
        resnet: dict[str, Any],
        attention: AttentionMaker | None = None,
        upsample: bool = True,
    ) -> None:
        super().__init__([(width, out_channels) for width in widths_in], attention, resnet)
        self.upsamplers = nnx.List([Upsample(out_channels)]) if upsample else None

    def __call__(
        self,
        x: Array,
        temb: Array | None = None,
        context: Array | None = None,
        skips: list[Array] | None = None,
    ) -> Array:
        for i in range(len(self.resnets)):
            if skips is not None:
                x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = self.layer(i, x, temb, context)
        if self.upsamplers is None:
            return x
        height, width = skips[-1].shape[1:3] if skips else (2 * x.shape[1], 2 * x.shape[2])
        return self.upsamplers[0](x, (height, width))


class MidBlock(nnx.Module):
    """Resnet, attention, resnet at the lowest level; no attention: just resnets, two if nothing is said."""

    def __init__(
        self, channels: int, *, resnet: dict[str, Any], attention: AttentionMaker | None = None, layers: int = 2
    ) -> None:
        self.attentions = nnx.List([attention(channels, 0)]) if attention is not None else None
        self.resnets = nnx.List(ResnetBlock(channels, channels, **resnet) for _ in range(layers))

    def __call__(self, x: Array, temb: Array | None = None, context: Array | None = None) -> Array:
        x = self.resnets[0](x, temb)
        if self.attentions is not None:
            x = self.attentions[0](x, context)
        return self.resnets[1](x, temb) if len(self.resnets) > 1 else x


def down_levels(
    widths: Sequence[int],
    layers: Sequence[int],
    attentions: Sequence[AttentionMaker | None],
    *,
    resnet: dict[str, Any],
    padding: int,
) -> nnx.List:
    """The levels on a U-Net's way down, all but the last halving; one entry of each list per level."""
    return nnx.List(
        DownBlock(
            widths[max(level - 1, 0)],
            width,
            layers[level],
            resnet=resnet,
            attention=attentions[level],
            downsample=level < len(widths) - 1,
            downsample_padding=padding,
        )
        for level, width in enumerate(widths)
    )


def up_levels(
    widths: Sequence[int],
    layers: Sequence[int],
    attentions: Sequence[AttentionMaker | None],
    *,
    resnet: dict[str, Any],
) -> nnx.List:
    """The levels on the way up, deepest first; the lists are those of the way down, level by level.

    Each mirrors its down level with one resnet more, so that there is one for every skip.
    """
    blocks = nnx.List()
    for level in reversed(range(len(widths))):
        hidden = [widths[min(level + 1, len(widths) - 1)]] + [widths[level]] * layers[level]
        skips = [widths[level]] * layers[level] + [widths[max(level - 1, 0)]]
        blocks.append(
            UpBlock(
                [h + s for h, s in zip(hidden, skips, strict=True)],
                widths[level],
                resnet=resnet,
                attention=attentions[level],
                upsample=level > 0,
            )
        )
    return blocks
