"""What `recipe plan` prints of a sweep: a line for each picture, then what all of it takes, and what is there."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runner import needs
from runner.cli import plan_missing
from runner.cli.guard import FAILED
from runner.errors import RecipeError
from runner.memory import estimate_peak
from runner.progress import duration
from runner.sweep.folder import SweepFolder
from runner.sweep.partition import Item, partition
from runner.sweep.planning import settle
from runner.sweep.speed import expected_seconds

if TYPE_CHECKING:
    from runner.compose import Composition

LISTED = 400  # jobs; more are counted, not shown


def show(composition: Composition) -> int:
    """Prints the plan, then what keeps pictures from being drawn here; the exit code that the run would have."""
    if problems := needs.for_sweep(composition.base):
        raise RecipeError(problems)
    try:
        items = settle(composition)
    except RecipeError as error:
        if all(problem.missing for problem in error.problems):
            print(f"sweep       {composition.recipe_name}: {len(composition.jobs)} jobs")
            print("\n".join(plan_missing.fetching(job.recipe for job in composition.jobs)))
        raise plan_missing.without_hint(error) from error
    print("\n".join(lines(composition, items)))
    lacking = Counter(item.lacks for item in items if item.lacks)
    for told, count in lacking.items():
        print(f"{count} of {len(items)} pictures cannot be drawn here: {told}", file=sys.stderr)
    return FAILED if lacking else 0


def lines(composition: Composition, items: list[Item]) -> Iterator[str]:
    """The job table and the totals."""
    folder = SweepFolder(composition.folder)
    drawn, items = folder.drawn(), folder.as_known(items)
    todo = list({item.id: item for item in items if item.id not in drawn and not item.lacks}.values())
    batches = partition(todo)
    number = {item: n for n, batch in enumerate(batches, 1) for item in batch.items}
    yield f"sweep       {composition.recipe_name}: {len(composition.jobs)} jobs, {len(items)} pictures"
    yield f"folder      {composition.folder}"
    yield ""
    yield from _table(composition, items, number)
    yield ""
    nfe = sum(item.plan.tableau.nfe for item in todo)
    there = f", {len(items) - len(todo)} of {len(items)} pictures being there" if len(todo) < len(items) else ""
    yield f"to draw     {len(todo)} pictures in {len(batches)} batches, {nfe:,} network evaluations{there}"
    yield f"time        {_time(expected_seconds(todo)) if todo else 'none'}"
    if todo:
        plans = {item.id: item.plan for item in todo}
        peak = max(estimate_peak(plans[batch.items[0]], len(batch.items)).total for batch in batches)
        yield f"memory      about {peak / 1e9:.1f} GB at its peak, by the files' headers"


def _table(composition: Composition, items: list[Item], number: dict[str, int]) -> Iterator[str]:
    """Varied keys, NFE, and the batch (dash: drawn before), in columns."""
    keys = [key for key in composition.axes if key != "seed"]  # each picture's own is told
    rows = [[*keys, "seed", "steps", "NFE", "batch"]]
    for item in items[:LISTED]:
        table = item.plan.tableau
        varied = [_short(item.varied.get(key)) for key in keys]
        own = item.recipe.seed, table.steps, table.nfe, number.get(item.id, "–")
        rows.append([*varied, *map(str, own)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    if len(items) > LISTED:
        yield f"… and {len(items) - LISTED} more"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known: nothing of this kind was drawn here before"
    return f"about {duration(seconds)}, by earlier sweeps here"
