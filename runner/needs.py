"""What a recipe needs installed beyond a plain installation, said before any work; imports none of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.packages import absent, how_to_install, lacking
from runner.errors import Problem

if TYPE_CHECKING:
    from runner.schema import Recipe

BACKENDS = {"torch": ("torch",), "jax": ("jax", "flax")}
LAUNCHERS = {"warm": (), "ray": ("ray",), "slurm": ("submitit",)}


def missing(where: str, who: str, packages: Iterable[str]) -> list[Problem]:
    """The problem that one of the packages is not installed, with the command that installs it; none where all are."""
    found = absent(packages)
    return [Problem(where, lacking(who, found), hint=how_to_install(found), missing=True)] if found else []


def for_drawing(recipe: Recipe) -> list[Problem]:
    """What is missing to draw this recipe's pictures."""
    choice = recipe.backend.name
    found = missing("backend.name", f"the {choice} backend", BACKENDS[choice])
    if _draws_from_torchsde(recipe):
        found += missing("scheduler.name", f"{recipe.scheduler.name}'s noise", ("torchsde",))
    return found


def for_sweep(base: Recipe) -> list[Problem]:
    """What is missing to run this sweep, whatever its jobs are."""
    found = missing("launcher", f"'{base.launcher}'", LAUNCHERS[base.launcher])
    if base.compare is not None:
        found += missing("compare", "a comparison", ("matplotlib",))
        if base.compare.lpips:
            found += missing("compare.lpips", "LPIPS", ("lpips",))
    return found


def everything(recipes: Iterable[Recipe]) -> list[Problem]:
    """What is missing for any of these recipes, each thing once."""
    found: dict[Problem, None] = {}
    for recipe in recipes:
        found.update(dict.fromkeys([*for_sweep(recipe), *for_drawing(recipe)]))
    return list(found)


def _draws_from_torchsde(recipe: Recipe) -> bool:
    """Whether the scheduler's draws are increments of its own Brownian path; that of `noise.path` takes no package."""
    from components.schedulers.base import Scheduler
    from runner.registry import find_scheduler

    return recipe.noise.path != "brownian" and find_scheduler(recipe.scheduler.name).brownian is not Scheduler.brownian
