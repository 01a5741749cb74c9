"""The levels of a U-Net or autoencoder: resnets, each with its attention where the level has them, then a resampler.

What an attention is (transformer over a text, self-attention, nothing) is decided by the caller, who hands a maker
`attention(channels, i) -> module`; the module is called as `attention(x, context)`. As in layers.py the order of the
statements fixes names, order and random initialisation: resnets and attentions are *made* alternately, but *registered*
attentions first.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.torch_models.layers import Context, Downsample, ResnetBlock, Upsample, as_many

AttentionMaker = Callable[[int, int], nn.Module]


class _Level(nn.Module):
    """Resnets of the given (in, out) widths, each with its attention."""

    attentions: nn.ModuleList | None
    resnets: nn.ModuleList

    def __init__(self, widths: list[tuple[int, int]], attention: AttentionMaker | None, resnet: dict[str, Any]) -> None:
        super().__init__()
        resnets, attentions = [], []
        for i, (width_in, width_out) in enumerate(widths):
            resnets.append(ResnetBlock(width_in, width_out, **resnet))
            if attention is not None:
                attentions.append(attention(width_out, i))
        self.attentions = nn.ModuleList(attentions) if attention is not None else None
        self.resnets = nn.ModuleList(resnets)

    def layer(self, i: int, x: Tensor, temb: Tensor | None, context: Tensor | Context | None) -> Tensor:
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
        if downsample:
            self.downsamplers = nn.ModuleList([Downsample(out_channels, downsample_padding)])
        else:
            self.downsamplers = None

    def forward(
        self, x: Tensor, temb: Tensor | None = None, context: Tensor | Context | None = None
    ) -> tuple[Tensor, list[Tensor]]:
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
        self.upsamplers = nn.ModuleList([Upsample(out_channels)]) if upsample else None

    def forward(
        self,
        x: Tensor,
        temb: Tensor | None = None,
        context: Tensor | Context | None = None,
        skips: list[Tensor] | None = None,
    ) -> Tensor:
        for i in range(len(self.resnets)):
            # joined in the call, for the joined tensor to be forgotten as soon as the resnet has read it
            x = self.layer(i, x if skips is None else torch.cat([x, as_many(skips.pop(), x)], dim=1), temb, context)
        if self.upsamplers is None:
            return x
        height, width = skips[-1].shape[-2:] if skips else (2 * x.shape[-2], 2 * x.shape[-1])
        return self.upsamplers[0](x, (height, width))


class MidBlock(nn.Module):
    """Resnet, attention, resnet at the lowest level; no attention: just resnets, two if nothing is said."""

    def __init__(
        self, channels: int, *, resnet: dict[str, Any], attention: AttentionMaker | None = None, layers: int = 2
    ) -> None:
        super().__init__()
        first = ResnetBlock(channels, channels, **resnet)
        self.attentions = nn.ModuleList([attention(channels, 0)]) if attention is not None else None
        rest = (ResnetBlock(channels, channels, **resnet) for _ in range(1, layers))
        self.resnets = nn.ModuleList([first, *rest])

    def forward(self, x: Tensor, temb: Tensor | None = None, context: Tensor | Context | None = None) -> Tensor:
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
) -> nn.ModuleList:
    """The levels on a U-Net's way down, all but the last halving; one entry of each list per level."""
    return nn.ModuleList(
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
) -> list[UpBlock]:
    """The levels on the way up, deepest first; the lists are those of the way down, level by level.

    Each mirrors its down level with one resnet more, so that there is one for every skip.
    """
    blocks = []
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
