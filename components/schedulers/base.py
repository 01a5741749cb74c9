"""A scheduler: configuration in, table out. No counters, no buffers, no `step`; the loop's state is the loop's own.

A method subclasses `Scheduler` and says which options it has, on which levels it reads (`grid`, mostly inherited) and
by which formula it moves between them (`rows`). Everything that methods share stands here once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from components.schedulers import spacing as space
from components.schedulers.noise import Array, TrainingClock, variance_preserving
from components.schedulers.options import (
    BETAS,
    SIGMA_FLAGS,
    Option,
    OptionProblem,
    SchedulerConfigError,
    check,
)
from components.schedulers.tableau import Clip, Level, Rows, Tableau, trace

CONFIG_NAME = "scheduler_config.json"


@dataclass(frozen=True)
class RunOptions:
    """What belongs to one run and not to the configuration; each method reads the ones it lists in its options."""

    eta: float = 0.0
    use_clipped_model_output: bool = False
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0
    order: int = 4


@dataclass(frozen=True, eq=False)
class Grid:
    """The levels a run visits: N + 1 of them, of which the network reads the first N."""

    levels: Level

    def __len__(self) -> int:
        return len(self.levels) - 1

    def __getitem__(self, index: Any) -> Level:
        return self.levels[index]

    def columns(self, index: Array) -> Level:
        """Levels as columns (n, 1), so that a formula broadcasts over basis vectors."""
        return self.levels[index[:, None]]


class Scheduler:
    """Base of all schedulers. `XScheduler(**options)`; unknown or unfit options raise SchedulerConfigError."""

    aliases: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[tuple[Option, ...]] = ()
    variance_preserving: ClassVar[bool] = True
    """Whether x is kept as alpha x0 + sigma eps; otherwise as x0 + sigma eps, scaled at the network's door."""

    def __init__(self, **options: Any) -> None:
        cls = type(self)
        if problems := cls.check_options(options):
            raise SchedulerConfigError(cls.__name__, problems)
        known = cls.options()
        values = {name: options.get(name, option.default) for name, option in known.items()}
        self.run = RunOptions(**{name: value for name, value in values.items() if known[name].run})
        self._values = {name: value for name, value in values.items() if not known[name].run}
        self._defaulted = frozenset(self._values) - set(options)
        self._hidden: dict[str, Any] = {}
        self.inherited: dict[str, Any] = {}
        self.dropped: dict[str, Any] = {}
        self.clock = self.training_clock()

    # ---- configuration ---------------------------------------------------------------------------------------------

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Every option by name, in order."""
        return {option.name: option for option in cls.OPTIONS}

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[OptionProblem]:
        """Everything that is wrong with these options for this class, at once; nothing is built."""
        from components.schedulers import option_owners

        return check(cls.options(), options, option_owners())

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole configuration, read-only: own options, and what was carried along for other classes."""
        return MappingProxyType(self._hidden | self._values)

    def __getattr__(self, name: str) -> Any:
        """An option reads as an attribute: self.steps_offset."""
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Scheduler, **options: Any) -> Self:
        """This class with another scheduler's configuration, options on top.

        A value that the other scheduler merely defaulted to is not inherited: this class's own default applies.
        Keys of other schedulers are carried along, so that they survive the way back. What came from `config` is
        in `.inherited`, what did not fit this class in `.dropped`. Raises SchedulerConfigError for bad `options`.
        """
        from components.schedulers import option_owners

        source = dict(config.to_config() if isinstance(config, Scheduler) else config)
        defaulted = set(source.pop("_use_default_values", ()))
        source = {k: v for k, v in source.items() if not k.startswith("_")}
        known = cls.options()
        inherited = {k: v for k, v in source.items() if k in known and not known[k].run and k not in defaulted}
        made = cls(**{k: v for k, v in inherited.items() if k not in options}, **options)
        made.inherited = {k: v for k, v in inherited.items() if k not in options}
        made._hidden = {k: v for k, v in source.items() if k not in known}
        made.dropped = {k: v for k, v in made._hidden.items() if k not in option_owners()}
        return made

    def to_config(self) -> dict[str, Any]:
        """The configuration as a checkpoint stores it, with the names of the values that are mere defaults."""
        return {"_class_name": type(self).__name__, **self.config, "_use_default_values": sorted(self._defaulted)}

    @classmethod
    def from_pretrained(cls, folder: str | Path, subfolder: str | None = None, **options: Any) -> Self:
        """From `folder/subfolder/scheduler_config.json` (or the file itself)."""
        path = Path(folder)
        if path.is_dir():
            inner = path / (subfolder or "") / CONFIG_NAME
            path = inner if inner.exists() else path / CONFIG_NAME
        return cls.from_config(json.loads(path.read_text(encoding="utf-8")), **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write scheduler_config.json into `folder`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / CONFIG_NAME).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        config = {"_class_name": type(self).__name__, **self.config}
        return json.dumps(config, indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json()}"

    # ---- the levels a run visits -----------------------------------------------------------------------------------

    def training_clock(self) -> TrainingClock:
        clock = TrainingClock.from_betas(
            **{o.name: getattr(self, o.name) for o in BETAS}, rescale_betas_zero_snr=self.config.get("rescale_betas_zero_snr", False)
        )
        return clock if self.variance_preserving else clock.with_finite_end()

    def end_ratio(self) -> float:
        """Noise-to-signal ratio where the last step ends, by the configuration."""
        if "set_alpha_to_one" in self._values:
            return 0.0 if self.set_alpha_to_one else self.clock.ratio_min
        return self.clock.ratio_min if self._values.get("final_sigmas_type") == "sigma_min" else 0.0

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        """Timesteps of a training spacing. Solvers differ in whether they round, and in where the last step ends."""
        return space.training_timesteps(kind, steps, self.clock.length, offset=self.steps_offset)

    def spaced_ratios(self, kind: str, steps: int) -> Array:
        """Levels of a sigma spacing, between the ends that the timestep spacing would have had."""
        ends = self.clock.ratio_at(self.spaced_timesteps(self.timestep_spacing, steps))
        return space.SIGMA_SPACINGS[kind](float(ends[-1]), float(ends[0]), steps)

    def configured_spacing(self) -> str:
        flags = (kind for flag, kind in SIGMA_FLAGS.items() if self._values.get(flag))
        return next(flags, self.timestep_spacing)

    def grid(
        self,
        steps: int | None,
        timesteps: Sequence[float] | None,
        sigmas: Sequence[float] | None,
        spacing: str | None,
        final_sigma: str | float | None,
    ) -> Grid:
        """The visited levels. `sigmas` list N + 1 noise-to-signal ratios, end included; `timesteps` list N."""
        end = self.end_ratio() if final_sigma is None else self._named_end(final_sigma)
        if timesteps is not None:
            t = np.asarray(timesteps, np.float64)
            ratios = self.clock.ratio_at(t)
            if steps is not None and steps != len(t):
                ratios = space.resample_log_linear([*ratios, self.clock.ratio_min], steps)[:-1]
                t = self.clock.timestep_at(ratios)
        elif sigmas is not None:
            listed = np.asarray(sigmas, np.float64)
            if final_sigma is None:
                end = float(listed[-1])
            if steps is not None and steps != len(listed) - 1:
                listed = space.resample_log_linear([*listed[:-1], listed[-1] or self.clock.ratio_min], steps)
            ratios = listed[:-1]
            t = self.clock.timestep_at(ratios)
        else:
            kind, count = spacing or self.configured_spacing(), 50 if steps is None else steps
            if kind in space.TRAINING_SPACINGS:
                t = self.spaced_timesteps(kind, count)
                ratios = self.clock.ratio_at(t)
            else:
                ratios = self.spaced_ratios(kind, count)
                t = self.clock.timestep_at(ratios)
        return self.levels(t, np.append(ratios, end))

    def levels(self, t: Array, ratios: Array) -> Grid:
        """Levels in the scale this solver keeps x in."""
        t = np.append(t, 0.0)
        alpha, sigma = variance_preserving(ratios)
        if self.variance_preserving:
            return Grid(Level(t, alpha, sigma, np.ones_like(t)))
        return Grid(Level(t, np.ones_like(t), ratios, alpha))

    def _named_end(self, final_sigma: str | float) -> float:
        return {"zero": 0.0, "sigma_min": self.clock.ratio_min}.get(final_sigma, final_sigma)  # type: ignore[arg-type, return-value]

    def check_schedule(
        self,
        steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        final_sigma: str | float | None = None,
        spacing: str | None = None,
    ) -> list[OptionProblem]:
        """Everything that is wrong with this schedule for this scheduler, at once; the problem's option names the key."""
        problems = []
        kinds = (*space.TRAINING_SPACINGS, *space.SIGMA_SPACINGS)
        given = [name for name, value in (("timesteps", timesteps), ("sigmas", sigmas), ("spacing", spacing)) if value is not None]
        if len(given) > 1:
            problems.append(OptionProblem(given[1], f"cannot be given together with {given[0]}"))
        flag = next((flag for flag in SIGMA_FLAGS if self._values.get(flag)), None)
        if given and flag:
            problems.append(OptionProblem(given[0], f"cannot be given together with the scheduler's {flag}"))
        if spacing is not None and spacing not in kinds:
            from components.schedulers.options import nearest

            problems.append(OptionProblem("spacing", f"is {spacing!r}, which is not a spacing", kinds, nearest(spacing, kinds)))
        if steps is not None and not 1 <= steps <= self.clock.length:
            problems.append(OptionProblem("steps", f"is {steps}, but must be between 1 and {self.clock.length}"))
        for name, values, least in (("timesteps", timesteps, 1), ("sigmas", sigmas, 2)):
            if values is not None:
                problems += [OptionProblem(name, what) for what in self._listing_problems(name, values, least)]
        if isinstance(final_sigma, str) and final_sigma not in ("zero", "sigma_min"):
            problems.append(OptionProblem("final_sigma", f"is {final_sigma!r}", ("zero", "sigma_min", "a number")))
        if isinstance(final_sigma, int | float) and final_sigma < 0:
            problems.append(OptionProblem("final_sigma", f"is {final_sigma}, but must be at least 0"))
        return problems

    def _listing_problems(self, name: str, values: Sequence[float], least: int) -> Iterable[str]:
        if len(values) < least:
            yield "is empty" if not values else f"needs at least {least} values: where to start and where to end"
            return
        array = np.asarray(values, np.float64)
        if not np.isfinite(array).all() or (array < 0).any():
            yield "must be finite numbers, none below 0"
        elif not (np.diff(array) < 0).all():
            i = int((np.diff(array) >= 0).argmax())
            yield f"must descend, from much noise to little, but {values[i]:g} is followed by {values[i + 1]:g}"
        if name == "timesteps" and array.max() > self.clock.length - 1:
            yield f"starts at {array.max():g}, but the training clock of this checkpoint ends at {self.clock.length - 1}"

    # ---- the table -------------------------------------------------------------------------------------------------

    def rows(self, grid: Grid, run: RunOptions) -> Iterable[Rows]:
        """The method: which rows there are and by which formula each moves x. The one thing a scheduler must write."""
        raise NotImplementedError

    def history(self, run: RunOptions) -> int:
        """Registers beside x that the method's rows keep."""
        return 0

    def init_noise_sigma(self, grid: Grid) -> float:
        """What a standard normal draw is multiplied by to start."""
        return 1.0

    @property
    def clip(self) -> Clip | None:
        if self._values.get("thresholding"):
            return Clip("quantile", self.sample_max_value, self.dynamic_thresholding_ratio)
        return Clip("range", self.clip_sample_range) if self._values.get("clip_sample") else None

    def unchecked(self) -> str:
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
        run: RunOptions | None = None,
    ) -> Tableau:
        """The table of one run, proved on a point mass.

        `timesteps` or `sigmas` (noise-to-signal ratios, end included) list a schedule; `steps` then resamples it
        log-linearly, or is its own length when None. `spacing` overrides the configured one. `final_sigma` ("zero",
        "sigma_min" or a ratio) overrides where the last step ends. Raises SchedulerConfigError for an unfit schedule.
        """
        if problems := self.check_schedule(steps, timesteps, sigmas, final_sigma, spacing):
            raise SchedulerConfigError(f"{type(self).__name__} schedule", problems)
        run = run or self.run
        grid = self.grid(steps, timesteps, sigmas, spacing, final_sigma)
        return trace(
            list(self.rows(grid, run)),
            history=self.history(run),
            prediction_type=self.prediction_type,
            init_noise_sigma=self.init_noise_sigma(grid),
            clip=self.clip,
            unchecked=self.unchecked(),
        ).verify()

    def with_run(self, **options: Any) -> RunOptions:
        """This scheduler's run options with some replaced."""
        return replace(self.run, **options)


class SigmaScheduler(Scheduler):
    """Solvers in the k-diffusion scale, x = x0 + sigma eps: fractional timesteps, sigma ending at zero."""

    variance_preserving = False

    def spaced_timesteps(self, kind: str, steps: int) -> Array:
        return space.training_timesteps(kind, steps, self.clock.length, offset=self.steps_offset, rounded=False)

    def init_noise_sigma(self, grid: Grid) -> float:
        """sigma_max for spacings that start at the very end of the clock; else the spread of x there, signal included."""
        sigma = float(grid.levels.sigma[0])
        return sigma if self.timestep_spacing in ("linspace", "trailing") else float(np.hypot(sigma, 1))
