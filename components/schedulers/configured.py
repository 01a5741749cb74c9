"""A scheduler's configuration: from options, files and other classes' configurations, to files; whose it fits.

Knows no levels and no method; what becomes of another's values is inheritance.py's to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from components.schedulers.config import CONFIG_NAME, Config, find_file
from components.schedulers.inheritance import class_in, inherit
from components.schedulers.noise import TrainingClock
from components.schedulers.options import (
    BETAS,
    SIGMA_FLAGS,
    Option,
    OptionProblem,
    SchedulerConfigError,
    as_yaml,
    check,
)

if TYPE_CHECKING:
    from components.schedulers.run_options import RunOptions
    from components.schedulers.schedule import Schedule


class Configured:
    """Mixed into `Scheduler`, whose `__init__` sets the values.

    `inherited`: what came from another's configuration; `dropped`: what of it did not fit; `chosen`: the options of a
    run that were set.
    """

    OPTIONS: ClassVar[tuple[Option, ...]] = ()
    fits: str = "training clock"
    """The kind of network it samples: "training clock", "edm", "flow", "consistency" or "v-diffusion"."""

    finite_clock: ClassVar[bool] = False
    """Whether the method needs sigma / alpha finite: zero terminal SNR is then only approached."""

    run: RunOptions
    chosen: frozenset[str]
    inherited: dict[str, Any]
    dropped: dict[str, Any]
    _values: dict[str, Any]
    _hidden: dict[str, Any]
    _defaulted: frozenset[str]

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Every option by name, in order."""
        return {option.name: option for option in cls.OPTIONS}

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[OptionProblem]:
        """Everything that is wrong with these options for this class, at once; nothing is built."""
        from components.schedulers.family import option_owners

        return check(cls.options(), options, option_owners())

    @property
    def config(self) -> Config:
        """The whole configuration, read-only: own options, and what was carried along for other classes."""
        return Config(self._hidden | self._values, self._defaulted)

    def __getattr__(self, name: str) -> Any:
        """An option reads as an attribute: self.steps_offset."""
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Configured, **options: Any) -> Self:
        """This class with another scheduler's configuration, options on top.

        A value that the other scheduler merely defaulted to is not inherited, and one that means something to other
        classes alone is dropped: this class's own default applies. Keys of other schedulers are carried along, so that
        they survive the way back. What came from `config` is in `.inherited`, what did not fit this class, or gave way
        to `options`, in `.dropped`. Raises SchedulerConfigError for bad `options`, and for a damaged `config`.
        """
        from components.schedulers.family import option_kin, option_owners

        source = dict(config.to_config() if isinstance(config, Configured) else config)
        defaulted = {
            *(source.pop("_use_default_values", None) or ()),
            *(config.defaulted if isinstance(config, Config) else ()),
        }
        own = class_in(source) == cls.__name__
        source = {k: v for k, v in source.items() if not k.startswith("_")}
        known = cls.options()
        said = {k: v for k, v in source.items() if k in known and not known[k].run and k not in {*defaulted, *options}}
        found = inherit(known, said, option_kin(), options, own=own)
        if found.problems:
            raise SchedulerConfigError(cls.__name__, [*found.problems, *cls.check_options(options)])
        made = cls(**found.taken, **options)
        made.inherited = found.taken
        made._hidden = {k: v for k, v in source.items() if k not in known}
        made.dropped = found.dropped | {k: v for k, v in made._hidden.items() if k not in option_owners()}
        return made

    def to_config(self) -> dict[str, Any]:
        """The configuration as a checkpoint stores it, with the names of the values that are mere defaults."""
        return {"_class_name": type(self).__name__, **self.config, "_use_default_values": sorted(self._defaulted)}

    def corrected(self, values: Mapping[str, Any]) -> Self:
        """The same scheduler with some of its configuration replaced; what was a mere default stays one to heirs."""
        config = self.to_config() | dict(values)
        made = type(self).from_config({**config, "_use_default_values": sorted(self._defaulted - set(values))})
        made.inherited, made.dropped, made.run, made.chosen = self.inherited, self.dropped, self.run, self.chosen
        made._defaulted |= self._defaulted
        return made

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        subfolder: str | None = None,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """From `repo/subfolder/scheduler_config.json` of a folder or hub repository, or from the file itself.

        `options` come on top. Raises CheckpointError where there is no such file.
        """
        from components.component_files import read_json

        hub = {"revision": revision, "cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
        path = find_file(repo, subfolder, **hub)
        try:
            return cls.from_config(read_json(path), **options)
        except SchedulerConfigError as error:
            raise error.of_file(path) from None

    def save_pretrained(self, folder: str | Path) -> None:
        """Write scheduler_config.json into `folder`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / CONFIG_NAME).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        from components.component_files import FORMAT_VERSION

        config = {"_class_name": type(self).__name__, "_diffusers_version": FORMAT_VERSION, **self.config}
        return json.dumps(config, indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json()}"

    @classmethod
    def kinds(cls) -> set[str]:
        """Every kind of network that some configuration of this class samples."""
        return {cls.fits} | ({"flow"} if "use_flow_sigmas" in cls.options() else set())

    def training_clock(self) -> TrainingClock:
        """The clock of its betas."""
        betas = {option.name: self._values.get(option.name, option.default) for option in BETAS}
        clock = TrainingClock.from_betas(**betas)
        return self.usable(clock) if betas["rescale_betas_zero_snr"] else clock

    def usable(self, clock: TrainingClock) -> TrainingClock:
        """A clock that ends at alpha = 0, as this method can use it.

        eps there says nothing of x0: like solvers in log(alpha), it takes the smallest alpha instead.
        """
        finite = self.finite_clock or self._values.get("prediction_type") == "epsilon"
        return clock.with_finite_end() if finite else clock

    @property
    def compatibles(self) -> list[type[Configured]]:
        """The classes that can sample what this one samples, with this one's configuration."""
        from components.schedulers.family import scheduler_classes

        return [cls for cls in scheduler_classes().values() if self.fits in cls.kinds() and cls.reads(self.config)]

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> bool:
        """Whether `from_config` takes this configuration, every value of it."""
        try:
            cls.from_config(dict(config))
        except SchedulerConfigError:
            return False
        return True

    def mismatch(self, config: Mapping[str, Any]) -> OptionProblem | None:
        """What is wrong with sampling the network that `config`, a checkpoint's scheduler configuration, belongs to."""
        from components.schedulers.family import scheduler_classes

        owner = scheduler_classes().get(class_in(config) or "")
        if owner is None or (own := owner.from_config(config)).fits == self.fits:
            return None
        hint = "set use_flow_sigmas to true" if own.fits == "flow" and "flow" in self.kinds() else None
        what = f"is {type(self).__name__}, for networks of the kind '{self.fits}', but this one is of '{own.fits}'"
        return OptionProblem("name", what, tuple(cls.__name__ for cls in own.compatibles), None, hint)

    def concessions(self, schedule: Schedule) -> list[str]:
        """Sentences on what the checkpoint's configuration says of this class's options and does not hold in a run."""
        known, told = type(self).options(), []
        for name, value in self.dropped.items():
            if name in known and known[name].problem(value):
                what = f"is {value}, which means nothing to {type(self).__name__}"
                told.append(f"The checkpoint's {name} {what}: {as_yaml(self._values[name])} is taken.")
            elif name in known:
                told.append(f"The checkpoint's {name} gives way to what is set.")
        listed = next((key for key in ("timesteps", "sigmas", "spacing") if getattr(schedule, key) is not None), None)
        flag = next((flag for flag in SIGMA_FLAGS if self._values.get(flag)), None)
        if listed and flag and SIGMA_FLAGS[flag] != schedule.spacing:
            told.append(f"The checkpoint's {flag} gives way to schedule.{listed}.")
        return told
