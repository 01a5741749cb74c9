"""Tables of the exact solutions that samplers are compared with: where a sampler starts, where it ends, many steps.

A sampler is held against the equation it solves *from where it itself starts*: its first level and its first x, which
is init_noise_sigma times the image's draw. Two samplers may differ there (one takes x for pure noise, another adds the
spread of the data; spacings begin below the clock's end), and what that makes of a picture is no error of a method.

It ends where the sampler ends, and in the sampler's scale. A network was trained down to the clock's sigma_min: that
far the equation is followed, and below it lies one straight step towards the network's x0, as in samplers' last rows.

Levels are placed on the flow coordinate tau = sigma / (alpha + sigma) in [0, 1] with z = x / (alpha + sigma): the ODE
is dz/dtau = eps - x0 for every parameterisation and scale, and nothing in it is infinite at either end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from components.schedulers import Tableau
from components.schedulers.adams import adams_weights
from components.schedulers.brownian import SHARED
from components.schedulers.noise import Array, FlowClock, TrainingClock
from components.schedulers.tableau import Level, Rows, State, trace

LEAST_SIGMA = 0.002
"""Down to which a network of continuous time is followed whose clock names no least sigma (Karras et al. 2022)."""
SOFTENING = 0.01
"""In tau: how near to its ends the steps of a reference stop shrinking."""
FINELY = 4001
"""Levels from which those of a reference are interpolated."""
ORDER = 3


def ode_reference(scheduler: Any, table: Tableau, steps: int) -> Tableau:
    """The probability-flow ODE of the scheduler's network by Adams-Bashforth of order ORDER: a row a step, one last.

    `table` is the sampler's own, for its start and end. Clipping is left out: the ODE knows none.
    """
    levels = _levels(scheduler, _grid(scheduler, table, steps))
    rows = [*_adams(levels), _last(table, levels)]
    return trace(
        rows,
        history=ORDER - 1,
        parameterisation=scheduler.parameterisation,
        init_noise_sigma=float(table.init_noise_sigma),
    ).verify()


def sde_reference(scheduler: Any, table: Tableau, steps: int) -> Tableau:
    """The reverse SDE of eta = 1 by its posterior, one row a step and one last, on the shared Brownian path.

    alpha' x' / sigma'^2 = alpha x / sigma^2 + (u' - u) x0 + W(u') - W(u), u = alpha^2 / sigma^2: exact but for x0, of
    which the value half a step of lambda ahead is taken, as the last two values let it be seen. Of strong order 1 all
    the same, for x0 follows the noise; but about half as far off as with x0 held.
    """
    levels = _levels(scheduler, _grid(scheduler, table, steps))
    i = np.arange(steps)
    at, to = levels[i[:, None]], levels[i[:, None] + 1]
    passed = to.clock - at.clock
    back = to.sigma**2 / to.alpha
    steps_of_lambda = np.diff(levels.lam)
    ahead = np.append(0.0, steps_of_lambda[1:] / steps_of_lambda[:-1] / 2)[:, None]

    def update(s: State) -> tuple[Array, ...]:
        x0 = s.x0 + ahead * (s.x0 - s.h[0])
        return back * (at.alpha / at.sigma**2 * s.x + passed * x0 + np.sqrt(passed) * s.noise), s.x0

    return trace(
        [Rows(i, levels[i], levels[i + 1], update, i, noise=True), _last(table, levels)],
        history=1,
        parameterisation=scheduler.parameterisation,
        init_noise_sigma=float(table.init_noise_sigma),
        brownian=SHARED,
    ).verify()


def reference_key(table: Tableau) -> str:
    """The same for all references that lead one network along one course, whatever scale they keep x in on the way."""
    scale = table.read.sum(1)
    columns = [table.timestep, table.input_scale * scale, table.to_x0[:, 0] * scale, table.to_x0[:, 1]]
    columns += [table.read[:, 1] / scale, table.takes_noise, table.land[-1], [start_of(table)[1]]]
    text = " ".join(f"{value:.9g}" for column in columns for value in column)
    return hashlib.sha256(text.encode()).hexdigest()


def start_of(table: Tableau) -> tuple[float, float]:
    """(tau where a table first reads, the factor of the draw in its z there)."""
    scale = float(table.read[0].sum())
    return _tau_of_row(table.read[0]), float(table.init_noise_sigma) / scale


def _adams(levels: Level) -> Iterable[Rows]:
    """Of order min(ORDER, row + 1). History: the slopes eps - x0 of the rows before, newest first."""
    tau, i = _tau(levels), np.arange(len(levels) - 1)
    for order in range(1, ORDER + 1):
        rows = i[np.minimum(i + 1, ORDER) == order]
        at, to = levels[rows[:, None]], levels[rows[:, None] + 1]
        weights = adams_weights(tau, rows, order)[:, :, None]

        def update(s: State, at: Level = at, to: Level = to, weights: Array = weights) -> tuple[Array, ...]:
            slopes = (s.eps - s.x0, *s.h)
            z = s.x / (at.alpha + at.sigma) + sum(w * slope for w, slope in zip(weights, slopes, strict=False))
            return (to.alpha + to.sigma) * z, *slopes[: ORDER - 1]

        yield Rows(rows, levels[rows], levels[rows + 1], update, rows)


def _last(table: Tableau, levels: Level) -> Rows:
    """From the lowest level straight to where the sampler ends; where that is the same place, x stays as it is."""
    (alpha, sigma), at, steps = table.land[-1], levels[-1:], np.array([len(levels) - 1])
    to = Level(np.zeros(1), np.array([alpha]), np.array([sigma]), np.ones(1))
    share, scale = float(_tau(to)[0] / _tau(at)[0]), float(alpha + sigma)
    kept = scale * share / float(at.alpha[0] + at.sigma[0])
    return Rows(steps, at, to, lambda s: (kept * s.x + scale * (1 - share) * s.x0,), steps)


def _grid(scheduler: Any, table: Tableau, steps: int) -> Array:
    """(steps + 1,) tau from the sampler's first level to the lowest: dense where lambda or the timestep changes fast.

    Even in the mean of the two, each from 0 to 1 over the course (of lambda, SOFTENING keeps the ends finite). Even in
    lambda alone would be enough for a smooth network; but one that is told the time as sinusoids, whose fastest has a
    period of 2 pi timesteps, has ripples in time of about 0.2 % of its output, and they are resolved or they stay.
    """
    start, low = _tau_of_row(table.read[0]), _lowest(scheduler, table)
    first, last = ((tau + SOFTENING) / (1 - tau + SOFTENING) for tau in (start, low))
    dense = np.geomspace(first, last, FINELY)
    dense = (dense * (1 + SOFTENING) - SOFTENING) / (1 + dense)
    dense[0], dense[-1] = start, low
    t = _levels(scheduler, dense).timestep
    places = (np.linspace(0, 1, FINELY) + (t - t[0]) / (t[-1] - t[0])) / 2
    return np.interp(np.linspace(0, 1, steps + 1), places, dense)


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
