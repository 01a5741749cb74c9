"""The slurm launcher: a job array with one task per worker, submitted through submitit. It submits and returns.

Each task works through the batches of the sweep's folder, claiming one after the other, and ends when there is nothing
left that nobody is at. What Slurm preempts or cuts off at its time limit is queued again and goes on. Partition,
account, time, memory and kind of GPU are sbatch's own environment variables (SBATCH_PARTITION, SBATCH_TIMELIMIT …):
they belong to a cluster, not to a recipe.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.drawing import Worker
from runner.errors import Problem
from runner.progress import Speaker
from runner.sweep.compare.score import score
from runner.sweep.folder import SweepFolder, SweepPlan
from runner.sweep.launch import leave_report, say
from runner.sweep.partition import Together
from runner.sweep.place import Stop, SweepPlace
from runner.sweep.progress import SweepProgress

if TYPE_CHECKING:
    from runner.schema import Recipe

LOGS = "slurm"  # in the sweep's folder: what tasks say, and what submitit keeps
MINUTES = 60  # of one task, where SBATCH_TIMELIMIT does not say otherwise; then it is queued again
REQUEUED = 100  # times that a task may come to its time limit


def problems(base: Recipe) -> list[Problem]:
    """What of a recipe this launcher cannot serve, and whether there is a Slurm here at all."""
    found = []
    if base.workers is None:
        what = "is null, but nobody here knows how much of the cluster is yours"
        found.append(Problem("workers", what, hint="workers=8 asks for eight tasks"))
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        what = "'slurm' needs Slurm's commands sbatch and srun, which are not on this machine"
        found.append(Problem("launcher", what, hint="run it on the cluster's login node, or choose warm or ray"))
    return found


def launch(
    base: Recipe,
    folder: SweepFolder,
    plan: SweepPlan,
    batches: Sequence[Together],
    reporter: SweepProgress,
    after_batch: Callable[[Together], None],
) -> bool:
    """Submits as many tasks as the recipe has workers, but no more than batches, and says how to follow them."""
    from submitit import SlurmExecutor  # pyright: ignore[reportMissingImports] (an extra)

    executor = SlurmExecutor(folder.folder(LOGS).absolute(), max_num_timeout=REQUEUED)
    executor.update_parameters(
        job_name=f"recipe-{plan.name}",
        time=MINUTES,
        cpus_per_task=max(batch.threads for batch in batches),
        gpus_per_node=1 if base.backend.device.startswith("cuda") else None,
    )
    jobs = submit(executor, base, folder, min(base.workers or 1, len(batches)))
    number = jobs[0].job_id.partition("_")[0]
    reporter.say(
        f"Submitted {len(jobs)} tasks as Slurm job {number}; they go on without this command.\n"
        f"  queue      squeue --job {number}\n"
        f"  progress   tail -n 1 {folder.root / LOGS}/{number}_*.err\n"
        f"  report     recipe report {folder.root}\n"
        "The last task makes the report too. The same command again does what is missing by then."
    )
    return False


def submit(executor: Any, base: Recipe, folder: SweepFolder, count: int) -> list[Any]:
    """One array of `count` tasks on a submitit executor; returns its jobs."""
    root, stop = str(folder.root.absolute()), base.on_error == "stop"
    tasks = [SlurmTask(root, number, count, base.shard, stop, base.compare is not None) for number in range(count)]
    return executor.submit_array(tasks)


@dataclass(frozen=True)
class SlurmTask:
    """One worker of the array, called on its node. number: which of `count` it is, from 0."""

    root: str
    number: int
    count: int
    shard: str | None = None
    stop: bool = False
    compare: bool = False

    def __call__(self) -> int:
        """Draws what nobody else is at; the task that finds everything over makes the report.

        What is planned is read anew: a wider command may have been given while the task was queued. Returns the number
        of pictures drawn.
        """
        folder = SweepFolder(Path(self.root))
        plan = folder.plan()
        batches = plan.share(self.shard)
        drawn: list[str] = []

        def after_batch(batch: Together) -> None:
            drawn.extend(batch.items)
            say(f"{len(drawn)} pictures drawn by this task")

        say(f"task {self.number + 1} of {self.count}: {len(batches)} batches planned in {self.root}")
        place = SweepPlace(folder, plan, self.stop)
        worker = Worker(place, after_batch=after_batch, say=say)
        stopped = not work_through(worker, place, self._own_first(batches))
        place.meter.keep()
        if stopped or all(folder.is_over(batch) for batch in plan.batches.values()):
            if self.compare:
                score(folder, plan, worker.session, Speaker())
            leave_report(folder, plan)
        say("stopped: a picture failed" if stopped else "nothing left that nobody is at")
        return len(drawn)

    def checkpoint(self) -> Any:
        """Asked by submitit when Slurm is about to end the task: the same again, which goes on where it was."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

        return DelayedSubmission(self)

    def _own_first(self, batches: Sequence[Together]) -> list[Together]:
        """Each task begins at its own place in the list, so that few of them load the same weights or meet."""
        start = self.number * len(batches) // self.count
        return [*batches[start:], *batches[:start]]


def work_through(worker: Worker, place: SweepPlace, batches: Sequence[Together]) -> bool:
    """Draws every batch that nobody else is at, until all that is left is with others.

    False: a picture failed, here or elsewhere, and the recipe says to stop then.
    """
    items = {item for batch in batches for item in batch.items}
    waiting, before = list(batches), -1
    while len(waiting) != before:
        before, left = len(waiting), []
        for batch in waiting:
            if place.stop and not items.isdisjoint(place.folder.failures()):
                return False
            try:
                if not worker.do(batch):
                    left.append(batch)
            except Stop:
                return False
        waiting = left
    return True
