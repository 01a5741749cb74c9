"""Sweeps for experiment trackers: a module for each, which speaks to it through the tracker's own library.

A module has `export(results, **options) -> str`: it hands a sweep over and says where it can be seen. A new tracker is
a file here and an extra of the same name in pyproject.toml.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from runner.errors import Problem, RecipeError, nearest, typed
from runner.needs import missing
from runner.sweep.layout import labels
from runner.sweep.results import ImageResult, SweepResults

TRACKERS = ("tensorboard", "mlflow", "wandb")


def tracker(name: str, settings: Sequence[str] = ()) -> Callable[[SweepResults], str]:
    """The export to a tracker with its settings ("uri=http://…").

    Raises RecipeError for an unknown tracker or setting, and for a library that is not installed.
    """
    if name not in TRACKERS:
        unknown = f"there is no tracker '{name}'"
        raise RecipeError([Problem(typed(f"--to {name}"), unknown, TRACKERS, nearest(name, TRACKERS))])
    library(name)
    export = importlib.import_module(f"runner.sweep.trackers.{name}").export
    known = tuple(inspect.signature(export).parameters)[1:]
    given = {option: value for option, _, value in (word.partition("=") for word in settings)}
    problems = [
        Problem(typed(word), f"the export to {name} has no option '{word}'", known, nearest(word, known))
        for word in given
        if word not in known
    ]
    if problems:
        raise RecipeError(problems)
    return partial(export, **given)


def library(name: str) -> ModuleType:
    """A tracker's Python library, which no one needs who does not use it. Raises RecipeError where it is missing."""
    if problems := missing(typed(f"--to {name}"), f"the export to {name}", (name,)):
        raise RecipeError(problems)
    return importlib.import_module(name)


def jobs(results: SweepResults) -> dict[str, list[ImageResult]]:
    """A sweep's pictures by job."""
    found: dict[str, list[ImageResult]] = {}
    for image in results.images:
        found.setdefault(image.job, []).append(image)
    return {job: sorted(images, key=lambda image: image.index) for job, images in found.items()}


def sweep_id(results: SweepResults) -> str:
    """The same for the same folder, so that a sweep handed over twice is one sweep there."""
    return hashlib.sha256(os.fsencode(results.folder.resolve())).hexdigest()[:16]


def job_name(varied: Mapping[str, Any], job: str) -> str:
    """`scheduler-euler_seed-3_1f3a9c07`: what is special about a job, and its id so that names differ."""
    parts = "_".join(f"{key.rpartition('.')[2]}-{text}" for key, text in labels(varied).items())
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', parts)[:80].strip('-._')}_{job[:8]}".lstrip("_")


def left_files(results: SweepResults) -> list[Path]:
    """The table, sheets and page that lie in the sweep's folder."""
    names = ("results.csv", "contact_sheet*.png", "report.html")
    return [path for name in names for path in sorted(results.folder.glob(name))]


def figures_of(images: Sequence[ImageResult]) -> Mapping[str, float]:
    """A job's figures: its network evaluations and steps, seconds a picture, and the mean of every metric."""
    names = dict.fromkeys(name for image in images for name in image.metrics)
    figures = {"nfe": float(images[0].nfe), "steps": float(images[0].steps)}
    figures["seconds"] = sum(image.seconds for image in images) / len(images)
    for name in names:
        known = [image.metrics[name] for image in images if name in image.metrics]
        figures[name] = sum(known) / len(known)
    return figures
