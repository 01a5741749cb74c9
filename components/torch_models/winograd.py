"""3×3 convolutions with a quarter of the multiplications: Winograd's F(4×4, 3×3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308, section 4.3. An image is cut into
tiles of 6×6 that overlap by two; a tile d and a kernel g become AᵀMA, 4×4 results, with M = (GgGᵀ) ⊙ (BᵀdB), where the
products of all channels and tiles are 36 matrix products. Its rounding errors are about four times those of the direct
sum (measured: 5e-5 against 1.5e-5 at the worst of 8 million results of unit variance, in float32).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

TILE, STEP = 6, 4
TILES_AT_ONCE = 256  # so many rows keep a matrix product busy, and their tables near the processor
LEAST_CHANNELS = 192 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 96  # there direct sums are quicker
LEAST_TILES = 128
MOST_KERNELS = 640 * 640  # times 36 numbers: 59 MB, made anew for every call

_G = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
) / torch.tensor([24], dtype=torch.float64)


def pays(x: Tensor, out_channels: int) -> bool:
    """Whether a convolution of `x` (B, C, H, W) can be done this way, and is then quicker, by measurement."""
    batch, channels, height, width = x.shape
    if height % STEP or width % STEP or min(channels, out_channels) < LEAST_CHANNELS:
        return False
    if channels * out_channels > MOST_KERNELS:
        return False
    return batch * height * width >= LEAST_TILES * STEP**2


def winograd_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of (B, C, H, W), H and W multiples of four, with (O, C, 3, 3) and a padding of one.

    Computes in float32. The result is in the dtype of `x`, its channels innermost. Works through the picture in strips,
    so that the memory it needs besides does not grow with it.
    """
    batch, _, height, width = x.shape
    out = x.new_empty(batch, height, width, len(weight))
    kernels = _kernels(weight)
    down, across = height // STEP, width // STEP
    rows = min(down, max(1, TILES_AT_ONCE // across))
    images = min(batch, max(1, TILES_AT_ONCE // (across * down)))
    pixels = x.permute(0, 2, 3, 1)
    for first in range(0, batch, images):
        for top in range(0, down, rows):
            part = slice(first, min(first + images, batch)), slice(STEP * top, STEP * min(top + rows, down))
            _strip(pixels[part[0]], part[1], kernels, bias, out[part])
    return out.permute(0, 3, 1, 2)


def _strip(pixels: Tensor, rows: slice, kernels: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """The rows of some images (n, H, W, C), written to `out` (n, rows, W, O)."""
    images, height, width, channels = pixels.shape
    down, across = (rows.stop - rows.start) // STEP, width // STEP
    padded = pixels.new_zeros(images, STEP * down + 2, width + 2, channels, dtype=torch.float32)
    above, below = max(rows.start - 1, 0), min(rows.stop + 1, height)
    padded[:, above - rows.start + 1 : below - rows.start + 1, 1:-1] = pixels[:, above:below]
    half = padded.new_empty(TILE, images, STEP * down + 2, across, channels)
    _to_tile([padded[:, :, k : k + width : STEP][:, :, :across] for k in range(TILE)], half)
    tiles = padded.new_empty(TILE, TILE, images, down, across, channels)
    _to_tile([half[:, :, k : k + STEP * down : STEP][:, :, :down] for k in range(TILE)], tiles)
    products = torch.bmm(tiles.view(TILE**2, -1, channels), kernels)
    if bias is not None:
        products[TILE + 1] += bias  # the entry that every result contains once
    products = products.view(TILE, TILE, images, down, across, -1)
    lines = padded.new_empty(STEP, TILE, *products.shape[2:])
    _from_tile(products, lines)
    result = out if out.dtype == torch.float32 else out.new_empty(out.shape, dtype=torch.float32)
    result = result.view(images, down, STEP, across, STEP, -1)
    _from_tile(lines.transpose(0, 1), [result[:, :, :, :, k].permute(2, 0, 1, 3, 4) for k in range(STEP)])
    if out.dtype != torch.float32:
        out.copy_(result.view(out.shape))


def _kernels(weight: Tensor) -> Tensor:
    """GgGᵀ of kernels (O, C, 3, 3): 36 matrices (C, O)."""
    both = torch.kron(_G, _G).to(torch.float32)
    kernels = both @ weight.float().reshape(-1, 9).t()
    return kernels.view(TILE**2, *weight.shape[:2]).transpose(1, 2)


def _to_tile(d: Sequence[Tensor], out: Tensor) -> None:
    """Bᵀ times the six tensors, into the six of `out`."""
    even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.add(even, odd, alpha=-2, out=out[4])
    torch.add(d[4], d[2], alpha=-5, out=out[0]).add_(d[0], alpha=4)
    torch.add(d[5], d[3], alpha=-5, out=out[5]).add_(d[1], alpha=4)


def _from_tile(m: Tensor, out: Tensor | Sequence[Tensor]) -> None:
    """Aᵀ times the six tensors, into the four of `out`."""
    near, far = torch.add(m[1], m[2]), torch.add(m[3], m[4])
    torch.add(near, m[0], out=out[0]).add_(far)
    torch.add(near, far, alpha=4, out=out[2])
    torch.sub(m[1], m[2], out=near)
    torch.sub(m[3], m[4], out=far)
    torch.add(near, far, alpha=2, out=out[1])
    torch.add(near, far, alpha=8, out=out[3]).add_(m[5])
