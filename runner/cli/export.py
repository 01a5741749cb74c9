"""`recipe export`: a sweep handed to an experiment tracker, through the tracker's own library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.cli.recipe import read_options, usage_error

HELP = """\
recipe export FOLDER --to TRACKER [option=value ...]: hand a sweep to tensorboard, mlflow or wandb
  recipe export outputs/mine/seeds --to tensorboard
  recipe export outputs/mine/seeds --to mlflow uri=http://localhost:5000 experiment=mine
  recipe export outputs/mine/seeds --to wandb project=mine entity=me mode=offline
Each wants the extra of its name; where it is missing, the command that installs it is told. Options: tensorboard has
folder; mlflow has uri and experiment; wandb has project, entity and mode. What was handed over before is not doubled.
"""


def main(argv: Sequence[str]) -> int:
    options, words = read_options(argv, ("--to",), verb="export")
    if "--to" not in options or not words:
        raise usage_error("export")
    from runner.sweep.trackers import tracker

    folder, *settings = words
    export = tracker(options["--to"], settings)
    from runner.sweep.folder import load_results

    print(export(load_results(Path(folder))))
    return 0
