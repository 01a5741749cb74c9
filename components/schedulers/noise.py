"""Clocks: betas -> alpha and sigma at every training timestep, and t <-> sigma between them; flows; continuous time.

Two levels of noise are spoken of. The *variance preserving* pair (alpha, sigma), alpha^2 + sigma^2 = 1, is what the
network was trained on; a clock's own sigma is the *noise-to-signal ratio* sigma / alpha, as in Karras et al. 2022 and
the k-diffusion samplers, or the time of a flow. Nothing here knows about steps, spacings or solvers. All is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
"""float64 throughout; whole numbers where it holds indices."""

SMALLEST_ALPHA_CUMPROD = 2.0**-24
"""What sigma-space solvers put in place of a zero terminal alpha^2, so that sigma / alpha stays finite."""
LARGEST_SIGMA = math.sqrt((1 - SMALLEST_ALPHA_CUMPROD) / SMALLEST_ALPHA_CUMPROD)
"""sigma / alpha there."""


def linear(start: float, end: float, count: int) -> Array:
    """Betas of DDPM (arXiv 2006.11239, section 4)."""
    return np.linspace(start, end, count)


def scaled_linear(start: float, end: float, count: int) -> Array:
    """Betas of latent diffusion (arXiv 2112.10752): linear in sqrt(beta)."""
    return np.linspace(math.sqrt(start), math.sqrt(end), count) ** 2


def squaredcos_cap_v2(start: float, end: float, count: int) -> Array:
    """The cosine schedule (arXiv 2102.09672, eq. 17), betas capped at 0.999; start and end play no part."""
    u = np.arange(count + 1) / count
    alpha_bar = np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def sigmoid(start: float, end: float, count: int) -> Array:
    """Betas along a logistic curve over [-6, 6] (GeoDiff, arXiv 2203.02923)."""
    return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, count)))


BETA_SCHEDULES: dict[str, Callable[[float, float, int], Array]] = {
    f.__name__: f for f in (linear, scaled_linear, squaredcos_cap_v2, sigmoid)
}


def zero_terminal_snr(betas: Array) -> Array:
    """Shift and scale sqrt(alpha_bar): its last value becomes 0, its first stays (arXiv 2305.08891, algorithm 1)."""
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root**2
    return 1 - np.concatenate([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def variance_preserving(ratio: ArrayLike) -> tuple[Array, Array]:
    """(alpha, sigma) with alpha^2 + sigma^2 = 1 and sigma / alpha = ratio; a ratio of inf gives (0, 1)."""
    r = np.asarray(ratio, np.float64)
    alpha = 1 / np.hypot(1, r)
    sigma = np.where(np.isinf(r), 1.0, np.where(np.isinf(r), 0, r) * alpha)
    return alpha, sigma


class VariancePreserving:
    """A clock whose sigma is the ratio of a pair with alpha^2 + sigma^2 = 1."""

    highest = math.inf
    """The largest sigma there can be."""

    pair = staticmethod(variance_preserving)


@dataclass(frozen=True, eq=False)
class TrainingClock(VariancePreserving):
    """What the network saw in training: `alphas_cumprod` (T,), alpha^2 at each of T timesteps."""

    alphas_cumprod: Array

    @classmethod
    def from_betas(
        cls,
        *,
        beta_schedule: str = "linear",
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        num_train_timesteps: int = 1000,
        trained_betas: Sequence[float] | None = None,
        rescale_betas_zero_snr: bool = False,
    ) -> TrainingClock:
        if trained_betas is not None:
            betas = np.asarray(trained_betas, np.float64)
        else:
            betas = BETA_SCHEDULES[beta_schedule](beta_start, beta_end, num_train_timesteps)
        if rescale_betas_zero_snr:
            betas = zero_terminal_snr(betas)
        return cls(np.cumprod(1 - betas))

    @property
    def length(self) -> int:
        return len(self.alphas_cumprod)

    def with_finite_end(self) -> TrainingClock:
        """The same clock with a terminal alpha of zero replaced by the smallest usable one."""
        return TrainingClock(np.maximum(self.alphas_cumprod, SMALLEST_ALPHA_CUMPROD))

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest timestep there is."""
        return 0.0, self.length - 1.0

    @cached_property
    def sigmas(self) -> Array:
        """sigma / alpha at each timestep (T,), ascending; inf where alpha is zero."""
        with np.errstate(divide="ignore"):
            return np.sqrt((1 - self.alphas_cumprod) / self.alphas_cumprod)

    @cached_property
    def log_sigmas(self) -> Array:
        """log(sigma / alpha) at each timestep (T,), that of the smallest usable alpha where alpha is zero."""
        return np.log(np.where(np.isinf(self.sigmas), LARGEST_SIGMA, self.sigmas))

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def sigma_at(self, timestep: ArrayLike, *, log: bool = False) -> Array:
        """sigma / alpha at (fractional) timesteps, interpolated linearly in the ratio, or in its logarithm."""
        t = np.asarray(timestep, np.float64)
        whole = t.astype(np.int64)
        if np.array_equal(whole, t):  # no arithmetic where none is needed: an infinite ratio survives
            return self.sigmas[np.clip(whole, 0, self.length - 1)]
        clock = np.arange(self.length)
        return np.exp(np.interp(t, clock, self.log_sigmas)) if log else np.interp(t, clock, self.sigmas)

    def timestep_at(self, ratio: ArrayLike) -> Array:
        """The (fractional) timestep of a noise-to-signal ratio: linear in log ratio, clamped to the clock."""
        with np.errstate(divide="ignore"):
            return np.interp(np.log(np.asarray(ratio, np.float64)), self.log_sigmas, np.arange(self.length))


