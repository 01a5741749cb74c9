"""Which batch a worker draws next, and what becomes of a batch that took its worker with it.

Plain bookkeeping: nothing here knows an engine, a process or a file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from runner.sweep.folder import SweepPlan
from runner.sweep.partition import Together

ATTEMPTS = 3  # workers that a batch may cost before it is drawn one by one, and a single picture before it fails
AGAIN_AFTER = 2.0  # seconds until a batch is asked about again that a process outside the pool is at


@dataclass(eq=False)
class Split:
    """A batch that is drawn one by one, and how many of its pictures are not over yet."""

    batch: Together
    left: int


@dataclass(eq=False)
class Task:
    """A batch to be drawn. source: the weights it is drawn with; losses: workers that died of it."""

    batch: Together
    source: str
    losses: int = 0
    part_of: Split | None = None
    not_before: float = 0.0


class Verdict(Enum):
    """What becomes of a batch whose worker died."""

    AGAIN = "another worker tries"
    ONE_BY_ONE = "its pictures are drawn one by one"
    FAILED = "it fails"


class Backlog:
    """The batches of a sweep that are not over. False when all of them are."""

    def __init__(self, plan: SweepPlan, batches: Sequence[Together]) -> None:
        self.waiting = [Task(batch, source_of(plan, batch)) for batch in batches]
        self.drawing: set[Task] = set()

    def __bool__(self) -> bool:
        return bool(self.waiting or self.drawing)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.drawing)

    def take(self, loaded: str | None, elsewhere: Collection[str]) -> Task | None:
        """The next batch for a worker, None while there is none for it.

        A worker keeps to the weights it has `loaded`; then it takes up weights that are not `elsewhere`, with another
        worker, and in the end helps where most is left. So weights are loaded as seldom as the pool's size allows.
        """
        now = time.monotonic()
        ready = [task for task in self.waiting if task.not_before <= now]
        if not ready:
            return None
        task = self._best(ready, loaded, elsewhere)
        self.waiting.remove(task)
        self.drawing.add(task)
        return task

    def _best(self, ready: Sequence[Task], loaded: str | None, elsewhere: Collection[str]) -> Task:
        left = Counter(task.source for task in ready)

        def rank(task: Task) -> tuple[bool, bool, int]:
            return task.source != loaded, task.source in elsewhere, -left[task.source]

        return min(ready, key=rank)  # the first of equals: the order of the plan

    def over(self, task: Task) -> Together | None:
        """Nothing of the batch is left to do. Returns the batch it was split from, if that is over now too."""
        self.drawing.remove(task)
        if task.part_of is None:
            return None
        task.part_of.left -= 1
        return None if task.part_of.left else task.part_of.batch

    def put_off(self, task: Task) -> None:
        """A process outside the pool is at the batch: it is asked about again a little later."""
        self.drawing.remove(task)
        task.not_before = time.monotonic() + AGAIN_AFTER
        self.waiting.append(task)

    def lost(self, task: Task, *, for_good: bool = False) -> Verdict:
        """A worker died while it drew the batch; `for_good`: trying the same again would be in vain."""
        task.losses += 1
        if task.losses < ATTEMPTS and not for_good:
            self.drawing.remove(task)
            self.waiting.insert(0, task)
            return Verdict.AGAIN
        batch = task.batch
        if len(batch.items) == 1:
            return Verdict.FAILED
        self.drawing.remove(task)
        split = Split(batch, len(batch.items))
        self.waiting[:0] = [Task(batch.alone(item), task.source, part_of=split) for item in batch.items]
        return Verdict.ONE_BY_ONE


def source_of(plan: SweepPlan, batch: Together) -> str:
    """What a batch needs loaded, as text that is equal for equal weights on equal devices."""
    recipe = plan.items[batch.items[0]]["recipe"]
    return repr((recipe["checkpoint"], recipe["backend"]))
