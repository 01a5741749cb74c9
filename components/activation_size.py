"""How many numbers a network holds at once while it runs, told from its configuration alone: no weights, no torch.

The walk follows the networks' `forward`, layer by layer, as they run without gradients (in place where they are), and
keeps the largest set of tensors alive at the same time. Counted are tensors of images and tokens, in elements; what a
library takes as workspace of its own is not, nor is anything that grows neither with the picture nor with the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.model_config import AutoencoderKLConfig, UNet2DConditionConfig, UNet2DConfig

Size = tuple[int, int]


def unet_elements(
    config: UNet2DConditionConfig | UNet2DConfig, size: Size, *, count: int = 1, scores: bool = False
) -> int:
    """The most elements that a U-Net has alive for `count` inputs of `size` (height, width), skips included.

    `scores`: attention keeps its table of every position against every other, as without a fused kernel.
    """
    widths, layers = config.block_out_channels, _per_block(config, "layers_per_block")
    kinds = config.down_block_types
    attends = ["Attn" in kind for kind in kinds]
    sizes = [_halved(size, level) for level in range(len(widths))]
    positions = [count * height * width for height, width in sizes]
    peak, skips = 0, [widths[0] * positions[0]]

    def note(*elements: int) -> None:
        nonlocal peak
        peak = max(peak, sum(skips) + max(elements))

    def attention(level: int) -> int:
        return _attention(config, level, sizes[level], count, scores)

    for level, (width, n) in enumerate(zip(widths, positions, strict=True)):
        for layer in range(layers[level]):
            before = widths[max(level - 1, 0)] if layer == 0 else width
            note((_resnet(before, width) - before) * n, attention(level) if attends[level] else 0)
            skips.append(width * n)
        if level + 1 < len(widths):
            skips.append(width * positions[level + 1])
    if config.mid_block_type is not None:
        attending = attention(len(widths) - 1) if config.middle_attends else 0
        note((_resnet(widths[-1], widths[-1]) - widths[-1]) * positions[-1], attending)
    attends = ["Attn" in kind for kind in config.up_block_types[::-1]]
    held = hidden = widths[-1]  # what a level was given stays until it is done
    for level in reversed(range(len(widths))):
        width, n = widths[level], positions[level]
        for layer in range(layers[level] + 1):
            joined = hidden + skips.pop() // n
            beside = (held + (hidden if layer else 0)) * n
            note(beside + _resnet(joined, width) * n, beside + (attention(level) if attends[level] else 0))
            hidden = width
        if level > 0:
            note((held + width) * n + 2 * width * positions[level - 1])
        held = width
    return peak


def context_elements(config: UNet2DConditionConfig, tokens: int, *, count: int = 1) -> int:
    """Elements of the keys and values that a run keeps of `count` prompts of so many tokens, at every layer."""
    depths, widths = config.depths, config.block_out_channels
    numbers = widths[-1] * depths.middle if config.middle_attends else 0
    for kinds, levels in ((config.down_block_types, depths.down), (config.up_block_types[::-1], depths.up)):
        numbers += sum(
            width * sum(deep) for kind, deep, width in zip(kinds, levels, widths, strict=True) if "Attn" in kind
        )
    return 2 * tokens * count * numbers


def decoder_elements(config: AutoencoderKLConfig, size: Size, *, count: int = 1, scores: bool = False) -> int:
    """The most elements that an autoencoder has alive while it decodes `count` latents of `size` (height, width)."""
    widths = config.block_out_channels[::-1]
    n = count * size[0] * size[1]
    peak = _resnet(widths[0], widths[0]) * n
    if config.mid_block_add_attention:
        peak = max(peak, _spatial(widths[0], 1, size, count, scores))
    for level, width in enumerate(widths):
        before = widths[max(level - 1, 0)]
        peak = max(peak, _resnet(before, width) * n, _resnet(width, width) * n)
        if level + 1 < len(widths):
            peak = max(peak, (1 + 2 * 4) * width * n)  # what is doubled, its double, the convolution of that
            n *= 4
    return peak


def _resnet(width_in: int, width_out: int) -> int:
    """Per position: the input with its norm and the first convolution's result, or with what the second one takes and
    gives."""
    return width_in + width_out + max(width_in, width_out)


def _attention(config: UNet2DConditionConfig | UNet2DConfig, level: int, size: Size, count: int, scores: bool) -> int:
    width = config.block_out_channels[level]
    if isinstance(config, UNet2DConfig):
        heads = width // (config.attention_head_dim or width)
        return _spatial(width, heads, size, count, scores)
    n = count * size[0] * size[1]
    heads = config.per_block("attention_head_dim")[level]
    table = 2 * count * heads * (size[0] * size[1]) ** 2 if scores else 0
    feed_forward = (
        (4 + 8 + 4) * width * n
    )  # image, block's input, tokens, norm; values and gates; the gates' activation
    return max(feed_forward, (3 + 5) * width * n + table)


def _spatial(width: int, heads: int, size: Size, count: int, scores: bool) -> int:
    table = 2 * count * heads * (size[0] * size[1]) ** 2 if scores else 0
    return (2 + 5) * width * count * size[0] * size[1] + table  # image, norm; queries, keys, values, results


def _per_block(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value = config[name]
    return tuple(value) if isinstance(value, tuple) else (value,) * len(config["block_out_channels"])


def _halved(size: Size, times: int) -> Size:
    height, width = size
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width
