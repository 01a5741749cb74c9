"""Tables of the exact solutions that samplers are compared with: where a sampler starts, where it ends, many steps.

A sampler is held against the equation it solves *from where it itself starts*: its first level and its first x, which
is init_noise_sigma times the image's draw. Two samplers may differ there (one takes x for pure noise, another adds the
spread of the data; spacings begin below the clock's end), and what that makes of a picture is no error of a method.

It ends where the sampler ends. A network was trained down to the clock's sigma_min: that far the equation is followed,
and a sampler that ends below takes the network's x0 there in one straight step, as samplers do at their last row.

Levels are placed on the flow coordinate tau = sigma / (alpha + sigma) in [0, 1] with z = x / (alpha + sigma): the ODE
is dz/dtau = eps - x0 for every parameterisation and scale, and nothing in it is infinite at either end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.schedulers import Tableau
from components.schedulers.noise import Array, FlowClock, TrainingClock
from components.schedulers.tableau import Level, Rows, State, trace

SHARED = (0.0, float("inf"))
"""What a table says of itself whose draws come from the Brownian path that all samplers of the SDE share."""
LEAST_SIGMA = 0.002
"""Down to which a network of continuous time is followed whose clock names no least sigma (Karras et al. 2022)."""
SOFTENING = 0.01
"""In tau: how near to its ends the steps of a reference stop shrinking."""


@dataclass(frozen=True)
class Ending:
    """A sampler's last x, made of a reference's two last ones: `low` * z at the lowest level + `closed` * x0 there."""

    low: float
    closed: float


@dataclass(frozen=True, eq=False)
class Reference:
    """The table of a reference, and what its last two rows leave: x at the lowest level, then x0 seen from there."""

    table: Tableau

    @property
    def low_scale(self) -> float:
        """x = low_scale * z where the row before the last one lands."""
        return float(self.table.land[-2].sum())

    @property
    def key(self) -> str:
        """The same for all tables that lead the same network along the same levels from the same z."""
        table, scale = self.table, self.table.read.sum(1)
        columns = [table.timestep, table.input_scale * scale, table.to_x0[:, 0] * scale, table.to_x0[:, 1]]
        columns += [table.read[:, 1] / scale, table.takes_noise, [table.init_noise_sigma / scale[0]]]
        text = " ".join(f"{value:.9g}" for column in columns for value in column)
        return hashlib.sha256(text.encode()).hexdigest()


def start_of(table: Tableau) -> tuple[float, float]:
    """(sigma / alpha of the first level, inf where alpha is 0; factor of the draw in x / alpha or, there, in x)."""
    alpha, sigma = (float(value) for value in table.read[0])
    return (sigma / alpha if alpha else float("inf")), float(table.init_noise_sigma) / (alpha or 1.0)


def ending_of(scheduler: Any, table: Tableau) -> Ending:
    """How a sampler's last x follows from a reference: on the straight line from the lowest level to x0."""
    scale, end, low = float(table.land[-1].sum()), _tau_of_row(table.land[-1]), _lowest(scheduler, table)
    share = round(end / low, 12)
    return Ending(round(scale * share, 12), round(scale * (1 - share), 12))


def ode_reference(scheduler: Any, table: Tableau, steps: int) -> Reference:
    """The probability-flow ODE of the scheduler's network by the classical Runge-Kutta method: 4 rows a step, one last.

    `table` is the sampler's own, for its start and end. Clipping is left out: the ODE knows none.
    """
    levels = _levels(scheduler, _grid(scheduler, table, steps))
    middles = _levels(scheduler, (_tau(levels)[:-1] + _tau(levels)[1:]) / 2)
    return _traced(scheduler, table, [*_runge_kutta(levels, middles), _closing(scheduler, levels, 4)], history=2)


def sde_reference(scheduler: Any, table: Tableau, steps: int) -> Reference:
    """The reverse SDE of eta = 1 by its posterior, one row a step and one last, on the shared Brownian path.

    alpha' x' / sigma'^2 = alpha x / sigma^2 + (u' - u) x0 + W(u') - W(u), u = alpha^2 / sigma^2: exact but for x0,
    which is held over the step. Of strong order 1.
    """
    levels = _levels(scheduler, _grid(scheduler, table, steps))
    i = np.arange(steps)
    at, to = levels[i[:, None]], levels[i[:, None] + 1]
    passed = to.clock - at.clock
    back = to.sigma**2 / to.alpha

    def update(s: State) -> tuple[Array, ...]:
        return (back * (at.alpha / at.sigma**2 * s.x + passed * s.x0 + np.sqrt(passed) * s.noise),)

    rows = [Rows(i, levels[i], levels[i + 1], update, i, noise=True), _closing(scheduler, levels, 1)]
    return _traced(scheduler, table, rows, history=0, brownian=SHARED)


