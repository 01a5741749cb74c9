"""What one run visits: a number of steps or listed timesteps or sigmas, where it ends, and what may be wrong with that.

A `Schedule` is the wish, a `Grid` the levels it comes to on one scheduler's clock. Knows no solver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.noise import Array
from components.schedulers.options import ENDS, OptionProblem, nearest
from components.schedulers.tableau import Level

SPACINGS = (*space.TRAINING_SPACINGS, *space.TIMESTEP_SPACINGS, *space.SIGMA_SPACINGS)
DEFAULT_STEPS = 50


@dataclass(frozen=True, eq=False)
class Grid:
    """The levels a run visits: N + 1 of them, of which the network reads the first N.

    A run that begins late has the last levels of a whole run, which is what some rules of a method speak of.
    """

    levels: Level
    begin: int = 0
    """Steps of the whole run that are left out at the front."""
    _whole: Grid | None = None

    @property
    def whole(self) -> Grid:
        """The grid that this one is the rest of; itself, where nothing was left out."""
        return self if self._whole is None else self._whole

    def late(self, begin: int) -> Grid:
        """What is left without the first steps."""
        return Grid(self.levels[begin:], begin, self) if begin else self

    def begun(self, orders: Array) -> Array:
        """Orders of the whole run's steps, as they are of this run's: its history is empty at its own beginning."""
        return np.minimum(orders[self.begin :], np.arange(len(self)) + 1)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def __getitem__(self, index: Any) -> Level:
        return self.levels[index]

    def steps(self) -> tuple[Array, Level, Level]:
        """(numbers of all steps, the levels they start from, the levels they end at), the levels as columns."""
        i = np.arange(len(self))
        return i, self.columns(i), self.columns(i + 1)

    def columns(self, index: Array) -> Level:
        """Levels as columns (n, 1), so that a formula broadcasts over basis vectors."""
        return self.levels[index[:, None]]


def alike(*columns: Array) -> Iterator[tuple[Any, ...]]:
    """(rows, value, …) for each combination of values that rows have in these columns (N,): they share a formula."""
    for values in sorted(set(zip(*(column.tolist() for column in columns), strict=True))):
        same = [column == value for column, value in zip(columns, values, strict=True)]
        yield np.flatnonzero(np.all(same, axis=0)), *values


@dataclass(frozen=True)
class Schedule:
    """`timesteps` list N network evaluations' places; `sigmas` list N + 1 noise-to-signal sigmas, end included.

    A sigma beyond what the network was trained on is told the nearest timestep there is (`Scheduler.remarks` speaks of
    those above); above 1 there is no flow.

    `steps` alone spreads them by `spacing` (or as configured); beside a list it resamples the list log-linearly.
    `final_sigma` says where the last step ends: "zero", "sigma_min" or a ratio; None leaves it to the scheduler, or
    to the list of sigmas. `begin` leaves out so many of these steps at the front (image to image).
    """

    steps: int | None = None
    timesteps: Sequence[float] | None = None
    sigmas: Sequence[float] | None = None
    final_sigma: str | float | None = None
    spacing: str | None = None
    begin: int = 0

    @property
    def length(self) -> int:
        """How many steps there are, those left out included."""
        if self.steps is not None:
            return self.steps
        if self.timesteps is not None:
            return len(self.timesteps)
        return DEFAULT_STEPS if self.sigmas is None else len(self.sigmas) - 1

    def end(self, clock: Any, default: float) -> float:
        """Noise-to-signal ratio at which the last step ends."""
        if self.final_sigma is None:
            return default if self.sigmas is None else float(self.sigmas[-1])
        return clock.sigma_min if self.final_sigma == "sigma_min" else float(str(self.final_sigma).replace("zero", "0"))

    def listed(self, clock: Any) -> tuple[Array, Array] | None:
        """(timesteps, sigmas), (N,) each, of a listed schedule at `steps` steps; None when nothing is listed."""
        if self.timesteps is not None:
            t = np.asarray(self.timesteps, np.float64)
            sigmas, end = clock.sigma_at(t), 0.0
        elif self.sigmas is not None:
            levels = np.asarray(self.sigmas, np.float64)
            t, sigmas, end = clock.timestep_at(levels[:-1]), levels[:-1], levels[-1]
        else:
            return None
        if self.steps is not None and self.steps != len(t):
            end = end or (clock.sigma_min if 0 < clock.sigma_min < sigmas[-1] else sigmas[-1] / 2)
            sigmas = space.resample_log_linear([*sigmas, end], self.steps)[:-1]
            t = clock.timestep_at(sigmas)
        return t, sigmas

    def problems(self, clock: Any, flag: str | None, ascending: bool) -> Iterable[OptionProblem]:
        """Everything wrong with it on this clock, each problem naming its key; `flag`: a use_*_sigmas that is set."""
        given = [name for name in ("timesteps", "sigmas", "spacing") if getattr(self, name) is not None]
        if len(given) > 1:
            yield OptionProblem(given[1], f"cannot be given together with {given[0]}")
        if given and flag:
            yield OptionProblem(given[0], f"cannot be given together with the scheduler's {flag}")
        if self.spacing is not None and self.spacing not in SPACINGS:
            close = nearest(self.spacing, SPACINGS)
            yield OptionProblem("spacing", f"is {self.spacing!r}, which is not a spacing", SPACINGS, close)
        if self.steps is not None and not 1 <= self.steps <= clock.length:
            yield OptionProblem("steps", f"is {self.steps}, but must be between 1 and {clock.length}")
        if not 0 <= self.begin < max(self.length, 1):
            yield OptionProblem("begin", f"is {self.begin}, but of {self.length} steps one at least must be left")
        first, last = clock.ends
        for name, values, least, low in (("timesteps", self.timesteps, 1, first), ("sigmas", self.sigmas, 2, 0.0)):
            for what in _listing_problems(values, least, low, ascending):
                yield OptionProblem(name, what)
        if self.timesteps and max(self.timesteps) > last:
            what = f"starts at {max(self.timesteps):g}, but this checkpoint's training clock ends at {last:g}"
            yield OptionProblem("timesteps", what)
        if self.sigmas and max(self.sigmas) > clock.highest:
            what = f"goes up to {max(self.sigmas):g}, but a flow's sigma ends at {clock.highest:g}"
            yield OptionProblem("sigmas", what)
        end = self.final_sigma
        if (isinstance(end, str) and end not in ENDS) or (isinstance(end, int | float) and end < 0):
            yield OptionProblem("final_sigma", f"is {end!r}", (*ENDS, "a number of at least 0"))


def _listing_problems(values: Sequence[float] | None, least: int, low: float, ascending: bool) -> Iterable[str]:
    if values is None:
        return
    if len(values) < least:
        yield "is empty" if not values else f"needs at least {least} values: where to start and where to end"
        return
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all() or (array < low).any():
        yield f"must be finite numbers, none below {low:g}"
    elif (wrong := np.diff(array) <= 0 if ascending else np.diff(array) >= 0).any():
        i, way = int(wrong.argmax()), "ascend, from little noise to much"
        way = way if ascending else "descend, from much noise to little"
        yield f"must {way}, but {values[i]:g} is followed by {values[i + 1]:g}"
