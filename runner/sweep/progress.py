"""What a sweep says while it works: how much there is to draw, then how far it is."""

from __future__ import annotations

from collections.abc import Sequence

from runner.progress import Counted
from runner.sweep.folder import SweepPlan
from runner.sweep.partition import Together


class SweepProgress(Counted):
    """Of the batches of a sweep's plan."""

    def __init__(self, plan: SweepPlan, batches: Sequence[Together], *, speak: bool = True, shown: bool | None = None):
        todo = sum(len(batch.items) for batch in batches)
        total = sum(plan.items[item]["nfe"] for batch in batches for item in batch.items)
        super().__init__("pictures", todo, total, speak=speak, shown=shown)
        there = len(plan.wanted) - sum(len(batch.items) for batch in plan.batches.values())
        before = f", {there} of them made before" if there else ""
        count = f"{todo} pictures in {len(batches)} batches to draw" if todo else "nothing left to draw"
        self.say(f"{len(plan.wanted)} pictures{before}: {count}")

    def batch_done(self, batch: Together) -> None:
        """A batch is committed."""
        self.pictures_done(len(batch.items))
