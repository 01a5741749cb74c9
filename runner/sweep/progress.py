"""What a sweep says while it works: one bar over all its network evaluations, or now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from runner.progress import Speaker
from runner.sweep.folder import SweepPlan
from runner.sweep.partition import Together

LINE_EVERY = 10.0  # seconds between two lines where nobody watches a bar


class Counted(Speaker):
    """Counts evaluations of single pictures (NFE), so that batches of any size and length move the bar evenly.

    `todo` pictures, which take `total` evaluations; `what` they are called.
    """

    def __init__(self, what: str, todo: int, total: int, *, speak: bool = True, shown: bool | None = None) -> None:
        super().__init__(speak=speak, shown=shown)
        self.what, self.todo, self.total = what, todo, total
        self.done = 0
        self._said = self._started = time.monotonic()

    def row_done(self, pictures: int) -> None:
        """A row of the table is done for so many pictures."""
        if not self.shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} NFE [{elapsed}<{remaining}, {rate_fmt}]"
            self._bar = tqdm(total=self.total, unit="NFE", bar_format=form, desc=self._told(), file=sys.stderr)
        self._bar.update(pictures)

    def pictures_done(self, count: int) -> None:
        """So many pictures more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.set_description_str(self._told())
        now = time.monotonic()
        if not self.shown and (now - self._said > LINE_EVERY or self.done == self.todo):
            self._said, spent = now, now - self._started
            left = spent / self.done * (self.todo - self.done)
            rest = f", about {duration(left)} left" if left else ""
            self.say(f"{self._told()} in {duration(spent)}{rest}")

    def _told(self) -> str:
        return f"{self.done}/{self.todo} {self.what}"


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


def duration(seconds: float) -> str:
    """A time as people say it: 42 s, 7 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
