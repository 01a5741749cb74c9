"""Draws the batches of a sweep's folder: claims one, draws it, commits it whole, until there is nothing left.

Every launcher comes down to this: this process, or any number of others on the same folder. What a batch that fails
takes with it is found by drawing its pictures one by one. Planning and reports are made elsewhere.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from components.errors import CheckpointError
from runner.errors import RecipeError
from runner.outputs import encode_image, write_together
from runner.plan import Pins, Planner
from runner.session import Drawn, Session, Shot, Stopwatch
from runner.sweep.folder import IMAGES, SweepFolder, SweepPlan
from runner.sweep.partition import Together
from runner.sweep.records import facts, records
from runner.sweep.scores import LATENTS
from runner.sweep.speed import Meter

if TYPE_CHECKING:
    from runner.plan import Plan

FAILURES = (CheckpointError, RecipeError, MemoryError, OSError, RuntimeError, ValueError)


class Stop(RuntimeError):
    """A job failed, and the recipe says to stop then."""


@dataclass
class Worker:
    """One process at work on a sweep's folder.

    after_row: called with the number of pictures that a row of the table moved on; after_batch: when one is committed.
    uninterrupted: a context in which Ctrl-C waits. stop: whether the first failure ends it.
    """

    folder: SweepFolder
    plan: SweepPlan
    session: Session = field(default_factory=Session)
    after_row: Callable[[int], None] = lambda pictures: None
    after_batch: Callable[[Together], None] = lambda batch: None
    say: Callable[[str], None] = lambda sentence: None
    uninterrupted: Callable[[], Any] | None = None
    stop: bool = False
    planner: Planner = field(default_factory=Planner)
    meter: Meter = field(default_factory=Meter)

    def do(self, batch: Together) -> bool:
        """Draws one batch, unless it is over or another process is at it. False: another one is."""
        with self.folder.claim(batch) as mine:
            if not mine:
                return self.folder.is_over(batch)
            try:
                self._draw(batch)
            except FAILURES as error:
                self._failed(batch, error)
        return True

    def _failed(self, batch: Together, error: Exception) -> None:
        """One picture: it failed. Several: each of them is drawn alone, so that only what is at fault fails."""
        if len(batch.items) > 1 and not isinstance(error, CheckpointError):
            self.say(f"a batch of {len(batch.items)} failed ({_short(error)}); its pictures are drawn one by one")
            for item in batch.items:
                self.do(batch.alone(item))
            self.folder.commit_split(batch)
            return
        for item in batch.items:
            self.folder.fail(item, _short(error))
            self.say(f"failed: {self.plan.items[item]['label']}: {_short(error)}")
        if self.stop:
            raise Stop(_short(error)) from error

    def _draw(self, batch: Together) -> None:
        recipes = [self.plan.recipe(item) for item in batch.items]
        plans = [self.planner.plan(recipe, Pins(threads=batch.threads)) for recipe in recipes]
        shots = [Shot(plan, recipe.seed) for plan, recipe in zip(plans, recipes, strict=True)]
        watch = Stopwatch()
        drawn = self.session.draw(shots, watch, self.say, lambda row: self.after_row(len(shots)))
        with self.uninterrupted() if self.uninterrupted else _nothing():
            self._commit(batch, plans, drawn, watch)
        self.after_batch(batch)

    def _commit(self, batch: Together, plans: Sequence[Plan], drawn: Drawn, watch: Stopwatch) -> None:
        """Pictures first, the record that counts last."""
        from runner.compose import to_yaml

        begun, made = time.perf_counter(), facts(drawn)
        texts = [to_yaml(plan.recipe) for plan in plans]
        carried = records(texts, [plan.recipe.seed for plan in plans], drawn, made)
        files, entries = [], []
        for item, plan, pixels, record in zip(batch.items, plans, drawn.pictures, carried, strict=True):
            form = plan.recipe.output.format
            name = f"{self.plan.items[item]['label']}_{item[:8]}.{form}"
            files.append((name, encode_image(pixels, form, record)))
            height, width = pixels.shape[:2]
            entries.append(
                {
                    "id": item,
                    "file": f"{IMAGES}/{name}",
                    "seed": record.seed,
                    "sha256": record.sha256,
                    "width": width,
                    "height": height,
                    "recipe": record.recipe,
                }
            )
        write_together(self.folder.folder(IMAGES), files)
        if any(plan.recipe.compare for plan in plans):
            self._keep_latents(batch, drawn.backend.to_numpy(drawn.latents))
        watch.seconds["save"] += time.perf_counter() - begun
        nfe = sum(plan.tableau.nfe for plan in plans)
        self.meter.add(plans[0], sum(watch.seconds.values()) - watch.seconds["load"], nfe)
        spent = {phase: round(seconds, 4) for phase, seconds in watch.seconds.items()}
        for entry in entries:
            entry["seconds"] = round(sum(spent.values()) / len(entries), 4)
        self.folder.commit(
            batch,
            {
                "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
                **made,
                "seconds": spent,
                "items": entries,
            },
        )

    def _keep_latents(self, batch: Together, latents: np.ndarray) -> None:
        files = []
        for item, one in zip(batch.items, latents, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, one.astype(np.float32))
            files.append((f"{item}.npy", buffer.getvalue()))
        write_together(self.folder.folder(LATENTS), files)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()
