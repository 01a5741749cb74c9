"""What the ray launcher costs beside the drawing, and how often its workers load weights.

    python benchmarks/launchers.py [--jobs 200] [--workers 2] [--checkpoints 4]

Overhead: a sweep of so many jobs, one to a batch, whose workers say at once that they have drawn it; so what is left is
Ray, the command's loop and its look at the folder. From the first answer to the last, by one worker, since several
hide each other's waiting; starting Ray and the workers is told apart. Loads: copies of the bundled checkpoint, drawn
for real, with workers that keep to what they have loaded and with a plain queue. No figure here says anything of
pictures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from runner.bundled import DEMO_FOLDER
from runner.compose import compose
from runner.session import Session
from runner.sweep.folder import SweepFolder
from runner.sweep.launchers import ray_pool
from runner.sweep.launchers.backlog import Backlog, Task
from runner.sweep.launchers.ray_pool import Pool, Seats
from runner.sweep.launchers.ray_worker import Outcome, RayWorker
from runner.sweep.partition import Together
from runner.sweep.planning import settle
from runner.sweep.progress import SweepProgress

QUICK = ("steps=1", "num_images=1", "batch_size=1", "backend.threads=1")


class Idle(RayWorker):
    """Draws nothing, at once."""

    def do(self, batch: Together, items: Any) -> Outcome:
        return Outcome(True, (batch,), (), 0)


class CountedSession(Session):
    """Leaves a line in `loads` whenever it loads a network."""

    loads: Path

    def parts(self, plan: Any, backend: Any) -> dict[str, Any]:
        before = set(self._parts)
        found = super().parts(plan, backend)
        if any("unet" in key for key in set(self._parts) - before):
            with self.loads.open("a") as file:
                file.write(f"{os.getpid()}\n")
        return found


class Counting(RayWorker):
    """A worker with such a session."""

    loads: Path

    def __init__(self, root: str, cwd: str, stop: bool) -> None:
        super().__init__(root, cwd, stop)
        self.worker.session = CountedSession()
        self.worker.session.loads = self.loads


class Queue(Backlog):
    """The next batch goes to whoever is free."""

    def _best(self, ready: Sequence[Task], loaded: str | None, elsewhere: Any) -> Task:
        return ready[0]


def run(words: Sequence[str], workers: int, kind: type[RayWorker], backlog: type[Backlog] = Backlog) -> list[float]:
    """Runs a sweep with workers of a kind; the seconds from its start at which batches came back."""
    composition = compose([*QUICK, *words], multirun=True)
    with tempfile.TemporaryDirectory() as root:
        folder = SweepFolder(Path(root))
        plan = folder.adopt("benchmark", composition.axes, settle(composition))
        batches = list(plan.batches.values())
        reporter = SweepProgress(plan, batches, speak=False)
        stamps: list[float] = []
        ray_pool.RayWorker = kind
        begun = time.perf_counter()

        def after_batch(batch: Together) -> None:
            stamps.append(time.perf_counter() - begun)

        Pool(folder, plan, backlog(plan, batches), reporter, after_batch, Seats(0, 0.5, workers, 1)).run()
    return stamps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=4)
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    begun = time.perf_counter()
    ray.init(address="local", log_to_driver=False, include_dashboard=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    print(f"Ray started in {time.perf_counter() - begun:.1f} s")

    stamps = run([f"seed=range(0,{options.jobs})"], 1, Idle)
    each = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    print(f"{len(stamps)} jobs: {each * 1e3:.2f} ms of overhead each; the first came back after {stamps[0]:.1f} s")

    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"copy{n}" for n in range(options.checkpoints)]
        for copy in copies:
            shutil.copytree(DEMO_FOLDER / "shapes", copy)
        words = [f"checkpoint.repo={','.join(map(str, copies))}", f"seed=range(0,{3 * options.workers})"]
        for name, kind in {"workers keep to what they have loaded": Backlog, "a plain queue": Queue}.items():
            Counting.loads = Path(folder) / f"loads {kind.__name__}"
            count = len(run(words, options.workers, Counting, kind))
            loads = len(Counting.loads.read_text().splitlines())
            print(f"{count} batches of {len(copies)} checkpoints, {options.workers} workers, {name}: {loads} loads")
    ray.shutdown()


if __name__ == "__main__":
    main()
