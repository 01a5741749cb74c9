"""Every scheduler there is, found in the files of this folder, and the search for one by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from components.schedulers.names import class_names, folded
from components.schedulers.options import SIGMA_FLAGS, Option, OptionProblem, SchedulerConfigError, nearest


@cache
def scheduler_classes() -> dict[str, type]:
    """Class name -> class, for every scheduler there is, sorted by name."""
    folder, package = Path(__file__).parent, __name__.rpartition(".")[0]
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules([str(folder)])]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return dict(sorted((value.__name__, value) for value in values if vars(value).get("aliases")))


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
