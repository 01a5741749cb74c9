"""The family of schedulers, discovered: a class of this folder that has a short name (`aliases`) is a scheduler.

`from components.schedulers import DDIMScheduler`. Nothing here imports torch, jax or the runner.
"""

from __future__ import annotations

from typing import Any

from components.schedulers.family import find_scheduler, option_kin, option_owners, scheduler_classes
from components.schedulers.options import Option, OptionProblem, SchedulerConfigError
from components.schedulers.run_options import RunOptions
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *scheduler_classes()})


def __getattr__(name: str) -> Any:
    if name == "AysSchedules":
        from components.schedulers.published import AysSchedules

        return AysSchedules
    if name.endswith("Scheduler") and name in scheduler_classes():
        return scheduler_classes()[name]
    if name.startswith("Flax") and name.removeprefix("Flax") in scheduler_classes():
        from components.flax_schedulers import flax_scheduler

        return flax_scheduler(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
