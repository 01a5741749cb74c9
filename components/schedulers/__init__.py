"""The family of schedulers, discovered: a class of this folder that has a short name (`aliases`) is a scheduler.

`from components.schedulers import DDIMScheduler`. Nothing here imports torch, jax or the runner.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from components.schedulers.names import class_names, folded
from components.schedulers.options import SIGMA_FLAGS, Option, OptionProblem, SchedulerConfigError, nearest
from components.schedulers.tableau import Clip, Tableau, TableauError, stack, stackable

__all__ = [
    "AysSchedules",
    "Clip",
    "Option",
    "OptionProblem",
    "RunOptions",
    "SchedulerConfigError",
    "Tableau",
    "TableauError",
    "find_scheduler",
    "option_kin",
    "option_owners",
    "scheduler_classes",
    "stack",
    "stackable",
]


@cache
def scheduler_classes() -> dict[str, type]:
    """Class name -> class, for every scheduler there is, sorted by name."""
    from components.schedulers.base import Scheduler

    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    found = {value.__name__: value for value in values if issubclass(value, Scheduler) and "aliases" in vars(value)}
    return dict(sorted((name, cls) for name, cls in found.items() if cls.aliases))


@cache
def option_owners() -> dict[str, list[str]]:
    """Option name -> the schedulers that have it."""
    owners: dict[str, list[str]] = {}
    for name, cls in scheduler_classes().items():
        for option in cls.options():
            owners.setdefault(option, []).append(name)
    return owners


@cache
def option_kin() -> dict[str, list[Option]]:
    """Option name -> every class's option of that name."""
    kin: dict[str, list[Option]] = {}
    for cls in scheduler_classes().values():
        for name, option in cls.options().items():
            kin.setdefault(name, []).append(option)
    return kin


def find_scheduler(name: str) -> type:
    """The class of a class name or short name, however it is spelt ("euler_a", "Euler a", "EulerAncestralDiscrete").

    Raises SchedulerConfigError, with the nearest name, also for names that mean a class and a schedule.
    """
    classes = scheduler_classes()
    by_name = classes | {alias: cls for cls in classes.values() for alias in cls.aliases}
    if name in by_name:
        return by_name[name]
    if found := class_names(classes).get(folded(name)):
        return classes[found]
    hint = _with_flag(name)
    near = None if hint else nearest(name, by_name)
    problem = OptionProblem("name", f"is {name!r}, which is not a scheduler", tuple(by_name), near, hint)
    raise SchedulerConfigError("scheduler", [problem])


def _with_flag(name: str) -> str | None:
    """How a name that ends in a schedule ("DPM++ 2M Karras") is written as a class and its option."""
    for flag, spacing in SIGMA_FLAGS.items():
        own = class_names(scheduler_classes()).get(folded(name).removesuffix(spacing))
        if folded(name).endswith(spacing) and own and flag in scheduler_classes()[own].options():
            return f"it is {own}({flag}=True)"
    return None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *scheduler_classes()})


def __getattr__(name: str) -> Any:
    if name == "RunOptions":
        from components.schedulers.base import RunOptions

        return RunOptions
    if name == "AysSchedules":
        from components.schedulers.published import AysSchedules

        return AysSchedules
    if name.endswith("Scheduler") and name in scheduler_classes():
        return scheduler_classes()[name]
    if name.startswith("Flax") and name.removeprefix("Flax") in scheduler_classes():
        from components.flax_schedulers import flax_scheduler

        return flax_scheduler(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
