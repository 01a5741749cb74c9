"""`recipe schedule`: the noise levels that recipes visit, as numbers and as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner.cli.levels import level_lines, ratios
from runner.cli.named import composed
from runner.cli.recipe import usage_error
from runner.errors import RecipeError
from runner.names import CALLED
from runner.needs import missing
from runner.registry import Library

if TYPE_CHECKING:
    from components.schedulers import Tableau

HELP = """\
recipe schedule NAME... [key=value ...] [--plot FILE]: what the network is told, row by row
  recipe schedule shapes
  recipe schedule schedule/karras schedule/exponential steps=10
  recipe schedule heun dpmpp_2m "DPM++ SDE Karras" steps=10 --plot levels.png
NAME is a recipe, or a scheduler, a schedule or GROUP/NAME put into the default recipe. --plot draws all of them side by
side.
"""


def main(argv: Sequence[str]) -> int:
    words, plot = _split(list(argv))
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if not names:
        raise usage_error("schedule")
    if plot is not None and (problems := missing("--plot", "a plot", ("matplotlib",))):
        raise RecipeError(problems)
    tables = {name: _table(name, overrides) for name in names}
    for name, table in tables.items():
        print(f"{name}: {table.steps} steps, {table.nfe} network evaluations")
        print("\n".join(level_lines(table)), end="\n\n" if len(tables) > 1 else "\n")
    if plot is not None:
        draw(tables, plot)
        print(plot)
    return 0


def _split(words: list[str]) -> tuple[list[str], Path | None]:
    """The words without `--plot FILE`, and that file."""
    if "--plot" not in words:
        return words, None
    at = words.index("--plot")
    if at + 1 == len(words):
        raise usage_error("schedule")
    return words[:at] + words[at + 2 :], Path(words[at + 1])


def _table(name: str, overrides: Sequence[str]) -> Tableau:
    from runner.plan import make_plan

    library = Library.at()
    groups = (group for group in ("recipe", *CALLED) if library.meaning(group, name))
    if (group := next(groups, "recipe")) != "recipe":  # levels are a scheduler's and a schedule's: so are the names
        name = f"{group}/{name}"
    return make_plan(composed(name, overrides, library).base, to_run=False).tableau


def draw(tables: dict[str, Tableau], path: Path) -> None:
    """sigma of every row over the share of the run done, log scale, one curve a table."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, table in tables.items():
        sigma = ratios(table)
        done = np.linspace(0, 1, len(sigma))
        shown = np.isfinite(sigma) & (sigma > 0)
        axes.plot(done[shown], sigma[shown], marker="o", markersize=3, label=name)
    axes.set(yscale="log", xlabel="share of the rows done", ylabel="sigma / alpha")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
