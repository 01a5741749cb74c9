"""Linear multistep arithmetic on uneven steps, shared by the Adams-type methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from components.schedulers.noise import Array


def adams_weights(clock: Array, i: Array, order: int) -> Array:
    """(order, n): integrals over [clock_i, clock_i+1] of the Lagrange polynomials through the last `order` points."""
    return lagrange_integrals(_last(clock, i, order), clock[i], clock[i + 1])


def log_adams_weights(clock: Array, i: Array, order: int) -> Array:
    """(order, n): the same with polynomials in log(clock) instead."""
    if order == 1:
        return (clock[i + 1] - clock[i])[None]
    with np.errstate(divide="ignore"):  # of a last level of 0, from which only first order steps
        u = np.log(clock)
    return lagrange_integrals(_last(u, i, order), u[i], u[i + 1], np.exp)


def lagrange_integrals(
    nodes: Array, start: Array, end: Array, measure: Callable[[Array], Array] = np.ones_like
) -> Array:
    """(k, n): integrals of measure(u) times each Lagrange polynomial through `nodes` (k, n), u from start to end (n,).

    By Gauss-Legendre of 24 points: to round-off, for polynomials and for what exponentials occur in sampling.
    """
    points, gauss = _gauss()
    u = start + (end - start) * points[:, None]
    weight = gauss[:, None] * (end - start) * measure(u)
    return np.stack([(weight * _lagrange(u, nodes, j)).sum(0) for j in range(len(nodes))])


@cache
def _gauss() -> tuple[Array, Array]:
    """Points and weights on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(24)
    return (points + 1) / 2, weights / 2


def _last(clock: Array, i: Array, order: int) -> Array:
    return np.stack([clock[i - k] for k in range(order)])


def _lagrange(points: Array, nodes: Array, j: int) -> Array:
    """The j-th Lagrange polynomial through `nodes` (k, n), at `points` (m, n)."""
    others = [other for k, other in enumerate(nodes) if k != j]
    return np.prod([(points - other) / (nodes[j] - other) for other in others] or [np.ones_like(points)], axis=0)
