"""A scheduler: configuration in, table out. No counters, no buffers, no `step`; the loop's state is the loop's own.

A method subclasses `Scheduler` and says which options it has, on which levels it reads (`grid`, mostly inherited) and
by which formula it moves between them (`rows`). Everything that methods share stands here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.arrays import plain
from components.schedulers.brownian import on_shared_path
from components.schedulers.configured import Configured
from components.schedulers.equation import UNKNOWN
from components.schedulers.facade import Facade
from components.schedulers.noise import LARGEST_SIGMA, Array, TrainingClock
from components.schedulers.options import SIGMA_FLAGS, OptionProblem, SchedulerConfigError
from components.schedulers.run_options import RunOptions
from components.schedulers.schedule import DEFAULT_STEPS, Grid, Schedule, alike
from components.schedulers.signatures import describe
from components.schedulers.tableau import Clip, Level, Rows, State, Tableau, Update, parameterisation, trace

__all__ = ["Array", "Clip", "Grid", "Level", "Rows", "RunOptions", "Schedule", "Scheduler", "SigmaScheduler", "State"]
__all__ += ["DEFAULT_STEPS", "Update", "alike", "parameterisation"]
"""What a method's file is written with: it imports all of it from here."""

ROUNDED = 1.001
"""Published sigmas are rounded: 14.615 is not beyond 14.6146."""


