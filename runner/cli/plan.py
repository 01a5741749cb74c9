"""`recipe plan`: what a run would do, use and cost, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from components.errors import CheckpointError
from runner import needs
from runner.cli import plan_missing
from runner.cli.levels import level_lines
from runner.cli.named import composed
from runner.cli.recipe import read_words, usage_error
from runner.errors import Problem, RecipeError
from runner.memory import estimate_peak, parameters

if TYPE_CHECKING:
    from runner.plan import Plan

HELP = """\
recipe plan [-m] NAME|FILE [key=value ...]: what a run would do, use and cost, without loading a weight
  recipe plan shapes
  recipe plan sd15 scheduler=heun steps=20 height=768
  recipe plan -m shapes scheduler=euler,lms seed=1,2,3         a sweep: its jobs, their cost, what is there already
Files with their sizes and pinned commit, what the scheduler inherits and drops of the checkpoint's configuration, the
network evaluations, every timestep and noise level, the size of the weights, read from the headers of the files, and
an estimate of the memory at the peak, made from them and the networks' configurations (runner/memory.py says how).
Where files or packages are not on this machine, what needs none of them is told, and how to get them; the exit code is
then what the run's would be: 2, as nothing could be started.
"""


def main(argv: Sequence[str]) -> int:
    from runner.plan import make_plan

    flags, words = read_words(argv, ("-m",), verb="plan")
    if not words:
        raise usage_error("plan")
    composition = composed(words[0], words[1:], multirun="-m" in flags, need_files=False)
    if composition.is_sweep:
        from runner.cli.plan_sweep import show

        return show(composition)
    recipe = composition.jobs[0].recipe
    try:
        plan = make_plan(recipe, to_run=False)
    except RecipeError as error:
        if all(problem.missing for problem in error.problems):
            print("\n".join(plan_missing.lines(recipe)))
        raise plan_missing.without_hint(error) from error
    try:
        text = "\n".join(lines(plan))
    except CheckpointError as error:  # the header of a weight file
        raise RecipeError([Problem("checkpoint", str(error).removesuffix("."))]) from error
    print(text)
    if lacking := needs.for_drawing(recipe):
        raise RecipeError(lacking)
    return 0


def lines(plan: Plan) -> Iterator[str]:
    recipe, scheduler, table = plan.recipe, plan.scheduler, plan.tableau
    guided = " with guidance, each for the prompt and against the negative one" if plan.guidance.doubles else ""
    yield f"recipe      {recipe.name}"
    yield f"checkpoint  {plan.checkpoint.source}" + (f" at {plan.checkpoint.commit}" if plan.checkpoint.commit else "")
    yield f"pictures    {recipe.num_images} of {plan.width}×{plan.height}, in batches of {_sizes(plan)}"
    yield f"scheduler   {type(scheduler).__name__}: {table.steps} steps, {table.nfe} network evaluations{guided}"
    yield from _options("inherited", scheduler.inherited)
    yield from _options("dropped", scheduler.dropped)
    yield from plan.notes
    yield ""
    yield from _weights(plan)
    yield from _memory(plan)
    yield ""
    yield from level_lines(table)


def _sizes(plan: Plan) -> str:
    return ", ".join(str(len(batch.indices)) for batch in plan.batches)


def _options(what: str, options: dict) -> Iterator[str]:
    if options:
        yield f"  {what:<10}{', '.join(f'{name}={value}' for name, value in sorted(options.items()))}"


def _weights(plan: Plan) -> Iterator[str]:
    """A line per component: its files, their size on disk, its parameters; then what the run takes in memory."""
    for name, files in plan.components.items():
        if not files.weights:
            continue
        names = ", ".join(path.name for path in files.weights)
        size = sum(path.stat().st_size for path in files.weights)
        yield f"{name:<13} {_megabytes(size):>10}  {parameters(files):>13,} parameters  {names}"


def _memory(plan: Plan) -> Iterator[str]:
    peak = estimate_peak(plan)
    images = max(len(batch.indices) for batch in plan.batches)
    weights = ", ".join(f"{name} {_megabytes(size)}" for name, size in peak.weights.items())
    yield f"memory      {_megabytes(peak.total)} at the peak, by estimate, with {images} image(s) at once"
    at_once = "" if peak.resident == sum(peak.weights.values()) else " at once"
    yield f"  weights   {_megabytes(peak.resident)}{at_once} as {peak.dtype}: {weights}"
    yield f"  denoising {_megabytes(peak.denoise)} besides; decoding {_megabytes(peak.decode)}"
    yield f"  libraries {_megabytes(peak.libraries)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
