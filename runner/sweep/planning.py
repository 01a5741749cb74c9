"""A composed sweep becomes items: every job settled and checked before any work, every picture with its id.

Loads no weights and imports no torch. Which pictures share a batch is partition.py's, where they go folder.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runner import needs
from runner.errors import Problem, RecipeError
from runner.named_files import local_keys
from runner.plan import Batch, Plan, Planner
from runner.provenance import FileSums
from runner.sweep.identity import image_id, pin
from runner.sweep.partition import Item

if TYPE_CHECKING:
    from runner.compose import Composition
    from runner.compose.compositions import Job

NO_SWEEP = {"sweep": None, "launcher": "warm", "workers": None, "shard": None, "on_error": "continue"}
"""What a recipe of one picture says of sweeps: the same whoever drew it, so that its file is the same too."""


def settle(composition: Composition) -> list[Item]:
    """Every picture of a sweep, in its order. Raises RecipeError with what is wrong in any of its jobs.

    A job that needs packages which are not installed cannot be drawn (`Item.lacks`), which is its own failure; it is
    wrong where no job can be drawn, or a failure ends the sweep (`on_error`).
    """
    planner, sums, items = Planner(), FileSums(), []
    pins: dict[int, str] = {}  # planner hands out one mapping of components for each source
    problems: dict[Problem, None] = {}
    lacking: dict[Problem, None] = {}
    for job in composition.jobs:
        try:
            plan = planner.plan(job.recipe, to_run=False)
        except RecipeError as error:
            told = (replace(one, where=f"job {job.label}, {one.where}") for one in error.problems)
            problems.update(dict.fromkeys(told))
            continue
        pinned = pins.get(id(plan.components)) or pins.setdefault(id(plan.components), pin(plan, sums))
        lacks = needs.for_drawing(job.recipe)
        lacking.update(dict.fromkeys(replace(one, where=f"job {job.label}, {one.where}") for one in lacks))
        items += [_item(job, plan, index, pinned, lacks) for index in range(job.recipe.num_images)]
    if lacking and (composition.base.on_error == "stop" or all(item.lacks for item in items)):
        problems |= lacking
    if problems:
        raise RecipeError(_once_each(list(problems)))
    return items


def _item(job: Job, plan: Plan, index: int, pinned: str, lacks: Sequence[Problem]) -> Item:
    seed = job.recipe.seed + index
    recipe = job.recipe.model_copy(update={"seed": seed, "num_images": 1, **NO_SWEEP})
    label = job.label if job.recipe.num_images == 1 else f"{job.label}_{index}"
    own = replace(plan, recipe=recipe, batches=(Batch((0,), (seed,)),))
    told = "; ".join(f"{one.what}; {one.hint}" for one in lacks)
    local = local_keys(recipe)
    former = image_id(recipe, pinned) if local else ""
    return Item(image_id(recipe, pinned, local), label, index, recipe, own, job.overrides, told, former)


def _once_each(problems: Sequence[Problem]) -> list[Problem]:
    """What is wrong in the same way in several jobs is told of the first, with how many more there are."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.where.rpartition(", ")[2], problem.what), []).append(problem)
    return [
        replace(first, what=f"{first.what}; so {_others(len(more))}") if more else first
        for first, *more in alike.values()
    ]


def _others(count: int) -> str:
    return "does 1 more job" if count == 1 else f"do {count} more jobs"
