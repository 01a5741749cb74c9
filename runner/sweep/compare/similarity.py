"""How near two arrays or two pictures are: relative L2, PSNR, SSIM; and LPIPS where its weights are on the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.packages import absent, how_to_install, lacking

Array = np.ndarray[Any, Any]

PSNR_OF_EQUAL = 100.0
"""What equal pictures are given, whose PSNR is infinite and no number that a table could hold."""
SSIM_SIGMA, SSIM_REACH = 1.5, 5
"""The Gaussian window of the SSIM paper: 11 × 11 of standard deviation 1.5."""


def relative_l2(x: Array, reference: Array) -> float:
    """|x - reference| / |reference|, over all elements, in float64."""
    wanted = reference.astype(np.float64)
    return float(np.linalg.norm(x - wanted) / np.linalg.norm(wanted))


def psnr(picture: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB of pictures (H, W, 3) uint8, at most PSNR_OF_EQUAL."""
    error = np.mean(np.square(picture.astype(np.float64) - reference.astype(np.float64)))
    return min(PSNR_OF_EQUAL, float(10 * np.log10(255**2 / error))) if error else PSNR_OF_EQUAL


def ssim(picture: Array, reference: Array) -> float:
    """Mean structural similarity of pictures (H, W, 3) uint8, each channel on its own (Wang et al. 2004, eq. 13).

    Only where the whole window lies inside, as published; nan for pictures smaller than the window.
    """
    from scipy.ndimage import gaussian_filter

    if min(picture.shape[:2]) <= 2 * SSIM_REACH:
        return float("nan")

    def local(values: Array) -> Array:
        kept = slice(SSIM_REACH, -SSIM_REACH)
        sigma = (SSIM_SIGMA, SSIM_SIGMA, 0)
        return gaussian_filter(values, sigma, radius=(SSIM_REACH, SSIM_REACH, 0))[kept, kept]

    x, y = picture.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    both = local(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(index.mean())


def why_no_lpips() -> str | None:
    """What is missing for LPIPS, in words; None where nothing is. Nothing is ever downloaded for it."""
    if absent(("lpips",)):
        return f"{lacking('it', ('lpips',))}; {how_to_install(('lpips',))}"
    if not _backbone().is_file():
        return f"its network's weights are not on this machine ({_backbone()})"
    return None


def _backbone() -> Path:
    """Where torch.hub keeps AlexNet, said without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    return home / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"


def make_lpips() -> Callable[[Array, Array], float]:
    """LPIPS with AlexNet (Zhang et al. 2018, arXiv 1801.03924) of two pictures (H, W, 3) uint8, on the CPU."""
    import lpips  # type: ignore[import-not-found]
    import torch

    network = lpips.LPIPS(net="alex", verbose=False).eval()

    def distance(picture: Array, reference: Array) -> float:
        with torch.inference_mode():
            pair = (torch.tensor(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (picture, reference))
            return float(network(*pair))

    return distance
