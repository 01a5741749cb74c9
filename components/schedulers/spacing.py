"""Which timesteps or noise levels a run visits: pure functions, largest noise first, no scheduler in sight.

Functions of the training clock return timesteps (N,); functions of sigma return noise-to-signal sigmas (N,), without
the end point, which is the caller's convention. Everything is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from components.schedulers.noise import Array

TRAINING_SPACINGS = ("linspace", "leading", "trailing")


def training_timesteps(
    kind: str, steps: int, length: int, *, offset: int = 0, rounded: bool = True, end_point: bool = False
) -> Array:
    """Timesteps (steps,) spread over a training clock of `length` (arXiv 2305.08891, table 2).

    `end_point` lays out one more point and leaves the last of it out: the step to the end is then as long as the
    others. `offset` is the SD 1.x habit of shifting "leading" by one. Rounding is skipped where it would make two
    timesteps equal, and nothing ever leaves the clock: steps asked are steps run, for every `steps` up to `length`.
    """
    points = steps + end_point
    if kind == "linspace":
        t = np.linspace(0, length - 1, points)[::-1]
        whole = np.round(t)
        t = whole if rounded and len(np.unique(whole)) == points else t
    elif kind == "leading":
        t = np.arange(points)[::-1] * float(max(length // points, 1)) + offset
        t -= max(0.0, t[0] - (length - 1))
    elif kind == "trailing":
        return np.maximum(np.round(length - np.arange(steps) * (length / steps)) - 1, 0)
    else:
        raise ValueError(f"unknown timestep spacing {kind!r}; there are {', '.join(TRAINING_SPACINGS)}")
    return t[:steps]


def karras(sigma_min: float, sigma_max: float, steps: int, rho: float = 7.0) -> Array:
    """Karras et al. 2022 (arXiv 2206.00364), eq. 5: even steps in sigma^(1/rho)."""
    return karras_at(sigma_min, sigma_max, np.linspace(0, 1, steps), rho)


def karras_at(sigma_min: float, sigma_max: float, u: Array, rho: float) -> Array:
    """The curve's sigma at any place u, 0 at sigma_max and 1 at sigma_min."""
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (top + u * (bottom - top)) ** rho


def exponential(sigma_min: float, sigma_max: float, steps: int) -> Array:
    """Even steps in log sigma; DPM-Solver's even steps of lambda (arXiv 2206.00927, section 3.4) are the same."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), steps))


def polyexponential(sigma_min: float, sigma_max: float, steps: int, rho: float = 2.0) -> Array:
    """log sigma linear in u^rho, u even from 1 to 0 (k-diffusion)."""
    u = np.linspace(1, 0, steps) ** rho
    return np.exp(u * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min))


def kl_optimal(sigma_min: float, sigma_max: float, steps: int) -> Array:
    """Even steps in atan(sigma): optimal for Gaussian data (Align Your Steps, arXiv 2404.14507, theorem 3.1)."""
    u = np.linspace(0, 1, steps)
    return np.tan(u * math.atan(sigma_min) + (1 - u) * math.atan(sigma_max))


def beta(sigma_min: float, sigma_max: float, steps: int, a: float = 0.6, b: float = 0.6) -> Array:
    """Quantiles of Beta(a, b) laid over sigma (arXiv 2407.12173)."""
    from scipy.special import betaincinv

    return sigma_min + betaincinv(a, b, 1 - np.linspace(0, 1, steps)) * (sigma_max - sigma_min)


def beta_timesteps(length: int, steps: int, a: float = 0.6, b: float = 0.6) -> Array:
    """Quantiles of Beta(a, b) laid over the clock, on whole timesteps where they do not collide (arXiv 2407.12173)."""
    from scipy.special import betaincinv

    t = betaincinv(a, b, 1 - np.linspace(0, 1, steps, endpoint=False)) * (length - 1)
    whole = np.rint(t)
    return whole if len(np.unique(whole)) == steps else t


def normal(length: int, steps: int) -> Array:
    """Even timesteps, both ends of the clock among them, for every solver; k-diffusion's `get_sigmas`."""
    return np.linspace(length - 1, 0, steps)


def sgm_uniform(length: int, steps: int) -> Array:
    """Even timesteps of which the last, the clock's start, is where the run ends and is not read."""
    return normal(length, steps + 1)[:-1]


def simple(length: int, steps: int) -> Array:
    """Every (length / steps)-th timestep from the clock's end, rounded up to a whole one."""
    return length - 1 - np.floor(np.arange(steps) * (length / steps))


TIMESTEP_SPACINGS: dict[str, Callable[[int, int], Array]] = {
    "beta_timesteps": beta_timesteps,
    "normal": normal,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
}
"""Spacings of the clock that no checkpoint's configuration names: (length, steps) -> timesteps."""

SIGMA_SPACINGS: dict[str, Callable[[float, float, int], Array]] = {
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "kl_optimal": kl_optimal,
    "beta": beta,
    "lu": exponential,
}


def resample_log_linear(sigmas: Sequence[float] | Array, steps: int) -> Array:
    """A listed schedule of M noise levels, end included, at steps + 1 levels: log sigma linear over even positions.

    Align Your Steps (arXiv 2404.14507), appendix: how its authors bring ten steps to any other number. Levels must be
    positive; put the end convention on afterwards.
    """
    levels = np.log(np.asarray(sigmas, np.float64))
    return np.exp(np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(levels)), levels))


def discard_penultimate(sigmas: Sequence[float] | Array) -> Array:
    """Without the last level but one: what k-diffusion does for second-order samplers, which waste it. Ask N + 1."""
    return np.delete(np.asarray(sigmas, np.float64), -2)


def slice_levels(sigmas: Sequence[float] | Array, start: float = 0.0, stop: float = 1.0) -> Array:
    """The part of a schedule between two shares of its steps, both ends included.

    `start = 1 - strength` is image to image; `stop = 0.8` for a base model and `start = 0.8` for its refiner split a
    run so that one ends on the level where the other begins. Raises ValueError where nothing is left.
    """
    levels = np.asarray(sigmas, np.float64)
    steps = len(levels) - 1
    first, last = round(start * steps), round(stop * steps)
    if not 0 <= first < last <= steps:
        raise ValueError(f"steps {first} to {last} of {steps}: nothing is left of the schedule")
    return levels[first : last + 1]
