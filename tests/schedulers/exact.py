"""The exact denoisers of two data sets, one point and one Gaussian, and a run of a table with them in plain numbers.

Independent of what a table says of itself: from a table come only its rows and the levels they read at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.schedulers import Tableau

Array = NDArray[Any]


Answer = str | Callable[[Any, float, float, Any], Any]
"""A prediction type of a variance-preserving network or a flow's; or (x, alpha, sigma, x0) -> output, at the row."""


def ends_on_a_point(table: Tableau, answer: Answer = "epsilon") -> tuple[float, float]:
    """(share of c in x, variance of x) after the last row, for the data set {c}: x there is alpha c + sigma eps.

    x and every register are vectors over (c, the initial noise, each draw), so noise that comes back stays the same.
    """
    draws = np.flatnonzero(table.takes_noise)
    unit = np.eye(2 + len(draws))
    state = np.zeros((table.registers, len(unit)))
    alpha, sigma = table.read[0]
    state[0] = alpha * unit[0] + sigma * unit[1]
    for n in range(table.rows):
        x0 = unit[0]
        # At no noise every eps agrees with the data: the exact denoiser picks one, and the run has to keep to it.
        free = unit[1] if table.read[n, 1] == 0 else None
        output = output_of(answer, state[0], table.input_scale[n], table.read[n], x0, free)
        noise = 0 * unit[0]
        if table.takes_noise[n]:
            noise = unit[2 + int(np.searchsorted(draws, n))]
        state = table.update[n] @ np.vstack([state, output, x0, noise])
    return float(state[0, 0]), float(state[0, 1:] @ state[0, 1:])


def output_of(answer: Answer, x: Any, scale: float, read: Array, x0: Any, eps: Any = None) -> Any:
    """What a network says that means x0 (and eps); it sees scale * x, whose levels are scale * read."""
    if callable(answer):
        return answer(x, *read, x0)
    alpha, sigma = scale * read
    eps = (scale * x - alpha * x0) / sigma if eps is None else eps
    return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0, "flow_prediction": eps - x0}[answer]


def gaussian_ratios(table: Tableau, spread: float, answer: Answer = "epsilon") -> Array:
    """(rows,) x / sqrt(alpha^2 spread^2 + sigma^2) where each row lands, from 1, for data N(0, spread^2).

    The denoiser is exact: E[x0 | x] = alpha spread^2 x / (alpha^2 spread^2 + sigma^2); the ODE keeps the ratio at 1.
    """

    def total(level: Array) -> float:
        return float(np.hypot(level[0] * spread, level[1]))

    state = np.zeros(table.registers)
    state[0] = total(table.read[0])
    ratios = np.empty(table.rows)
    for n in range(table.rows):
        alpha, sigma = table.read[n]
        x0 = alpha * spread**2 * state[0] / ((alpha * spread) ** 2 + sigma**2)
        output = output_of(answer, state[0], table.input_scale[n], table.read[n], x0)
        state = table.update[n] @ np.array([*state, output, x0, 0.0])
        ratios[n] = state[0] / total(table.land[n])
    return ratios
