"""The family of schedulers, discovered: a class defined in a file of this folder is a scheduler, and no other is.

`from components.schedulers import DDIMScheduler` loads that one file. Nothing here imports torch, jax or the runner.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from components.schedulers.options import Option, OptionProblem, SchedulerConfigError, nearest
from components.schedulers.tableau import Clip, Tableau, TableauError, stack, stackable

_SHARED = {"adams", "base", "brownian", "config", "edm", "exponential", "facade", "flow", "noise", "options"}
_SHARED |= {"published", "schedule", "spacing", "tableau"}

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
    "make_scheduler",
    "option_owners",
    "scheduler_classes",
    "stack",
    "stackable",
]


@cache
def scheduler_classes() -> dict[str, type]:
    """Class name -> class, for every scheduler there is, sorted by name."""
    from components.schedulers.base import Scheduler

    found: dict[str, type] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name in _SHARED:
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Scheduler) and value.__module__ == module.__name__:
                found[name] = value
    return dict(sorted(found.items()))


@cache
def option_owners() -> dict[str, list[str]]:
    """Option name -> the schedulers that have it."""
    owners: dict[str, list[str]] = {}
    for name, cls in scheduler_classes().items():
        for option in cls.options():
            owners.setdefault(option, []).append(name)
    return owners


def find_scheduler(name: str) -> type:
    """The class of a class name or alias ("euler"). Raises SchedulerConfigError, with the nearest name."""
    classes = scheduler_classes()
    by_name = classes | {alias: cls for cls in classes.values() for alias in cls.aliases}
    if name in by_name:
        return by_name[name]
    problem = OptionProblem("name", f"is {name!r}, which is not a scheduler", tuple(by_name), nearest(name, by_name))
    raise SchedulerConfigError("scheduler", [problem])


def make_scheduler(name: str, config: Any = None, **options: Any) -> Any:
    """A scheduler by name, with a checkpoint's configuration (if any) and options on top."""
    return find_scheduler(name).from_config(config or {}, **options)


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
