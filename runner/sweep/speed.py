"""How long pictures take here, remembered from earlier sweeps, so that a plan can say how long it will take.

Seconds for one network evaluation of one picture, by what decides it. A first sweep of its kind has no estimate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from components.regular_files import CACHE, read_json
from runner.outputs import write_atomically
from runner.provenance import cache_folder
from runner.sweep.partition import Item

if TYPE_CHECKING:
    from runner.plan import Plan

FILE = "speed.json"


def expected_seconds(items: Iterable[Item]) -> float | None:
    """Seconds for these pictures, their start-up aside; None where one of them is of a kind not seen before."""
    known, total = _known(), 0.0
    for item in items:
        pace = known.get(_kind(item.plan))
        if pace is None:
            return None
        total += pace * item.plan.tableau.nfe
    return total


class Meter:
    """Adds up what pictures take while they are drawn, and keeps it for the plans to come."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, int]] = {}

    def add(self, plan: Plan, seconds: float, nfe: int) -> None:
        """A batch of pictures of this kind took so long for so many evaluations of single pictures."""
        before = self._spent.get(_kind(plan), (0.0, 0))
        self._spent[_kind(plan)] = before[0] + seconds, before[1] + nfe

    def keep(self) -> None:
        """Writes it down, smoothed over what it took before."""
        known = _known()
        for kind, (seconds, nfe) in self._spent.items():
            known[kind] = seconds / nfe if kind not in known else 0.5 * (known[kind] + seconds / nfe)
        with suppress(OSError):  # an estimate less is no reason to fail
            cache_folder().mkdir(parents=True, exist_ok=True)
            write_atomically(cache_folder() / FILE, json.dumps(known).encode())


def _known() -> dict[str, float]:
    try:
        found = read_json(cache_folder() / FILE, CACHE)
        return {kind: float(pace) for kind, pace in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _kind(plan: Plan) -> str:
    choice, backend = plan.recipe.checkpoint, plan.recipe.backend
    size = f"{plan.width}x{plan.height}"
    parts = (
        choice.repo,
        choice.variant,
        backend.name,
        plan.device,
        plan.dtype,
        plan.threads,
        size,
        plan.guidance.doubles,
    )
    return " ".join(map(str, parts))
