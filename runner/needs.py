"""What a recipe asks of this installation: packages beyond the plain one, and what its backend can do.

Said before any work; nothing of it is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.packages import absent, how_to_install, lacking
from runner.backends.abilities import ABILITIES, able
from runner.errors import Problem

if TYPE_CHECKING:
    from runner.schema import Backend, Recipe

LAUNCHERS = {"warm": (), "ray": ("ray",), "slurm": ("submitit",)}


def missing(where: str, who: str, packages: Iterable[str]) -> list[Problem]:
    """The problem that one of the packages is not installed, with the command that installs it; none where all are."""
    found = absent(packages)
    return [Problem(where, lacking(who, found), hint=how_to_install(found), missing=True)] if found else []


def for_drawing(recipe: Recipe) -> list[Problem]:
    """What is missing to draw this recipe's pictures."""
    choice = recipe.backend.name
    found = missing("backend.name", f"the {choice} backend", ABILITIES[choice].libraries)
    if _draws_from_torchsde(recipe):
        found += missing("scheduler.name", f"{recipe.scheduler.name}'s noise", ("torchsde",))
    return found


def backend_problems(choice: Backend) -> list[Problem]:
    """Keys of a recipe's backend that it cannot serve, alone or together."""
    asked = {"offload": choice.offload != "none", "vae_tiling": choice.vae_tiling}
    what = f"the {choice.name} backend does not do this"
    found = [
        Problem(f"backend.{key}", what, hint=f"backend={able(key)} does it")
        for key, is_asked in asked.items()
        if is_asked and not getattr(ABILITIES[choice.name], key)
    ]
    if choice.compile and choice.offload == "sequential":
        what = "a compiled network cannot be moved layer by layer"
        found.append(Problem("backend.offload", what, ("none", "model"), hint="or backend.compile=false"))
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
