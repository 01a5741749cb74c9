"""Names and noise levels in composed data: another tool's name becomes ours, and one source says the levels.

Names of choices are found by the library; here is what they do to the data of a recipe and of a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.compose import sweep
from runner.compose.parts import two_schedules
from runner.compose.values import Origin, value_at
from runner.errors import Problem
from runner.registry import GROUPS, Library

LEVELS = (("schedule", "spacing"), ("schedule", "timesteps"), ("schedule", "sigmas"))


def with_value(data: dict[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """The data with one value set; jobs share the rest, so nothing is changed in place."""
    first, *rest = keys
    if rest:
        inner = data.get(first)
        value = with_value(inner if isinstance(inner, dict) else {}, rest, value)
    return {**data, first: value}


def with_our_names(node: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """A sweep node with every choice, there and in its zips and exclusions, under the name that recipes know."""
    named = {}
    for key, value in node.items():
        key = "scheduler" if key == "scheduler.name" else key
        if key in (sweep.ZIP, sweep.EXCLUDE) and all(isinstance(one, dict) for one in sweep.as_list(value)):
            inner = [with_our_names(one, library) for one in sweep.as_list(value)]
            value = inner if isinstance(value, list) else inner[0]
        elif key in GROUPS and isinstance(value, list):
            value = [library.canonical(key, str(option)) or option for option in value]
        elif key in GROUPS:
            value = library.canonical(key, str(value)) or value
        named[key] = value
    return named


def with_class(data: dict[str, Any], origin: Origin, library: Library) -> tuple[dict[str, Any], list[Problem]]:
    """The data, where a file gives another tool's name for a scheduler's class, with the class and its options."""
    from components.schedulers import scheduler_classes

    own = data.get("scheduler")
    name = own.get("name") if isinstance(own, dict) else None
    classes = scheduler_classes()
    if not isinstance(name, str) or name in classes or any(name in cls.aliases for cls in classes.values()):
        return data, []
    from runner.compose.hydra_source import compose_group

    problems = []
    packaged = Library(library.folders[-1:])  # a choice of the user's may be the very file with this name
    meant = packaged.meaning("scheduler", name) or {}
    for group, option in meant.items():
        named, node = compose_group(packaged, group, option).data[group], data.get(group) or {}
        if group == "scheduler":
            data = {**data, group: {**named, **node, "name": named["name"]}}
            continue
        if any(value_at(data, keys) not in (None, named.get(keys[1])) for keys in LEVELS):
            where, other = origin.where(("scheduler", "name")), origin.where(("schedule",))
            problems.append(two_schedules(where, name, meant, other))
        data = {**data, group: {**node, **named}}
    return data, problems


def from_one_source(data: dict[str, Any], said: set[str]) -> dict[str, Any]:
    """The data where a scheduler's choice has a flag of its levels ("dpmpp_2m_karras") and there is a schedule, too.

    said: groups and keys that the command line or an axis says: what they say of the one ends what files say of the
    other. Where both say it, or neither, it stays, and is told as a problem.
    """
    from components.schedulers.options import SIGMA_FLAGS

    flag = next((flag for flag in SIGMA_FLAGS if value_at(data, ("scheduler", flag)) is True), None)
    listed = [keys for keys in LEVELS if value_at(data, keys) is not None]
    if flag is None or not listed or value_at(data, LEVELS[0]) == SIGMA_FLAGS[flag]:
        return data
    of_schedule = "schedule" in said or any(".".join(keys) in said for keys in LEVELS)
    of_scheduler = "scheduler" in said or f"scheduler.{flag}" in said
    if of_scheduler and not of_schedule:
        for keys in listed:
            data = with_value(data, keys, None)
    elif of_schedule and not of_scheduler:
        kept = {key: value for key, value in data["scheduler"].items() if key != flag}
        data = {**data, "scheduler": kept}
    return data
