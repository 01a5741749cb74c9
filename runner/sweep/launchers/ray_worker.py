"""A worker of the ray launcher, as it runs in its own process: it draws the batches it is handed, and stays warm.

It imports no Ray: that the class is an actor is the pool's doing (ray_pool.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.drawing import Worker
from runner.sweep.folder import PLAN, SweepFolder, SweepPlan
from runner.sweep.partition import Together
from runner.sweep.place import Stop, SweepPlace


@dataclass(frozen=True)
class Outcome:
    """What a worker says of a batch. over: nothing of it is left to do, otherwise another process is at it.

    rows: rows times pictures that it has drawn in its life; stopped: the failure that ends the sweep.
    """

    over: bool
    drawn: tuple[Together, ...]
    said: tuple[str, ...]
    rows: int
    stopped: str | None = None


class RayWorker:
    """An actor: a worker that gets its batches one by one, with what the plan says of their pictures."""

    def __init__(self, root: str, cwd: str, stop: bool) -> None:
        with suppress(OSError):
            os.chdir(cwd)  # a recipe may name files relative to it
        self.root = Path(root)
        self.drawn: list[Together] = []
        self.said: list[str] = []
        self.total = 0
        self.place = SweepPlace(SweepFolder(self.root), SweepPlan("", {}, []), stop)
        self.worker = Worker(
            self.place,
            after_row=lambda row, pictures: self.after_row(pictures),
            after_batch=self.drawn.append,
            say=self.said.append,
        )

    def ready(self) -> str | None:
        """None, or why this worker is of no use."""
        if (self.root / PLAN).is_file():
            return None
        return f"{os.uname().nodename} does not see {self.root}: it must be on a file system that all nodes share"

    def do(self, batch: Together, items: Mapping[str, Any]) -> Outcome:
        """Draws a batch, whose pictures the plan describes as `items`."""
        self.drawn.clear()
        self.said.clear()
        self.place.plan.items = dict(items)
        over, stopped = True, None
        try:
            over = self.worker.do(batch)
        except Stop as failure:
            stopped = str(failure)
        self.place.meter.keep()  # a worker may be ended at any time
        return Outcome(over, tuple(self.drawn), tuple(self.said), self.total, stopped)

    def after_row(self, pictures: int) -> None:
        self.total += pictures

    def rows(self) -> int:
        """Rows times pictures drawn so far; answered while a batch is drawn."""
        return self.total
