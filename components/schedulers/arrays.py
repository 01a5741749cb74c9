"""The caller's kind of array, numpy's, torch's or JAX's: what a loop of one's own does with it.

Imports torch or JAX only when handed their arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.schedulers.tableau import Clip


def kind_of(array: Any) -> str:
    """The library an array is of: "numpy", "torch" or "jaxlib"."""
    return type(array).__module__.partition(".")[0]


def like(values: np.ndarray, array: Any) -> Any:
    """These numbers in the caller's kind of array, its dtype and on its device."""
    if kind_of(array) == "torch":
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(array.device, array.dtype)
    return values.astype(array.dtype)


def in_format_of(array: Any, values: Any) -> Any:
    """An array of the caller's kind in the number format of another."""
    return values.to(array.dtype) if kind_of(values) == "torch" else values.astype(array.dtype)


def plain(value: Any) -> Any:
    """Arrays and numbers of any library as Python's own; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def listed(values: Any) -> list[float] | None:
    """A list of numbers, whatever it came in."""
    return None if values is None else [float(value) for value in plain(values)]


def single(timestep: Any) -> float:
    """The number that a timestep is, also where each image of a batch is told it. Raises ValueError for another."""
    try:
        told = np.unique(np.ravel(plain(timestep)).astype(np.float64))
    except (TypeError, ValueError):
        told = np.empty(0)
    if len(told) != 1 or timestep is None:
        raise ValueError(f"timestep is {timestep!r}, but must be one number, the same for every image")
    return float(told[0])


def rounded(values: np.ndarray, number: Any) -> np.ndarray:
    """These values as they are in the number format that `number` has, as float64."""
    if kind_of(number) == "torch":
        import torch

        return torch.from_numpy(values).to(number.dtype).double().numpy()
    dtype = getattr(number, "dtype", None)
    return values.astype(np.float64 if dtype is None else dtype).astype(np.float64)


def weighted_sum(*terms: tuple[float, Any]) -> Any:
    """The sum of the terms that count; None, a register of zeros, where none does."""
    total = None
    for weight, source in terms:
        if weight == 0.0 or source is None:
            continue
        term = source if weight == 1.0 else source * weight
        total = term if total is None else total + term
    return total


def clipped(x0: Any, clip: Clip) -> Any:
    """x0 clamped, or thresholded at the quantile of each image's own magnitudes (Imagen, arXiv 2205.11487, 2.3)."""
    if clip.kind == "range":
        return x0.clip(-clip.limit, clip.limit)
    magnitudes = abs(x0).reshape(x0.shape[0], -1)
    if kind_of(x0) == "torch":
        import torch

        threshold = torch.quantile(magnitudes.float(), clip.ratio, dim=1).to(x0.dtype)
    elif kind_of(x0) == "numpy":
        threshold = np.quantile(magnitudes, clip.ratio, axis=1)
    else:
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

        threshold = jnp.quantile(magnitudes, clip.ratio, axis=1)
    threshold = threshold.clip(1.0, max(clip.limit, 1.0)).reshape((-1,) + (1,) * (x0.ndim - 1))
    return x0.clip(-threshold, threshold) / threshold


def standard_normal(array: Any, generator: Any) -> Any:
    """A draw of the shape, kind and dtype of `array`; a list of torch generators draws image by image."""
    kind = kind_of(array)
    if kind == "torch":
        import torch

        if isinstance(generator, list | tuple):
            return torch.cat([standard_normal(one[None], g) for one, g in zip(array, generator, strict=True)])
        place = array.device if generator is None else generator.device
        return torch.randn(array.shape, generator=generator, device=place, dtype=array.dtype).to(array.device)
    if kind == "numpy":
        return (generator or np.random.default_rng()).standard_normal(array.shape).astype(array.dtype)
    if generator is None:
        raise ValueError("a JAX array takes its noise from generator=, a key of jax.random")
    import jax  # pyright: ignore[reportMissingImports]

    return jax.random.normal(generator, array.shape, array.dtype)
