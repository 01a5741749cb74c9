"""PNDM: pseudo numerical methods on the DDIM transfer (Liu et al. 2022, arXiv 2202.09778)."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np

from components.schedulers import options as opt
from components.schedulers.base import Array, Grid, Level, Rows, RunOptions, Scheduler, State, Update, alike
from components.schedulers.equation import ODE

ADAMS_BASHFORTH = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the newest output and of those before it (eq. 12 and its lower orders)."""

Start = Generator[Rows, None, tuple[int, int, int]]
"""The first rows; returns how many rows there were, how many outputs the history holds, how many steps are done."""


class PNDMScheduler(Scheduler):
    """F-PNDM with its Runge-Kutta start, or PLMS: linear multistep alone, started by one trapezoid (SD 1.x).

    Outputs are averaged as the network gives them, eps, v or x0, and the average is transferred (eq. 11): but for eps
    this mixes predictions that belong to different levels, as checkpoints trained with this sampler in mind expect.
    History: three earlier outputs, newest first, then the Runge-Kutta sum and the point a step started from.
    """

    aliases = ("pndm", "plms")
    equation = ODE
    finite_clock = True
    step_takes = ("return_dict",)
    returns = 1
    OPTIONS = (
        *opt.BETAS,
        opt.Option("skip_prk_steps", False, bool, "Start without Runge-Kutta steps (SD 1.x: true)."),
        *opt.with_defaults(opt.ALPHA_END, set_alpha_to_one=False),
        *opt.EPS_X0_V,
        *opt.with_defaults(opt.SPACING, timestep_spacing="leading"),
    )

    @property
    def convergence(self) -> int | None:
        return 2 if self.prediction_type == "epsilon" else 1

    def history(self, run: RunOptions) -> int:
        return 5

    def unchecked(self, run: RunOptions) -> str:
        return "averages of v belong to no one level" if self.prediction_type == "v_prediction" else ""

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        # A run that begins late starts anew, or has the rows that the whole run has from there.
        begin, count = (grid.begin, len(grid.whole)) if run.same_rows else (0, len(grid))
        left = max(min(3, count - 1) - begin, 0)
        start = self._trapezoid(grid, begin) if self.skip_prk_steps else self._runge_kutta(grid, left)
        first, known, done = yield from start
        for later, order in alike(np.minimum(np.arange(len(grid) - done) + known + 1, 4)):
            i = done + later
            at, to = grid[i], grid[i + 1]
            yield Rows(first + later, at, to, self._multistep(at, to, ADAMS_BASHFORTH[order - 1]), i)

    def _multistep(self, at: Level, to: Level, weights: tuple[float, ...]) -> Update:
        def update(s: State) -> tuple[Array, ...]:
            output = np.dot(weights, (s.output, *s.h)[: len(weights)])
            return self._transfer(s.x, output, at, to), s.output, s.h[0], s.h[1]

        return update

    def _trapezoid(self, grid: Grid, begin: int) -> Start:
        """Step 0 in two evaluations: there, and again from the start with the mean of both outputs."""
        if begin:
            return 0, 0, 0
        at, to = grid[:1], grid[1:2]
        zero = np.zeros(1, np.int64)

        def there(s: State) -> tuple[Array, ...]:
            return self._transfer(s.x, s.output, at, to), s.output, *s.h[1:4], s.x

        yield Rows(zero, at, to, there, zero)
        if len(grid) == 1:
            return 1, 1, 1

        def again(s: State) -> tuple[Array, ...]:
            return self._transfer(s.h[4], (s.output + s.h[0]) / 2, at, to), s.h[0]

        yield Rows(zero + 1, to, to, again, zero)
        return 2, 1, 1

    def _runge_kutta(self, grid: Grid, steps: int) -> Start:
        """Steps of four evaluations each (eq. 13)."""
        for k in range(steps):
            at, to, row = grid[k : k + 1], grid[k + 1 : k + 2], np.array([4 * k])
            middle = self._between(at, to)
            for stage, (reads, lands) in enumerate(((at, middle), (middle, middle), (middle, to), (to, to))):
                yield Rows(row + stage, reads, lands, self._stage(stage, at, lands), np.array([k]))
        return 4 * steps, steps, steps

    def _stage(self, stage: int, at: Level, to: Level) -> Update:
        weight = (1 / 6, 1 / 3, 1 / 3, 1 / 6)[stage]

        def update(s: State) -> tuple[Array, ...]:
            total = weight * s.output if stage == 0 else s.h[3] + weight * s.output
            start = s.x if stage == 0 else s.h[4]
            past = (s.output, s.h[0], s.h[1]) if stage == 0 else s.h[:3]
            used = total if stage == 3 else s.output
            return self._transfer(start, used, at, to), *past, total, start

        return update

    def _between(self, at: Level, to: Level) -> Level:
        """Half way on the training clock; on a whole timestep where both ends are."""
        half = (at.timestep - to.timestep) / 2
        whole = (np.floor(at.timestep) == at.timestep) & (np.floor(to.timestep) == to.timestep)
        t = to.timestep + np.where(whole, np.floor(half), half)
        return self.levels(t, self.clock.sigma_at(np.append(t, 0), log=True))[:-1]

    def _transfer(self, x: Array, output: Array, at: Level, to: Level) -> Array:
        """Eq. 11: x carried from one level to another along the predicted direction."""
        a, s, a_next, s_next = (v[:, None] for v in (at.alpha, at.sigma, to.alpha, to.sigma))
        eps = output
        if self.prediction_type == "v_prediction":
            eps = a * output + s * x
        elif self.prediction_type == "sample":
            eps = (x - a * output) / s
        return a_next * (x - s * eps) / a + s_next * eps
