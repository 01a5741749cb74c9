"""Noise from one Brownian path per image, for tables that ask for it: a seed and spans of a clock in, unit noise out.

The path is torchsde's tree with the parameters that the reference library and k-diffusion give it, so that a seed means
the same there and here; torch and torchsde are imported when the first path is made, and not before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


class BrownianPath:
    """W over [low, high] of a clock, for one image: `shape` its latent's, `seed` its own."""

    def __init__(self, seed: int, shape: Sequence[int], low: float, high: float, dtype: Any = None) -> None:
        """`dtype` of the draws: None is torch's default. Raises ImportError, with what to install, without torchsde."""
        import torch

        try:
            import torchsde
        except ImportError as error:
            raise ImportError("a Brownian path takes torchsde: pip install 'diffusion-recipes[brownian]'") from error
        start, end = _time(low), _time(high)
        self._tree: Any = torchsde.BrownianTree(
            t0=start, w0=torch.zeros(tuple(shape), dtype=dtype), t1=end, entropy=seed
        )

    def unit(self, span: Sequence[float]) -> Any:
        """(W(b) - W(a)) / sqrt|b - a| of span = (a, b): standard normal, of the path's shape."""
        a, b = map(_time, span)
        with warnings.catch_warnings(action="ignore"):  # that an end, rounded, is a bit past the end
            increment = self._tree(min(a, b), max(a, b))
        return increment * math.copysign(1 / math.sqrt(abs(b - a)), b - a)


def _time(value: float) -> float:
    """In float32, as there: the tree tells times apart that differ in the last of its bits."""
    return float(np.float32(value))