@dataclass(frozen=True)
class FlowClock:
    """Rectified flow: x = (1 - sigma) x0 + sigma eps, timestep = sigma T (arXiv 2209.03003, arXiv 2403.03206)."""

    length: int
    sigma_min: float
    sigma_max: float
    largest: float = 1.0
    """What is read in place of a larger sigma, by solvers in the logarithm of alpha / sigma."""
    highest = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, float(self.length)

    @staticmethod
    def pair(sigma: Array) -> tuple[Array, Array]:
        """(alpha, sigma) of x at each level."""
        return 1 - sigma, sigma

    def sigma_at(self, timestep: ArrayLike, *, log: bool = False) -> Array:
        return np.minimum(np.asarray(timestep, np.float64) / self.length, self.largest)

    def timestep_at(self, sigma: ArrayLike) -> Array:
        return np.asarray(sigma, np.float64) * self.length


@dataclass(frozen=True)
class LogSigmaClock:
    """Continuous time, told as factor * log(sigma): Karras et al. 2022 (arXiv 2206.00364), table 1, c_noise."""

    sigma_min: float
    sigma_max: float
    length: float = math.inf
    factor: float = 0.25
    ends = -math.inf, math.inf
    highest = math.inf

    def sigma_at(self, timestep: ArrayLike, *, log: bool = False) -> Array:
        return np.exp(np.asarray(timestep, np.float64) / self.factor)

    def timestep_at(self, sigma: ArrayLike) -> Array:
        return self.factor * np.log(np.asarray(sigma, np.float64))


@dataclass(frozen=True)
class AngleClock(VariancePreserving):
    """v-diffusion: timestep = 2/pi atan(sigma / alpha) in [0, 1]; at 1 alpha is zero."""

    sigma_min: float = 0.0
    sigma_max: float = math.inf
    length: float = math.inf
    ends = 0.0, 1.0

    def sigma_at(self, timestep: ArrayLike, *, log: bool = False) -> Array:
        t = np.asarray(timestep, np.float64)
        return np.where(t >= 1, np.inf, np.tan(np.minimum(t, 1) * math.pi / 2))

    def timestep_at(self, sigma: ArrayLike) -> Array:
        return np.arctan(np.asarray(sigma, np.float64)) / (math.pi / 2)
