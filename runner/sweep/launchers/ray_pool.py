"""The pool of the ray launcher: starts actors where the cluster has room, hands them batches, outlives their deaths.

What a worker does with a batch is ray_worker.py's, which batch is next backlog.py's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray  # pyright: ignore[reportMissingImports] (an extra)
from ray.exceptions import RayError, RayTaskError  # pyright: ignore[reportMissingImports]

from runner.sweep.folder import SweepFolder, SweepPlan
from runner.sweep.launchers.backlog import ATTEMPTS, Backlog, Task, Verdict
from runner.sweep.launchers.ray_worker import Outcome, RayWorker
from runner.sweep.partition import Together
from runner.sweep.place import Stop
from runner.sweep.progress import SweepProgress

if TYPE_CHECKING:
    from runner.schema import Recipe

WATCH = "watch"  # the actors' second thread: answers while a batch is drawn
LOOK_EVERY = 0.5  # seconds between two looks at how far workers are, and the longest wait for one of them
GROW_EVERY = 3.0  # seconds between two looks at what the cluster has room for
PATIENCE = 20.0  # seconds without any worker before it is said
FALSE_STARTS = 3  # workers in a row that died before they were ready; then no more are started


class NoWorkers(RuntimeError):
    """No worker is left and none can be started."""


@dataclass(frozen=True)
class Seats:
    """What each worker takes of the cluster, and how many there shall be; None: as many as there is room for."""

    gpus: int
    cpus: float
    wanted: int | None
    threads: int

    @classmethod
    def of(cls, base: Recipe, threads: int) -> Seats:
        """A GPU each where there are any and the recipe does not say otherwise, else as many CPUs as threads."""
        device = base.backend.device
        nodes = _nodes()
        if device.startswith("cuda") or (device == "auto" and any(node.get("GPU") for node in nodes)):
            return cls(1, 1, base.workers, threads)
        cpus: float = min(threads, max((int(node.get("CPU", 0)) for node in nodes), default=0) or threads)
        if base.workers and len(nodes) == 1 and nodes[0].get("CPU"):  # more than there is room for: they share it
            share = nodes[0]["CPU"] / base.workers
            cpus = min(cpus, int(share) if share >= 1 else int(share * 100) / 100)
        return cls(0, cpus, base.workers, threads)

    def room(self) -> int:
        """For how many workers the cluster has room now, whoever sits there."""
        if self.gpus:
            return sum(int(node.get("GPU", 0)) for node in _nodes())
        return sum(int(node.get("CPU", 0) / self.cpus) for node in _nodes()) if self.cpus else 1

    def told(self) -> str:
        each = "a GPU each" if self.gpus else f"CPUs each: {self.cpus:g}, threads: {self.threads}"
        said = f"ray: up to {self.wanted or self.room()} workers ({each})"
        if not self.gpus and self.threads > self.cpus:
            said += f"; backend.threads={max(1, int(self.cpus))} would be faster (and another last bit)"
        return said


def _nodes() -> list[dict[str, float]]:
    """The resources of every node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(eq=False)
class Member:
    """A worker of the pool as the command knows it.

    task: what it draws; source: the weights it has loaded; rows: how many are known to be drawn, `before` this task.
    """

    handle: Any
    ready: bool = False
    task: Task | None = None
    source: str | None = None
    rows: int = 0
    before: int = 0


