"""How a sweep's pictures lie on a page: which keys vary, what their values are called, which run across and which down.

The contact sheets and the report share it, so that both show the same grid. It draws nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from runner.errors import Problem, RecipeError, nearest, typed
from runner.sweep.results import Failure, ImageResult, SweepResults

ACROSS_AT_MOST = 16  # more columns than this are rows: a page scrolls down more gladly than sideways
SHORT = 24  # letters of a label that still fits above a column


def label(value: Any) -> str:
    """A value as the page writes it: text as it stands, anything else as in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def labels(varied: Mapping[str, Any]) -> dict[str, str]:
    return {key: label(value) for key, value in varied.items()}


def place(thing: ImageResult | Failure) -> dict[str, str]:
    """The labels of a picture on every axis, or of a missing one. Its own seed counts, not the first one of its job."""
    return labels(thing.varied) | ({"seed": str(thing.seed)} if thing.seed is not None else {})


def values(results: SweepResults) -> dict[str, list[str]]:
    """Every key with the labels of its values: in the order asked for, then any others as they come.

    Only seeds that nobody listed, those of a job's further pictures, put all of them in order of size.
    """
    found = {key: dict.fromkeys(map(label, axis)) for key, axis in results.axes.items()}
    listed = len(found.get("seed", ()))
    for thing in (*results.images, *results.failures):
        for key, text in place(thing).items():
            found.setdefault(key, {})[text] = None
    if len(found.get("seed", ())) > listed:
        found["seed"] = dict.fromkeys(sorted(found["seed"], key=lambda text: (len(text), text)))
    return {key: list(texts) for key, texts in found.items()}


def axes(results: SweepResults) -> dict[str, list[str]]:
    """The keys that take more than one value."""
    return {key: texts for key, texts in values(results).items() if len(texts) > 1}


def constants(results: SweepResults) -> dict[str, str]:
    """The varied keys that have a single value all the same."""
    return {key: texts[0] for key, texts in values(results).items() if len(texts) == 1}


def tied(results: SweepResults) -> set[str]:
    """Keys that say nothing new: their value follows from an earlier key's, as where a sweep zips two lists."""
    places = [place(image) for image in results.images]
    known = axes(results)
    found: set[str] = set()
    for first, second in combinations(known, 2):
        pairs = {(spot.get(first), spot.get(second)) for spot in places}
        if len(known[first]) == len(known[second]) == len(pairs) == len({one for one, _ in pairs}):
            found.add(second)
    return found


def ordered(results: SweepResults) -> list[ImageResult]:
    """The pictures in the order that was asked for, whatever order they were made in: the last axis varies fastest."""
    ranks = {key: {text: at for at, text in enumerate(texts)} for key, texts in values(results).items()}

    def rank(image: ImageResult) -> tuple[list[int], str, int]:
        spot = place(image)
        return [order.get(spot.get(key, ""), -1) for key, order in ranks.items()], image.job, image.index

    return sorted(results.images, key=rank)


def grid(results: SweepResults, rows: str | None = None, columns: str | None = None) -> tuple[str | None, str | None]:
    """The keys that run down and across: those asked for, the rest chosen. None: there is no such axis.

    The two longest axes are taken, seeds last: they repeat what the others vary. The first that fits across and has
    short labels runs across; prose such as prompts runs down. Raises RecipeError for a key that does not vary.
    """
    known = axes(results)
    _check({"--rows": rows, "--columns": columns}, known)
    dependent = tied(results)
    free = [key for key in known if key not in dependent and key not in (rows, columns)]
    free.sort(key=lambda key: (key == "seed", -len(known[key]), -_longest(known[key])))
    if rows is None and columns is None:
        chosen = free[:2]
        fitting = [key for key in chosen if len(known[key]) <= ACROSS_AT_MOST and _longest(known[key]) <= SHORT]
        by_label = sorted(chosen, key=lambda key: _longest(known[key]))
        columns = next(iter(fitting or (by_label if len(chosen) == 2 else [])), None)
        rows = next((key for key in chosen if key != columns), None)
    elif rows is None:
        rows = next(iter(free), None)
    elif columns is None:
        columns = next(iter(free), None)
    return rows, columns


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _check(asked: Mapping[str, str | None], known: Mapping[str, Sequence[str]]) -> None:
    problems = [
        Problem(typed(f"{option} {key}"), f"'{key}' is not varied in this sweep", tuple(known), nearest(key, known))
        for option, key in asked.items()
        if key is not None and key not in known
    ]
    if not problems and asked["--rows"] is not None and asked["--rows"] == asked["--columns"]:
        problems = [Problem(typed(f"--rows {asked['--rows']}"), "rows and columns are the same key", tuple(known))]
    if problems:
        raise RecipeError(problems)
