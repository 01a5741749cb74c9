"""`recipe schedulers`: every scheduler at a glance, what other tools call it, and whether it fits a checkpoint."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.schedulers.options import as_yaml
from runner import needs
from runner.cli.named import named
from runner.cli.recipe import read_words
from runner.errors import Problem, RecipeError
from runner.names import TOOLS
from runner.registry import Library, find_scheduler

if TYPE_CHECKING:
    from components.schedulers.base import Scheduler
    from runner.schema import Recipe

HELP = """\
recipe schedulers [NAME] [key=value ...]: order, cost and noise of each, its names elsewhere, and does it fit?
  recipe schedulers                      all of them, for the default recipe's checkpoint
  recipe schedulers checkpoint=sdxl      for another checkpoint, of which the configurations alone are read
  recipe schedulers dpmpp_2m             one of them, with every option it has
order: p of an error that falls as (1 / steps)^p once there are enough steps; of stochastic samplers along one Brownian
path; '-' where a sampler solves no equation (those for distilled models). calls: network evaluations a step.
A1111 and ComfyUI: what they call the same method. A scheduler may be named so, and by its class, wherever it is named,
with a schedule or without: run scheduler="DPM++ 2M Karras", run -m scheduler="Euler a,dpmpp_2m_sde_gpu,EulerDiscrete".
docs/choosing.md says which to take.
"""

COLUMNS = ("name", "class", "order", "calls", "noise", "fits", *TOOLS)


@dataclass(frozen=True)
class Line:
    """A scheduler of the library: `why` says why it does not fit the checkpoint, and is empty where it does; `lacks`
    is what it takes that is not installed."""

    name: str
    scheduler: Scheduler
    summary: str
    called: dict[str, str]
    why: str
    lacks: list[Problem]

    @property
    def cells(self) -> tuple[str, ...]:
        scheduler = self.scheduler
        order, noise = scheduler.convergence or "-", "yes" if scheduler.tableau(10).takes_noise.any() else "no"
        fits = "no" if self.why else "yes"
        others = (self.called.get(tool, "-") for tool in TOOLS)
        return self.name, type(scheduler).__name__, str(order), str(scheduler.order), noise, fits, *others


def main(argv: Sequence[str]) -> int:
    from runner.compose import compose

    words = read_words(argv, verb="schedulers")[1]
    overrides = [word for word in words if "=" in word]
    library = Library.at()
    names = [_choice(word, library) for word in words if "=" not in word]
    recipe = compose(overrides, library=library).base
    lines = [_line(library, name, recipe) for name in names or library.choices("scheduler")]
    print(_table([COLUMNS, *(line.cells for line in lines)]))
    unfit = [f"  {line.name}: {line.why}" for line in lines if line.why]
    if unfit:
        print("\n".join([f"\nnot for {recipe.checkpoint.repo}:", *unfit]))
    if lacks := {f"  {lack.what}; {lack.hint}": None for line in lines for lack in line.lacks}:
        print("\n".join(["\nnot on this machine:", *lacks]))
    for line in lines if names else ():
        print("\n".join([f"\n{line.summary}", *_options(line.scheduler)]))
    return 0


def _choice(word: str, library: Library) -> str:
    """The choice that a word names; the schedule that it may name as well has no line here."""
    group, name = named(f"scheduler/{word}", library)
    return (library.meaning(group, name) or {})[group]


def _line(library: Library, name: str, recipe: Recipe) -> Line:
    """Raises RecipeError where the recipe has problems that are not the scheduler's."""
    from runner.compose.yaml_text import read
    from runner.plan import make_plan
    from runner.schema import SchedulerChoice

    header = [text for _, text in read(library.choices("scheduler")[name]).header]
    choice, why = SchedulerChoice(**_chosen(library, name)), ""
    tried = recipe.model_copy(update={"scheduler": choice})
    try:
        scheduler = make_plan(tried, to_run=False).scheduler
    except RecipeError as error:
        if not all(problem.where.partition(".")[0] in ("scheduler", "schedule", "noise") for problem in error.problems):
            raise
        scheduler = find_scheduler(choice.name)(**choice.options)
        why = "; ".join(f"{problem.where} {problem.what}" for problem in error.problems)
    called = library.names.called("scheduler", name)
    return Line(name, scheduler, header[0] if header else "", called, why, needs.for_drawing(tried))


def _chosen(library: Library, name: str) -> dict[str, Any]:
    """The file's values on top of those of the files it builds on."""
    from runner.compose.documents import document

    found, merged = document(library.choices("scheduler")[name], "scheduler"), {}
    if found.problems:
        raise RecipeError(found.problems)
    for parent, _ in found.parents:
        merged |= _chosen(library, library.parent("scheduler", parent) or parent)
    return merged | found.data


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _options(scheduler: Scheduler) -> list[str]:
    """Every option with its value here and its meaning."""
    values = {**scheduler.config, **vars(scheduler.run)}
    lines = []
    for name, option in type(scheduler).options().items():
        choices = f" One of {', '.join(map(str, option.choices))}." if option.choices else ""
        head = f"  {name}: {as_yaml(values[name])}"
        lines.append(textwrap.fill(f"{head:<42} {option.doc}{choices}", 118, subsequent_indent=" " * 43))
    return lines