class Pool:
    """The workers of one sweep, and the loop that keeps them busy."""

    def __init__(
        self,
        folder: SweepFolder,
        plan: SweepPlan,
        backlog: Backlog,
        reporter: SweepProgress,
        after_batch: Callable[[Together], None],
        seats: Seats,
        *,
        stop: bool = False,
    ) -> None:
        self.folder, self.plan, self.backlog, self.reporter = folder, plan, backlog, reporter
        self.after_batch, self.seats, self.stop = after_batch, seats, stop
        # No restarts by Ray: a worker that dies is replaced by a new one, wherever there is room for that.
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {WATCH: 1}}
        self.actor = ray.remote(num_cpus=seats.cpus, num_gpus=seats.gpus, **options)(RayWorker)
        self.members: list[Member] = []
        self.pending: dict[Any, Member] = {}  # what is asked of a member: to be ready, or to draw its task
        self.looks: dict[Any, Member] = {}  # and meanwhile, how far it is
        self.false_starts, self.why = 0, ""
        self.grown = self.looked = float("-inf")
        self.idle_since: float | None = time.monotonic()

    def run(self) -> None:
        """Has everything drawn, and ends all workers, whatever ends it. Raises Stop, NoWorkers."""
        try:
            while self.backlog:
                self.grow()
                self.hand_out()
                for reference in self.answered():
                    self.settle(self.pending.pop(reference), reference)
                self.look()
                self.say_if_idle()
        finally:
            for member in self.members:
                ray.kill(member.handle)

    def grow(self) -> None:
        """Starts workers for the room there is. One more than there is room for waits: that is what autoscalers see."""
        now = time.monotonic()
        if now - self.grown < GROW_EVERY and self.members:
            return
        self.grown = now
        if self.false_starts >= FALSE_STARTS:
            if not self.members:
                raise NoWorkers(f"no worker can be started: {self.why}; the same command goes on from here")
            return
        wanted = min(self.seats.wanted or max(1, self.seats.room()), len(self.backlog))
        for _ in range(wanted - len(self.members)):
            handle = self.actor.remote(str(self.folder.root.absolute()), str(Path.cwd()), self.stop)
            member = Member(handle)
            self.members.append(member)
            self.pending[handle.ready.remote()] = member

    def hand_out(self) -> None:
        """Gives every idle worker a batch."""
        for member in self.members:
            if not member.ready or member.task is not None:
                continue
            others = {other.source for other in self.members if other is not member and other.source}
            while (task := self.backlog.take(member.source, others)) and self.folder.is_over(task.batch):
                self.over(task)
            if task is None:
                continue
            items = {item: self.plan.items[item] for item in task.batch.items}
            member.task, member.source, member.before = task, task.source, member.rows
            self.pending[member.handle.do.remote(task.batch, items)] = member

    def answered(self) -> list[Any]:
        """What has come back; waits a little for it."""
        if not self.pending:
            time.sleep(0.05)
            return []
        first, _ = ray.wait(list(self.pending), timeout=LOOK_EVERY)
        if not first:
            return []
        return ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0)[0]

    def settle(self, member: Member, reference: Any) -> None:
        """Takes an answer: a worker is ready, a batch is over, or one of them was lost."""
        try:
            answer: Any = ray.get(reference)
        except RayTaskError as error:  # the worker lives; its code did not foresee this
            if member.task is None:
                self.drop(member, str(error.cause))
            else:
                self.lost(member, f"{type(error.cause).__name__}: {error.cause}", for_good=True)
        except RayError as error:
            self.drop(member, _first_line(error))
        else:
            if isinstance(answer, Outcome):
                self.done(member, answer)
            elif answer is None:
                member.ready, self.false_starts = True, 0
            else:
                self.drop(member, answer)

    def done(self, member: Member, outcome: Outcome) -> None:
        """A batch came back from its worker."""
        task, member.task = member.task, None
        assert task is not None
        self.moved(member, outcome.rows)
        for sentence in outcome.said:
            self.reporter.say(sentence)
        for batch in outcome.drawn:
            self.after_batch(batch)
        if outcome.stopped is not None:
            raise Stop(outcome.stopped)
        if outcome.over:
            self.over(task)
        else:
            self.backlog.put_off(task)

    def over(self, task: Task) -> None:
        if whole := self.backlog.over(task):
            self.folder.commit_split(whole)

    def drop(self, member: Member, why: str) -> None:
        """A worker is gone; what it drew is tried again, and another one is started in its place."""
        self.members.remove(member)
        ray.kill(member.handle)  # it may only be out of reach
        self.grown = float("-inf")
        if member.task is not None:
            self.lost(member, why)
        elif not member.ready:
            self.false_starts, self.why = self.false_starts + 1, why
            self.reporter.say(f"ray: a worker did not start: {why}")

    def lost(self, member: Member, why: str, *, for_good: bool = False) -> None:
        """The batch that a worker drew did not come to its end."""
        task, member.task = member.task, None
        assert task is not None
        self.reporter.row_done(member.before - member.rows)
        verdict = self.backlog.lost(task, for_good=for_good)
        count = len(task.batch.items)
        what = f"a batch of {count}" if count > 1 else self.plan.items[task.batch.items[0]]["label"]
        if verdict is not Verdict.FAILED:
            self.reporter.say(f"ray: a worker was lost with {what} ({why}): {verdict.value}")
            return
        (item,) = task.batch.items
        message = why if for_good else f"{ATTEMPTS} workers died of it, the last with: {why}"
        self.folder.fail(item, message[:500])
        self.reporter.say(f"failed: {what}: {message}")
        self.over(task)
        if self.stop:
            raise Stop(message)

    def look(self) -> None:
        """Moves the bar by what workers have drawn meanwhile, where there is a bar."""
        if not self.reporter.shown or time.monotonic() - self.looked < LOOK_EVERY:
            return
        self.looked = time.monotonic()
        told = ray.wait(list(self.looks), num_returns=len(self.looks), timeout=0)[0] if self.looks else []
        for reference in told:
            member = self.looks.pop(reference)
            with suppress(RayError):
                rows = ray.get(reference)
                if member in self.members:
                    self.moved(member, rows)
        asked = set(self.looks.values())
        for member in self.members:
            if member.task is not None and member not in asked:
                self.looks[member.handle.rows.options(concurrency_group=WATCH).remote()] = member

    def moved(self, member: Member, rows: int) -> None:
        if rows > member.rows:
            self.reporter.row_done(rows - member.rows)
            member.rows = rows

    def say_if_idle(self) -> None:
        """A sentence when there has been no worker for a while: the cluster may be full, or be growing."""
        if any(member.ready for member in self.members):
            self.idle_since = time.monotonic()
        elif self.idle_since is not None and time.monotonic() - self.idle_since > PATIENCE:
            seat = "a GPU" if self.seats.gpus else f"{self.seats.cpus:g} CPUs"
            self.reporter.say(f"ray: waiting for a worker; the cluster has not given one {seat} yet")
            self.idle_since = None


def _first_line(error: BaseException) -> str:
    """Ray's errors are paragraphs; the first sentence names what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]
