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
    weights = np.empty((order, len(i)))
    for j in range(order):
        others = [clock[i - k] for k in range(order) if k != j]
        basis = (
            np.prod([(points - other) / (clock[i - j] - other) for other in others], axis=0)
            if others
            else 1 + 0 * points
        )
        weights[j] = width * basis.mean(0)
    return weights
