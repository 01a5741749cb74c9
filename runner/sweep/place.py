"""A sweep's batches as a worker sees them: what each is made of, where its pictures go, what becomes of one that fails.

Every launcher comes down to this: this process, or any number of others on the same folder. What a batch that fails
takes with it is found by drawing its pictures one by one. Planning and reports are made elsewhere.
"""

from __future__ import annotations

import io
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from components.errors import CheckpointError
from runner.drawing import Made, Worker
from runner.outputs import write_together
from runner.plan import Pins, Planner
from runner.session import Shot
from runner.sweep.folder import IMAGES, SweepFolder, SweepPlan
from runner.sweep.partition import Together
from runner.sweep.scores import LATENTS
from runner.sweep.speed import Meter


class Stop(RuntimeError):
    """A job failed, and the recipe says to stop then."""


@dataclass
class SweepPlace:
    """A sweep's folder and what is planned for it. stop: whether the first failure ends it."""

    folder: SweepFolder
    plan: SweepPlan
    stop: bool = False
    planner: Planner = field(default_factory=Planner)
    meter: Meter = field(default_factory=Meter)

    def claim(self, batch: Together) -> AbstractContextManager[bool]:
        return self.folder.claim(batch)

    def is_over(self, batch: Together) -> bool:
        return self.folder.is_over(batch)

    def shots(self, batch: Together) -> list[Shot]:
        recipes = [self.plan.recipe(item) for item in batch.items]
        return [Shot(self.planner.plan(recipe, Pins(threads=batch.threads)), recipe.seed) for recipe in recipes]

    def failed(self, batch: Together, error: Exception, worker: Worker) -> None:
        """One picture: it failed. Several: each of them is drawn alone, so that only what is at fault fails."""
        if len(batch.items) > 1 and not isinstance(error, CheckpointError):
            worker.say(f"a batch of {len(batch.items)} failed ({_short(error)}); its pictures are drawn one by one")
            for item in batch.items:
                worker.do(batch.alone(item))
            self.folder.commit_split(batch)
            return
        for item in batch.items:
            self.folder.fail(item, _short(error))
            worker.say(f"failed: {self.plan.items[item]['label']}: {_short(error)}")
        if self.stop:
            raise Stop(_short(error)) from error

    def commit(self, batch: Together, made: Made) -> None:
        """Pictures first, the record that counts last."""
        from runner.compose import to_yaml

        begun, plans = time.perf_counter(), [shot.plan for shot in made.shots]
        names = [
            f"{self.plan.items[item]['label']}_{item[:8]}.{plan.recipe.output.format}"
            for item, plan in zip(batch.items, plans, strict=True)
        ]
        write_together(self.folder.folder(IMAGES), made.files(names))
        if any(plan.recipe.compare for plan in plans):
            self._keep_latents(batch, made.drawn.backend.to_numpy(made.drawn.latents))
        made.watch.seconds["save"] += time.perf_counter() - begun
        spent = {phase: round(seconds, 4) for phase, seconds in made.watch.seconds.items()}
        total = sum(made.watch.seconds.values())
        self.meter.add(plans[0], total - made.watch.seconds["load"], sum(plan.tableau.nfe for plan in plans))
        height, width = made.drawn.pictures.shape[1:3]
        entries = [
            {
                "id": item,
                "file": f"{IMAGES}/{name}",
                "seed": record.seed,
                "sha256": record.sha256,
                "width": width,
                "height": height,
                "recipe": to_yaml(plan.recipe, folder=self.folder.root) if record.files else record.recipe,
                "seconds": round(sum(spent.values()) / len(names), 4),
            }
            for item, name, record, plan in zip(batch.items, names, made.records, plans, strict=True)
        ]
        finished = datetime.now().astimezone().isoformat(timespec="seconds")
        self.folder.commit(batch, {"finished": finished, **made.facts, "seconds": spent, "items": entries})

    def _keep_latents(self, batch: Together, latents: np.ndarray) -> None:
        files = []
        for item, one in zip(batch.items, latents, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, one.astype(np.float32))
            files.append((f"{item}.npy", buffer.getvalue()))
        write_together(self.folder.folder(LATENTS), files)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
