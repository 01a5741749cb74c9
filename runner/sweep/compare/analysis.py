"""What a set of errors says: the order of a method, the best of all methods, and what an error costs. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ABOVE_FLOOR = 3.0
"""Only errors of at least so many times the reference's own uncertainty say anything of a method."""
LEAST_POINTS = 3


@dataclass(frozen=True)
class Fit:
    """error = factor * nfe^-order, fitted over `points` of the errors, those with the fewest evaluations first."""

    order: float
    factor: float
    points: int


@dataclass(frozen=True)
class Need:
    """How many evaluations an error takes. `sure` says what `nfe` is to the number asked for:

    "about": it lies between two that were tried; "at most": the fewest tried are enough already; "more than": the
    most tried are not enough; "unknown": the error asked for is below what the reference itself is sure of.
    """

    nfe: float | None
    sure: str

    def __str__(self) -> str:
        return self.sure if self.nfe is None else f"{self.sure} {self.nfe:.0f}"


def fit_order(nfe: Sequence[float], error: Sequence[float], floor: float = 0.0) -> Fit | None:
    """The straight line through log error over log nfe, of the points well above the floor; None with too few."""
    n, e = np.asarray(nfe, np.float64), np.asarray(error, np.float64)
    kept = np.isfinite(e) & (e > max(ABOVE_FLOOR * floor, 0.0))
    if kept.sum() < LEAST_POINTS or len(np.unique(n[kept])) < LEAST_POINTS:
        return None
    slope, offset = np.polyfit(np.log(n[kept]), np.log(e[kept]), 1)
    return Fit(float(-slope), float(np.exp(offset)), int(kept.sum()))


def nfe_needed(nfe: Sequence[float], error: Sequence[float], below: float, floor: float = 0.0) -> Need:
    """The fewest evaluations from which on the error stays below a value, interpolated between log nfe and log error.

    What happens beyond the points is not guessed.
    """
    order = np.argsort(nfe)
    n, e = np.asarray(nfe, np.float64)[order], np.asarray(error, np.float64)[order]
    if below <= floor:
        return Need(None, "unknown")
    above = np.flatnonzero(e > below)
    if not len(above):
        return Need(float(n[0]), "at most")
    last = int(above[-1])
    if last == len(n) - 1:
        return Need(float(n[-1]), "more than")
    share = np.log(e[last] / below) / np.log(e[last] / max(e[last + 1], np.finfo(np.float64).tiny))
    return Need(float(np.exp(np.log(n[last]) + share * np.log(n[last + 1] / n[last]))), "about")


def pareto_front(cost: Sequence[float], error: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats: none has less of one and no more of the other. By rising cost."""
    c, e = np.asarray(cost, np.float64), np.asarray(error, np.float64)
    front: list[int] = []
    best = np.inf
    for i in np.lexsort((e, c)):
        if e[i] < best:
            front.append(int(i))
            best = e[i]
    return front


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """(a quarter, half, three quarters of the values lie below)."""
    low, middle, high = np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def as_plain(value: Any) -> Any:
    """A number as JSON can hold it: not a number becomes null."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
