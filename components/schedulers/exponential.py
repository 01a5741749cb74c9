"""Exponential integrators in lambda, shared by the DPM-Solver family: one step from a level to another, of x0 or eps.

x' = keep x + w0 D0 + w1 D1 + w2 D2 + std noise, where D0 is x0 (or eps) at the start and D1, D2 are its first and
second differences over lambda in units of the step. arXiv 2206.00927 (eps), arXiv 2211.01095 (x0, and the SDE's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.schedulers.noise import Array
from components.schedulers.schedule import Grid
from components.schedulers.tableau import Level, State


@dataclass(frozen=True, eq=False)
class Integrator:
    """Which of the four integrands and noises: `x0` or eps, `sde` or ODE."""

    x0: bool
    sde: bool

    @classmethod
    def named(cls, algorithm_type: str) -> Integrator:
        return cls(x0=algorithm_type.endswith("++"), sde=algorithm_type.startswith("sde"))

    def integrand(self, s: State, at: Level, clipped: bool) -> Array:
        """What a row adds to the history: x0 or eps."""
        return s.x0 if self.x0 else self.eps(s, at, clipped)

    @staticmethod
    def eps(s: State, at: Level, clipped: bool) -> Array:
        """Of the clipped x0 where something clips."""
        return (s.x - at.alpha * s.x0) / at.sigma if clipped else s.eps

    def step(self, s: State, at: Level, to: Level, x: Array, d0: Array) -> Array:
        """The first-order step from x, where the integrand was d0."""
        return self.keep(at, to) * x + self.weights(at, to)[0] * d0 + self.std(at, to) * s.noise

    def step_here(self, s: State, at: Level, to: Level, clipped: bool) -> Array:
        """The same from this row's own x; the ODE's so that nothing large cancels, as `keep` is near alpha = 0."""
        if self.sde:
            return self.step(s, at, to, s.x, self.integrand(s, at, clipped))
        return to.alpha * s.x0 + to.sigma * self.eps(s, at, clipped)

    def keep(self, at: Level, to: Level) -> Array:
        if not self.x0:
            return to.alpha / at.alpha
        return to.sigma / at.sigma * (np.exp(at.lam - to.lam) if self.sde else 1)

    def weights(self, at: Level, to: Level) -> tuple[Array, Array, Array]:
        """(w0, w1, w2); w0 stays finite where sigma' is 0 and the step in lambda infinite, the others do not."""
        times = 2 if self.sde else 1
        with np.errstate(invalid="ignore", divide="ignore"):
            h = to.lam - at.lam
            z, scale = (-times * h, -to.alpha) if self.x0 else (h, -times * to.sigma)
            # sigma' e^h is alpha' sigma / alpha
            w0 = scale * np.expm1(z) if self.x0 else -times * (to.alpha * at.sigma / at.alpha - to.sigma)
            return w0, scale * (np.expm1(z) / z - 1), scale * ((np.expm1(z) - z) / z**2 - 0.5)

    def std(self, at: Level, to: Level) -> Array:
        """Standard deviation of the noise that a step of the SDE adds."""
        if not self.sde:
            return 0 * to.sigma
        if self.x0:
            return to.sigma * np.sqrt(-np.expm1(2 * (at.lam - to.lam)))
        return np.sqrt(np.maximum((to.alpha * at.sigma / at.alpha) ** 2 - to.sigma**2, 0))  # rounding, over no step

    def declared_variance(self, at: Level, to: Level) -> tuple[Array, Array] | None:
        """The eps form takes the SDE's full drift from a frozen eps: what holds of a first-order step instead."""
        if self.x0 or not self.sde:
            return None
        return (2 * to.sigma / at.sigma - to.alpha / at.alpha) ** 2, self.std(at, to) ** 2


def multistep_orders(grid: Grid, order: int, *, lower_final: bool, euler_final: bool = False) -> Array:
    """Order of each row (N,): what history allows, lowered towards the end where asked or where lambda ends."""
    orders = np.minimum(np.arange(len(grid)) + 1, order)
    if lower_final:
        orders = np.minimum(orders, np.arange(len(grid), 0, -1))
    if euler_final:
        orders[-1] = 1
    orders[grid.levels.sigma[1:] == 0] = 1  # no finite step in lambda to look back over
    return from_apart(grid, orders, own=True)


def from_apart(grid: Grid, orders: Array, *, own: bool = False) -> Array:
    """Orders (N,), lowered so that none looks back over a step of no size or, if `own`, takes one."""
    sigma = grid.levels.sigma
    still = np.isclose(sigma[1:], sigma[:-1], rtol=1e-9, atol=0)
    orders[still & own] = 1
    for back in range(1, min(max(orders), len(orders))):
        orders[back:] = np.where(still[:-back], np.minimum(orders[back:], back), orders[back:])
    return orders


def differences(lam: Array, i: Array, m: tuple[Array, ...], order: int) -> tuple[Array, ...]:
    """(D1[, D2]): differences of the history m (newest first) at lambda_i, lambda_i-1 (, lambda_i-2)."""
    h = lam[i + 1] - lam[i]
    r0 = (lam[i] - lam[i - 1]) / h
    slope = (m[0] - m[1]) / r0
    if order == 2:
        return (slope,)
    r1 = (lam[i - 1] - lam[i - 2]) / h
    change = (slope - (m[1] - m[2]) / r1) / (r0 + r1)
    return slope + r0 * change, change
