"""`recipe report`: a sweep's table, contact sheets and page, made anew from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.cli.recipe import read_options, usage_error

HELP = """\
recipe report FOLDER [--rows KEY] [--columns KEY]: results.csv, contact sheets and report.html of a sweep, made anew
  recipe report outputs/shapes_scheduler_grid/scheduler-x13_1f3a9c07
  recipe report outputs/mine/seeds --rows scheduler --columns seed
KEY is a varied key: the one that runs down or across in the contact sheets, and in the page when it opens; there it can
be changed. The other keys make the sections of a sheet. Pictures are read, not made; a sweep that still runs may be
reported too.
"""


def main(argv: Sequence[str]) -> int:
    options, words = read_options(argv, ("--rows", "--columns"), verb="report")
    if len(words) != 1:
        raise usage_error("report")
    from runner.sweep.folder import load_results
    from runner.sweep.leave import leave

    for path in leave(load_results(Path(words[0])), rows=options.get("--rows"), columns=options.get("--columns")):
        print(path)
    return 0
