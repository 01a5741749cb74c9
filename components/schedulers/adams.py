"""Linear multistep arithmetic on uneven steps, shared by the Adams-type methods."""

from __future__ import annotations

import numpy as np

from components.schedulers.noise import Array


def adams_weights(clock: Array, i: Array, order: int) -> Array:
    """(order, n): integrals over [clock_i, clock_i+1] of the Lagrange polynomials through the last `order` points.

    The polynomials are of degree 3 at most, so two Gauss points are exact.
    """
    start, width = clock[i], clock[i + 1] - clock[i]
    points = start + width * (0.5 + np.array([[-0.5], [0.5]]) / np.sqrt(3))
    return np.stack([width * _lagrange(points, clock, i, order, j).mean(0) for j in range(order)])


def log_adams_weights(clock: Array, i: Array, order: int) -> Array:
    """(order, n): the same with polynomials in log(clock) instead. Gauss-Legendre over the logarithm, to round-off."""
    if order == 1:
        return (clock[i + 1] - clock[i])[None]
    with np.errstate(divide="ignore"):
        u = np.log(clock)  # -inf at an end of 0, where the order is 1
    nodes, gauss = np.polynomial.legendre.leggauss(24)
    start, width = u[i], u[i + 1] - u[i]
    points = start + width * (nodes[:, None] + 1) / 2
    measure = gauss[:, None] / 2 * width * np.exp(points)
    return np.stack([(measure * _lagrange(points, u, i, order, j)).sum(0) for j in range(order)])


def _lagrange(points: Array, clock: Array, i: Array, order: int, j: int) -> Array:
    """The j-th Lagrange polynomial through the `order` points up to clock_i, at `points` (k, n)."""
    others = [clock[i - k] for k in range(order) if k != j]
    return np.prod([(points - other) / (clock[i - j] - other) for other in others] or [1 + 0 * points], axis=0)
