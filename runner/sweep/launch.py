"""Runs a sweep: plans it whole, has its batches drawn, and leaves the table, the sheets and the report.

The warm launcher is this process: components are loaded once, prompts encoded once, different jobs drawn together.
Other launchers (runner/sweep/launchers) have the same batches of the same folder drawn by workers of their own.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner import needs
from runner.drawing import Worker
from runner.errors import Problem, RecipeError
from runner.interrupts import Interrupted, InterruptGuard
from runner.outputs import to_json, why_not_writable, write_atomically
from runner.session import Session
from runner.sweep.compare.score import score
from runner.sweep.folder import SweepFolder, SweepPlan, results
from runner.sweep.partition import Item, Together
from runner.sweep.place import Stop, SweepPlace
from runner.sweep.planning import settle
from runner.sweep.progress import SweepProgress
from runner.sweep.results import Failure

if TYPE_CHECKING:
    from runner.compose import Composition

REPORT_EVERY = 30.0  # seconds; what the report shows may be that old while the sweep goes on
POLL = 0.5  # seconds between two looks at what other processes have done


@dataclass(frozen=True)
class SweepOutcome:
    """What came of a sweep: its folder, how many pictures it was to make, and what failed."""

    folder: Path
    planned: int
    failures: Sequence[Failure]


def run_sweep(composition: Composition, *, progress: bool = True) -> SweepOutcome:
    """Runs a sweep, or what is missing of it.

    Raises:
        RecipeError: a job of it cannot work; nothing was started. Interrupted: Ctrl-C; finished batches are kept.
    """
    root = composition.folder
    with InterruptGuard() as guard:
        try:
            if why := why_not_writable(root):
                raise RecipeError([Problem("output.dir", why)])
            _check(composition)
            if composition.base.launcher != "warm":
                from runner.sweep.launchers import check

                check(composition.base)
            items = settle(composition)
            folder = SweepFolder(root)
            plan = folder.adopt(composition.recipe_name, composition.axes, items)
            _leave_recipe(composition, root)
            batches = plan.share(composition.base.shard)
            reporter = SweepProgress(plan, batches, speak=progress)
            _say_what_lacks(items, reporter)
            run, ended = _Sweep(folder, plan, reporter, guard), True
            try:
                ended = run.all_batches(batches, composition)
                reporter.close()
            except Stop:
                reporter.close()
            if ended and composition.base.compare is not None:
                score(folder, plan, run.session, reporter)
            leave_report(folder, plan)
        except KeyboardInterrupt as stop:
            raise _stopped(stop, root) from None
    found = results(folder, plan)
    return SweepOutcome(root, found.planned, found.failures)


class _Sweep:
    """A sweep under way in this process."""

    def __init__(self, folder: SweepFolder, plan: SweepPlan, reporter: SweepProgress, guard: InterruptGuard) -> None:
        self.folder, self.plan, self.reporter, self.guard = folder, plan, reporter, guard
        self.session = Session()
        self._left = time.monotonic()

    def all_batches(self, batches: Sequence[Together], composition: Composition) -> bool:
        """Has every batch drawn, here or by the launcher's workers; waits for those that other processes are at.

        False: they are still to be drawn, by workers that wait in a queue.
        """
        base = composition.base
        if base.launcher != "warm":
            from runner.sweep.launchers import launch

            return launch(base, self.folder, self.plan, batches, self.reporter, self._committed)
        place = SweepPlace(self.folder, self.plan, base.on_error == "stop")
        worker = Worker(
            place,
            self.session,
            after_row=lambda row, pictures: self.reporter.row_done(pictures),
            after_batch=self._committed,
            say=self.reporter.say,
            uninterrupted=self.guard.uninterrupted,
        )
        waiting = [batch for batch in batches if not worker.do(batch)]
        while waiting:
            time.sleep(POLL)
            waiting = [batch for batch in waiting if not worker.do(batch)]
        place.meter.keep()
        return True

    def _committed(self, batch: Together) -> None:
        self.reporter.batch_done(batch)
        if time.monotonic() - self._left > REPORT_EVERY:
            leave_report(self.folder, self.plan, sheets=False)
            self._left = time.monotonic()


def leave_report(folder: SweepFolder, plan: SweepPlan, *, sheets: bool = True) -> None:
    """Writes the table, the sheets and the report of what there is."""
    from runner.sweep.leave import leave

    found = results(folder, plan)
    if found.images or found.failures:
        with folder.locked("report"):
            leave(found, sheets=sheets)


def _check(composition: Composition) -> None:
    """Raises RecipeError where this machine has not what the sweep as a whole takes."""
    problems = needs.for_sweep(composition.base)
    if composition.base.compare is not None:
        from runner.sweep.compare import comparison_problems

        problems += comparison_problems(composition.base)
    if problems:
        raise RecipeError(problems)


def _say_what_lacks(items: Sequence[Item], reporter: SweepProgress) -> None:
    """One sentence for everything that keeps pictures from being drawn here."""
    for told, count in Counter(item.lacks for item in items if item.lacks).items():
        reporter.say(f"{count} picture{'s' * (count > 1)} cannot be drawn here: {told}")


def _leave_recipe(composition: Composition, root: Path) -> None:
    """The recipe that makes this sweep again, and what it is made with."""
    from runner.compose import to_yaml
    from runner.provenance import git_state, machine, versions

    write_atomically(root / "recipe.yaml", to_yaml(composition.base, folder=root).encode())
    made = {"format": 1, "sweep": True, "versions": versions(), "machine": machine(), "git": git_state(Path.cwd())}
    write_atomically(root / "manifest.json", to_json(made))


def _stopped(stop: KeyboardInterrupt, root: Path) -> KeyboardInterrupt:
    if str(stop):
        return stop
    return Interrupted(f"Stopped. What was finished is in {root}; the same command goes on from there.", root)


def failure_table(failures: Sequence[Failure], planned: int) -> str:
    """Which pictures failed and why, a line each."""
    from runner.compose.sweep import label

    names = [label(failure.varied) for failure in failures]
    width = max(map(len, names))
    rows = [f"  {name:<{width}}  {f.message[:160]}" for name, f in zip(names, failures, strict=True)]
    return "\n".join([f"{len(failures)} of {planned} pictures failed:", *rows])


def say(sentence: str) -> None:
    """One sentence on stderr."""
    print(sentence, file=sys.stderr, flush=True)