def _runge_kutta(levels: Level, middles: Level) -> Iterable[Rows]:
    """History: z where the step began, and the slopes so far."""
    i = np.arange(len(middles))
    at, mid, to = levels[i[:, None]], middles[i[:, None]], levels[i[:, None] + 1]
    step = _tau(to) - _tau(at)
    here, middle, there = (level.alpha + level.sigma for level in (at, mid, to))

    def first(s: State) -> tuple[Array, ...]:
        z, slope = s.x / here, s.eps - s.x0
        return middle * (z + step / 2 * slope), z, slope

    def second(s: State) -> tuple[Array, ...]:
        slope = s.eps - s.x0
        return middle * (s.h[0] + step / 2 * slope), s.h[0], s.h[1] + 2 * slope

    def third(s: State) -> tuple[Array, ...]:
        slope = s.eps - s.x0
        return there * (s.h[0] + step * slope), s.h[0], s.h[1] + 2 * slope

    def fourth(s: State) -> tuple[Array, ...]:
        return (there * (s.h[0] + step / 6 * (s.h[1] + s.eps - s.x0)),)

    start, end = levels[:-1], levels[1:]
    yield Rows(4 * i, start, middles, first, i)
    yield Rows(4 * i + 1, middles, middles, second, i)
    yield Rows(4 * i + 2, middles, end, third, i)
    yield Rows(4 * i + 3, end, end, fourth, i)


def _closing(scheduler: Any, levels: Level, rows_a_step: int) -> Rows:
    """x0 as the network sees it from the lowest level."""
    steps = np.array([len(levels) - 1])
    return Rows(rows_a_step * steps, levels[-1:], _levels(scheduler, np.zeros(1)), lambda s: (s.x0,), steps)


def _traced(
    scheduler: Any,
    table: Tableau,
    rows: list[Rows],
    history: int,
    brownian: tuple[float, float] | None = None,
) -> Reference:
    return Reference(
        trace(
            rows,
            history=history,
            parameterisation=scheduler.parameterisation,
            init_noise_sigma=float(table.init_noise_sigma),
            brownian=brownian,
        ).verify()
    )


def _grid(scheduler: Any, table: Tableau, steps: int) -> Array:
    """(steps + 1,) tau from the sampler's first level to the lowest, even in the logarithm of softened tau / (1 - tau).

    That is even in lambda but where tau nears 0 or 1.
    """
    start, low = _tau_of_row(table.read[0]), _lowest(scheduler, table)
    u_start, u_low = (np.log((tau + SOFTENING) / (1 - tau + SOFTENING)) for tau in (start, low))
    odds = np.exp(np.linspace(u_start, u_low, steps + 1))
    tau = (odds * (1 + SOFTENING) - SOFTENING) / (1 + odds)
    tau[0], tau[-1] = start, low
    return tau


def _lowest(scheduler: Any, table: Tableau) -> float:
    """tau down to which the equation is followed."""
    sigma = float(scheduler.clock.sigma_min) or LEAST_SIGMA
    trained = sigma if isinstance(scheduler.clock, FlowClock) else sigma / (1 + sigma)
    return max(_tau_of_row(table.land[-1]), min(trained, _tau_of_row(table.read[-1])))


def _levels(scheduler: Any, tau: Array) -> Level:
    """The scheduler's own levels at these tau. Its network is told fractional timesteps, also where it rounds them."""
    clock = scheduler.clock
    with np.errstate(divide="ignore"):
        sigma = tau if isinstance(clock, FlowClock) else tau / (1 - tau)
        t = clock.timestep_at(sigma)
    levels = scheduler.levels(t, np.append(sigma, 0.0))[: len(t)]
    if not isinstance(clock, TrainingClock):
        return levels
    rounded = levels.timestep == np.round(t)
    return Level(np.where(rounded, t, levels.timestep), levels.alpha, levels.sigma, levels.scale)


def _tau(level: Level) -> Array:
    return level.sigma / (level.alpha + level.sigma)


def _tau_of_row(level: Array) -> float:
    return float(level[1] / level.sum())
