"""Who draws a sweep's batches where it is not this process alone: one file per engine, imported only when chosen.

Whoever draws them, the batches, their threads and the folder are the same, so the pictures are too (../worker.py).
An engine's file has `problems`, what of a recipe it cannot serve, and `launch`; runner/needs.py has its package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from runner.errors import RecipeError

if TYPE_CHECKING:
    from runner.schema import Recipe
    from runner.sweep.folder import SweepFolder, SweepPlan
    from runner.sweep.partition import Together
    from runner.sweep.progress import SweepProgress


def check(base: Recipe) -> None:
    """Raises RecipeError when the recipe's launcher cannot serve it; no engine's library is imported for that."""
    if problems := _engine(base).problems(base):
        raise RecipeError(problems)


def launch(
    base: Recipe,
    folder: SweepFolder,
    plan: SweepPlan,
    batches: Sequence[Together],
    reporter: SweepProgress,
    after_batch: Callable[[Together], None],
) -> bool:
    """Has the batches drawn by the workers of the recipe's launcher, which `check` has let pass.

    after_batch: called when a batch is committed. Returns whether the batches are over; False where workers have only
    been put into a queue. Raises Stop where a failure ends the sweep, RuntimeError where no worker can be had.
    """
    return not batches or _engine(base).launch(base, folder, plan, batches, reporter, after_batch)


def _engine(base: Recipe) -> ModuleType:
    return importlib.import_module(f"{__name__}.{base.launcher}")
