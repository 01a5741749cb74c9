"""Runs what was composed: one recipe, or the jobs of a sweep one after the other, a failure not stopping the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.guard import BAD_INPUT, FAILED, told, wants_traceback
from runner.errors import RecipeError

if TYPE_CHECKING:
    from runner.compose import Composition


def run_jobs(composition: Composition) -> int:
    """Run everything; the last line printed is the folder. Returns the exit code."""
    from runner.execute import Session, execute

    if not composition.is_sweep:
        print(execute(composition.jobs[0].recipe).folder)
        return 0
    root = Path(composition.base.output.dir) / composition.recipe_name / (composition.folder or "sweep")
    session, failures = Session(), {}
    for number, job in enumerate(composition.jobs, 1):
        folder = root / (job.folder or str(number))
        done = _finished(folder)
        print(f"[{number}/{len(composition.jobs)}] {folder.name}{': made before' if done else ''}", file=sys.stderr)
        if done:
            continue
        try:
            execute(job.recipe, folder=folder, session=session)
        except Exception as error:
            if wants_traceback():
                raise
            failures[folder.name] = error
            print(f"failed: {told(error)}", file=sys.stderr)
    if failures:
        print(_table(failures, len(composition.jobs)), file=sys.stderr)
    if root.is_dir():
        print(root)
    if not failures:
        return 0
    bad_input = len(failures) == len(composition.jobs) and all(isinstance(e, RecipeError) for e in failures.values())
    return BAD_INPUT if bad_input else FAILED


def _finished(folder: Path) -> bool:
    """Whether a job's folder holds a finished run. Its name says what was run, so there is nothing to compare."""
    try:
        return json.loads((folder / "manifest.json").read_text("utf-8")).get("finished") is True
    except (OSError, ValueError, AttributeError):
        return False


def _table(failures: dict[str, Exception], total: int) -> str:
    width = max(map(len, failures))
    rows = [f"  {name:<{width}}  {str(error).splitlines()[0][:110]}" for name, error in failures.items()]
    return "\n".join([f"{len(failures)} of {total} jobs failed:", *rows])
