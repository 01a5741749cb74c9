"""A network over a large image in overlapping tiles, cross-faded: memory of one tile, at the price of faint seams."""

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.25


def tiled(function: Callable[[Tensor], Tensor], x: Tensor, tile_in: int, tile_out: int) -> Tensor:
    """`function` of (B, C, H, W), tile by tile.

    Tiles of `tile_in` positions a side start every three quarters of a tile. Each result, `tile_out` positions a side,
    fades in linearly over the last quarter of the tile above it and then of the tile to its left.
    """
    step = int(tile_in * (1 - OVERLAP))
    fade = int(tile_out * OVERLAP)
    keep = tile_out - fade
    rows: list[Tensor] = []
    above: list[Tensor] = []
    for top in range(0, x.shape[2], step):
        row: list[Tensor] = []
        for i, left in enumerate(range(0, x.shape[3], step)):
            tile = function(x[:, :, top : top + tile_in, left : left + tile_in])
            tile = cross_fade(above[i], tile, fade, dim=2) if above else tile
            row.append(cross_fade(row[-1], tile, fade, dim=3) if row else tile)
        rows.append(torch.cat([tile[:, :, :keep, :keep] for tile in row], dim=3))
        above = row
    return torch.cat(rows, dim=2)


def cross_fade(before: Tensor, after: Tensor, extent: int, dim: int) -> Tensor:
    """`after`, with its first `extent` positions along `dim` fading over from the last ones of `before`."""
    extent = min(before.shape[dim], after.shape[dim], extent)
    shape = [1] * after.ndim
    shape[dim] = extent
    ramp = (torch.arange(extent, device=after.device) / max(extent, 1)).to(after.dtype).reshape(shape)
    tail = before.narrow(dim, before.shape[dim] - extent, extent)
    head = after.narrow(dim, 0, extent)
    rest = after.narrow(dim, extent, after.shape[dim] - extent)
    return torch.cat([tail * (1 - ramp) + head * ramp, rest], dim=dim)
