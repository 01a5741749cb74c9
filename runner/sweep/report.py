"""report.html: one page with a sweep's pictures to sort, enlarge and compare, its plots, failures and recipes.

The page is a single file that asks nothing of the network: small copies of the pictures are inside it, the pictures
themselves lie beside it. What it looks like and does stands in `report_page/`; here is what is put into it. Everything
that comes from a sweep goes in as data and reaches the screen as text, so a prompt cannot become markup, and the page's
security policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.outputs import write_atomically
from runner.sweep import layout
from runner.sweep.results import Failure, ImageResult, SweepResults
from runner.sweep.table import relative
from runner.sweep.thumbnails import thumbnails

NAME = "report.html"
SCRIPTS = ("data.js", "grid.js", "table.js", "viewer.js", "page.js")


def write_report(results: SweepResults, *, rows: str | None = None, columns: str | None = None) -> Path:
    """Write `report.html` into the sweep's folder, whole or not at all; returns the file.

    rows, columns: the keys that run down and across when the page opens. Raises RecipeError for one that does not vary.
    """
    path = results.folder / NAME
    write_atomically(path, page(results, rows=rows, columns=columns).encode("utf-8"))
    return path


def page(results: SweepResults, *, rows: str | None = None, columns: str | None = None) -> str:
    """The page as text."""
    before, after = _frame()
    text = json.dumps(content(results, rows=rows, columns=columns), allow_nan=False, separators=(",", ":"))
    for mark in "<>&":  # so that no text can end the element that holds it
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return before.replace("{title}", html.escape(_clean(results.name))) + text + after


def content(results: SweepResults, *, rows: str | None = None, columns: str | None = None) -> dict[str, Any]:
    """All that the page shows, as JSON values. A value of an axis is its place in that axis' list of labels."""
    rows, columns = layout.grid(results, rows, columns)
    axes = layout.axes(results)
    places = {key: {text: at for at, text in enumerate(labels)} for key, labels in axes.items()}
    images = layout.ordered(results)
    recipes = {text: number for number, text in enumerate(dict.fromkeys(image.recipe for image in images))}
    lines: dict[str, int] = {}
    metrics = list(dict.fromkeys(name for image in results.images for name in image.metrics))
    return {
        "name": results.name,
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        "planned": max(results.planned, results.finished),
        "finished": results.finished,
        "rows": rows,
        "columns": columns,
        "axes": [{"key": key, "values": labels} for key, labels in axes.items()],
        "tied": sorted(layout.tied(results)),
        "constants": layout.constants(results),
        "metrics": metrics,
        "recipes": [[lines.setdefault(line, len(lines)) for line in text.rstrip("\n").split("\n")] for text in recipes],
        "lines": list(lines),
        "images": [
            {
                **_facts(image, results.folder, places),
                "metrics": [_number(image.metrics.get(name)) for name in metrics],
                "recipe": recipes[image.recipe],
                "thumbnail": _base64(small),
            }
            for image, small in zip(images, thumbnails(results, images), strict=True)
        ],
        "failures": [_failure(failure, places) for failure in results.failures],
        "plots": [
            {"title": title, "svg": _base64(svg.encode("utf-8", "replace"))} for title, svg in results.plots.items()
        ],
        "notes": list(results.notes),
    }


def _facts(image: ImageResult, folder: Path, places: Mapping[str, dict[str, int]]) -> dict[str, Any]:
    return {
        "job": image.job,
        "at": _at(layout.place(image), places),
        "seed": image.seed,
        "index": image.index,
        "file": quote(os.fsencode(relative(image.file, folder))),
        "nfe": image.nfe,
        "steps": image.steps,
        "seconds": _number(image.seconds),
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
    }


def _failure(failure: Failure, places: Mapping[str, dict[str, int]]) -> dict[str, Any]:
    """A failed job holds every cell whose labels agree with its own; -1 where it has no say."""
    return {
        "job": failure.job,
        "at": _at(layout.place(failure), places),
        "varied": layout.place(failure),
        "message": failure.message,
    }


def _at(spot: Mapping[str, str], places: Mapping[str, dict[str, int]]) -> list[int]:
    return [labels[spot[key]] if key in spot else -1 for key, labels in places.items()]


def _number(value: float | None) -> float | str | None:
    """Six figures are more than the page shows; an endless value becomes a word, as JSON has none for it."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _clean(text: str) -> str:
    """Text that UTF-8 can hold: a file name of unknown coding leaves half characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _frame() -> tuple[str, str]:
    """The page before and after its data: the markup, with style and script put in and the script's hash declared."""
    parts = resources.files("runner.sweep") / "report_page"
    style = (parts / "style.css").read_text("utf-8")
    script = "\n".join((parts / name).read_text("utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    markup = (parts / "page.html").read_text("utf-8").replace("{script-hash}", f"sha256-{digest}")
    before, _, after = markup.replace("{style}", style).replace("{script}", script).partition("{data}")
    return before, after