class Scheduler(Configured, Facade):
    """Base of all schedulers. `XScheduler(**options)`; unknown or unfit options raise SchedulerConfigError."""

    aliases: ClassVar[tuple[str, ...]] = ()
    variance_preserving: ClassVar[bool] = True
    """Whether x is kept as alpha x0 + sigma eps; otherwise as x0 + sigma eps, scaled at the network's door."""
    ascending: ClassVar[bool] = False
    """Whether a run goes from data to noise."""
    equation: Any = UNKNOWN
    """What it solves, with these options and those of its run: an `Equation`."""
    convergence: int | None = 1
    """p of an error that falls as (1 / steps)^p, strong where there is noise; None: it solves no one equation."""
    noise_dtype: ClassVar[str | None] = None
    """Number format of the rows' draws where they are made on the device; None: the network's."""
    tells_timesteps: bool = True
    """Whether the network is told a place on its training clock, and not the noise level itself."""

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        if "aliases" in vars(cls):
            describe(cls)

    def __init__(self, **options: Any) -> None:
        cls, options = type(self), {name: plain(value) for name, value in options.items()}
        if problems := cls.check_options(options):
            raise SchedulerConfigError(cls.__name__, problems)
        known = cls.options()
        values = {name: options.get(name, option.default) for name, option in known.items()}
        self.run = RunOptions(**{name: value for name, value in values.items() if known[name].run})
        self._values = {name: value for name, value in values.items() if not known[name].run}
        self._defaulted = frozenset(self._values) - set(options)
        self.chosen = frozenset(name for name in options if known[name].run)
        self._hidden: dict[str, Any] = {}
        self.inherited: dict[str, Any] = {}
        self.dropped: dict[str, Any] = {}
        self.clock: Any = self.make_clock()

    def make_clock(self) -> Any:
        """What t and sigma mean to each other: here, a training clock of betas."""
        return self.training_clock()

    def end_sigma(self) -> float:
        """Noise-to-signal ratio where the last step ends, by the configuration."""
        if "set_alpha_to_one" in self._values:
            return 0.0 if self.set_alpha_to_one else self.clock.sigma_min
        return self.clock.sigma_min if self._values.get("final_sigmas_type") == "sigma_min" else 0.0

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        """Timesteps of a training spacing. Solvers differ in whether they round, and in where the last step ends."""
        return space.training_timesteps(kind, steps, self.clock.length, offset=self.steps_offset)

    def sigma_range(self, steps: int) -> tuple[float, float]:
        """(smallest, largest) sigma of a sigma spacing: the ends that the timestep spacing would have had."""
        ends = self.clock.sigma_at(self.spaced_timesteps(self.timestep_spacing, steps))
        return float(ends[-1]), float(ends[0])

    def spaced_sigmas(self, kind: str, steps: int) -> Array:
        """Levels of a sigma spacing (N,), between the ends asked for or those of `sigma_range`."""
        low, high = self.sigma_range(steps)
        high = LARGEST_SIGMA if np.isinf(high) else high  # no spacing starts at infinity
        low, high = self._values.get("sigma_min") or low, self._values.get("sigma_max") or high
        return space.SIGMA_SPACINGS[kind](low, high, steps)

    def spaced_levels(self, kind: str, steps: int) -> tuple[Array, Array]:
        """(timesteps (N,), sigmas (N,)) of a spacing of either kind."""
        if kind in space.TRAINING_SPACINGS:
            t = self.spaced_timesteps(kind, steps)
            return t, self.clock.sigma_at(t)
        if kind in space.TIMESTEP_SPACINGS:
            t = space.TIMESTEP_SPACINGS[kind](self.clock.length, steps)
            return t, self.clock.sigma_at(t)
        sigmas = self.spaced_sigmas(kind, steps)
        return self.clock.timestep_at(sigmas), sigmas

    def configured_spacing(self) -> str:
        flags = (kind for flag, kind in SIGMA_FLAGS.items() if self._values.get(flag))
        return next(flags, self.timestep_spacing)

    def grid(self, schedule: Schedule) -> Grid:
        """The levels that a schedule comes to on this scheduler's clock."""
        steps = DEFAULT_STEPS if schedule.steps is None else schedule.steps
        listed = schedule.listed(self.clock)
        t, sigmas = listed or self.spaced_levels(schedule.spacing or self.configured_spacing(), steps)
        if len(sigmas) == len(t):  # some spacings say themselves where they end
            sigmas = np.append(sigmas, schedule.end(self.clock, self.end_sigma()))
        if schedule.final_sigma is not None and not self.ascending and sigmas[-1] > sigmas[-2]:
            what = f"is {sigmas[-1]:g}, above the last level that is read, {sigmas[-2]:g}"
            raise SchedulerConfigError(f"{type(self).__name__} schedule", [OptionProblem("final_sigma", what)])
        return self.levels(t, sigmas)

    def levels(self, t: Array, sigmas: Array) -> Grid:
        """Levels in the scale this solver keeps x in."""
        t = np.append(t, 0.0)
        alpha, sigma = self.clock.pair(sigmas)
        if self.variance_preserving:
            return Grid(Level(t, alpha, sigma, np.ones_like(t)))
        return Grid(Level(t, np.ones_like(t), sigmas, alpha))

    def check_schedule(self, schedule: Schedule) -> list[OptionProblem]:
        """Everything wrong with a schedule for this scheduler, each problem naming its key."""
        flag = next((flag for flag in SIGMA_FLAGS if self._values.get(flag) and flag not in self.inherited), None)
        if flag and SIGMA_FLAGS[flag] == schedule.spacing:
            flag = None  # both say the same
        return list(schedule.problems(self.clock, flag, self.ascending))

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        """The method: which rows there are and by which formula each moves x. The one thing a scheduler must write."""
        raise NotImplementedError

    def history(self, run: RunOptions) -> int:
        """Registers beside x that the method's rows keep."""
        return 0

    def parameterisation(self, at: Level) -> tuple[Array, Array, Array, Array]:
        """(p, q, r, s) with x0 = p x + q output and eps = r x + s output, at each level."""
        return parameterisation(self.prediction_type, at)

    def initial_scale(self, grid: Grid) -> float:
        """What a standard normal draw is multiplied by to start."""
        return 1.0

    def brownian(self, grid: Grid) -> tuple[float, float] | None:
        """Ends of the peer's Brownian tree, on a clock of its own; None: it draws independently. See also `rows`."""
        return None

    @property
    def clip(self) -> Clip | None:
        if self._values.get("thresholding"):
            return Clip("quantile", self.sample_max_value, self.dynamic_thresholding_ratio)
        return Clip("range", self.clip_sample_range) if self._values.get("clip_sample") else None

    def unchecked(self, run: RunOptions) -> str:
        """Why the point-mass check says nothing of this configuration; empty where it does."""
        return ""

    def tableau(
        self,
        steps: int | None = None,
        *,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        spacing: str | None = None,
        final_sigma: str | float | None = None,
        begin: int = 0,
        run: RunOptions | None = None,
    ) -> Tableau:
        """The table of one run, proved on a point mass.

        `timesteps` or `sigmas` (noise-to-signal sigmas, end included) list a schedule; `steps` then resamples it
        log-linearly, or is its own length when None. `spacing` overrides the configured one. `final_sigma` ("zero",
        "sigma_min" or a ratio) overrides where the last step ends. `begin` leaves out so many steps at the front: the
        rest is a run of its own, its history empty, on the levels that the whole run visits.

        Raises SchedulerConfigError for an unfit schedule.
        """
        return self.table_of(Schedule(steps, timesteps, sigmas, final_sigma, spacing, begin), run or self.run)

    def table_of(self, schedule: Schedule, run: RunOptions) -> Tableau:
        """The same, of a schedule that is said already."""
        if run != self.run:
            return self.running(run).table_of(schedule, run)
        if problems := self.check_schedule(schedule):
            raise SchedulerConfigError(f"{type(self).__name__} schedule", problems)
        grid = self.grid(schedule).late(schedule.begin)
        table = trace(
            list(self.rows(grid, run)),
            history=self.history(run),
            parameterisation=self.parameterisation,
            init_noise_sigma=self.initial_scale(grid),
            clip=self.clip,
            unchecked=self.unchecked(run),
            brownian=None if run.shared_path else self.brownian(grid),
        )
        return (on_shared_path(table) if run.shared_path else table).verify()

    def remarks(self, table: Tableau) -> list[str]:
        """Sentences that a user of this scheduler's table should read: on rows above all the network was trained on."""
        if not isinstance(self.clock, TrainingClock) or not self.tells_timesteps:
            return []
        end = self.clock.sigma_max
        above = int((table.read[:, 1] > table.read[:, 0] * end * ROUNDED).sum())
        what = f"{above} of {table.rows} rows read at a sigma / alpha above {end:.4g}"
        return [f"{what}, where this network's training ended: it is told its last timestep."] if above else []

    def with_run(self, **options: Any) -> RunOptions:
        """This scheduler's run options with some replaced."""
        return replace(self.run, **options)

    def running(self, run: RunOptions) -> Self:
        """The same scheduler with these run options."""
        made = copy(self)
        made.run, made._loop, made._clock_run = run, None, None
        return made


class SigmaScheduler(Scheduler):
    """Solvers in the k-diffusion scale, x = x0 + sigma eps: fractional timesteps, sigma ending at zero."""

    variance_preserving = False
    finite_clock = True
    runs_unasked = True
    whole_timesteps = False

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return space.training_timesteps(kind, steps, self.clock.length, offset=self.steps_offset, rounded=False)

    def initial_scale(self, grid: Grid) -> float:
        """sigma_max where the spacing starts at the very end of the clock, else the spread of data and noise."""
        sigma = float(grid.levels.sigma[0])
        return sigma if self.timestep_spacing in ("linspace", "trailing") else float(np.hypot(sigma, 1))
