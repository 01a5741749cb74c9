"""Runs what was composed: one recipe, or a sweep. The last line printed is the folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.cli.guard import FAILED

if TYPE_CHECKING:
    from runner.compose import Composition


def run_jobs(composition: Composition) -> int:
    """Run everything. Returns the exit code: not 0 where a picture of a sweep failed."""
    if not composition.is_sweep:
        from runner.execute import execute

        print(execute(composition.jobs[0].recipe).folder)
        return 0
    from runner.sweep.launch import failure_table, run_sweep

    outcome = run_sweep(composition)
    if outcome.failures:
        print(failure_table(outcome.failures, outcome.planned), file=sys.stderr)
    print(outcome.folder)
    return FAILED if outcome.failures else 0
