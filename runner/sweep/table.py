"""results.csv: a row per picture, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from runner.outputs import write_atomically
from runner.sweep.layout import label, ordered
from runner.sweep.results import ImageResult, SweepResults

NAME = "results.csv"
_EXECUTED = ("=", "+", "-", "@", "\t", "\r")


def write_table(results: SweepResults) -> Path:
    """Write `results.csv` into the sweep's folder, whole or not at all. UTF-8; returns the file.

    Columns: job, every varied key, seed, index, nfe, steps, seconds, width, height, sha256, file, every metric. Text
    that a spreadsheet would execute (it starts with =, +, - or @) gets an apostrophe in front.
    """
    rows = [row(image, results.folder) for image in ordered(results)]
    columns = list(dict.fromkeys(["job", *results.axes, *(name for found in rows for name in found)]))
    metrics = dict.fromkeys(name for image in results.images for name in image.metrics)
    columns = [name for name in columns if name not in metrics] + list(metrics)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in found.items()} for found in rows)
    path = results.folder / NAME
    write_atomically(path, text.getvalue().encode("utf-8", "replace"))
    return path


def row(image: ImageResult, folder: Path) -> dict[str, Any]:
    """All that is known of a picture, flat. Its own seed and steps win over what was varied (a job's first seed)."""
    return {
        "job": image.job,
        **image.varied,
        "seed": image.seed,
        "index": image.index,
        "nfe": image.nfe,
        "steps": image.steps,
        "seconds": image.seconds,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "file": relative(image.file, folder),
        **image.metrics,
    }


def relative(file: Path, folder: Path) -> str:
    """A picture's path from the sweep's folder, with slashes."""
    return Path(os.path.relpath(file, folder)).as_posix()


def _cell(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = label(value)
        return f"'{text}" if text.startswith(_EXECUTED) else text
    return value
