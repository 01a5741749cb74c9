"""References computed, in batches, and kept: each is found again by what it depends on, so a rerun computes none twice.

Each is solved with so many steps and with twice as many. The second is the reference; the distance between the two is
its uncertainty, the floor under which no error means anything.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.schedulers import stack
from runner.outputs import write_together
from runner.provenance import FileSums
from runner.schema import Recipe
from runner.sweep.compare.reference_tables import Ending, Reference, ending_of, ode_reference, sde_reference
from runner.sweep.compare.similarity import relative_l2

if TYPE_CHECKING:
    from runner.execute import Session
    from runner.plan import Plan

Say = Callable[[str], None]

METHOD = {"scheduler", "schedule", "steps", "seed", "num_images", "batch_size"}
"""Keys that say how an equation is solved, or of which image, and not which equation."""
SDE_ROWS = 8
"""Steps of an SDE's reference to one of an ODE's: its order is lower, and a step takes one row instead of four."""
PIXELS_AT_ONCE, MOST_AT_ONCE, LEAST_AT_ONCE = 4 * 64 * 64, 16, 4
"""Of latents computed together, where the recipe does not say how many images."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """The solution that one image of a sampler approximates."""

    plan: Plan
    seed: int
    fine: Reference
    coarse: Reference
    ending: Ending

    @classmethod
    def by(cls, plan: Plan, kind: str, seed: int, steps: int) -> Wanted:
        """For an image of this plan, whose scheduler solves an equation of this kind ("ode" or "sde")."""
        make, factor = (ode_reference, 1) if kind == "ode" else (sde_reference, SDE_ROWS)
        scheduler, table = plan.scheduler, plan.tableau
        coarse, fine = (make(scheduler, table, n * steps * factor) for n in (1, 2))
        return cls(plan, seed, fine, coarse, ending_of(scheduler, table))

    @cached_property
    def equation(self) -> str:
        """Everything of the recipe that decides the equation."""
        values = self.plan.recipe.model_dump(mode="json", include=_deciding())
        return json.dumps(values, sort_keys=True)

    def trajectory(self, weights: str) -> str:
        """One key for all that are the same but for their last step."""
        parts = (self.equation, weights, str(self.seed), self.coarse.key, self.fine.key)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def key(self, weights: str) -> str:
        ending = f"{self.ending.low:.9g} {self.ending.closed:.9g}"
        return f"{self.trajectory(weights)[:16]}_{hashlib.sha256(ending.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, eq=False)
class Solved:
    """A reference: latents (C, h, w) float32, how sure they are (relative L2), and the picture they decode to."""

    latents: np.ndarray
    floor: float
    picture: Path


class References:
    """References under a folder, computed where they are missing."""

    def __init__(self, folder: Path, session: Session, say: Say) -> None:
        self.folder, self.session, self.say = folder, session, say
        self._sums = FileSums()

    def solve(self, wanted: Sequence[Wanted]) -> list[Solved]:
        """The solutions, in the order asked for. Batches that are done are kept when a later one is stopped."""
        keys = [want.key(self._weights(want.plan)) for want in wanted]
        missing = {key: want for key, want in zip(keys, wanted, strict=True) if not self._kept(key)}
        batches = list(self._batches(missing))
        images = sum(map(len, batches))
        done = 0
        for batch in batches:
            self._compute(batch)
            done += len(batch)
            self.say(f"references: {done} of {images}")
        return [self._read(key) for key in keys]

    def _weights(self, plan: Plan) -> str:
        """A digest of the weights that this plan loads."""
        files = [file for name in sorted(plan.components) for file in plan.components[name].weights]
        return " ".join(sorted(self._sums.sums(files).values()))

    def _kept(self, key: str) -> bool:
        return all((self.folder / f"{key}.{kind}").is_file() for kind in ("npz", "png"))

    def _read(self, key: str) -> Solved:
        with np.load(self.folder / f"{key}.npz") as arrays:
            return Solved(arrays["latents"], float(arrays["floor"]), self.folder / f"{key}.png")

    def _batches(self, missing: Mapping[str, Wanted]) -> Iterator[list[dict[str, Wanted]]]:
        """Lists of trajectories to compute together, each with the endings wanted of it, by key."""
        groups: dict[tuple[str, int, int], dict[str, dict[str, Wanted]]] = {}
        for key, want in missing.items():
            same = want.equation, want.fine.table.rows, want.coarse.table.rows
            trajectory = want.trajectory(self._weights(want.plan))
            groups.setdefault(same, {}).setdefault(trajectory, {})[key] = want
        for trajectories in groups.values():
            some = list(trajectories.values())
            plan = next(iter(some[0].values())).plan
            _, height, width = plan.latent_shape
            fitting = min(MOST_AT_ONCE, max(LEAST_AT_ONCE, PIXELS_AT_ONCE // (height * width)))
            size = plan.recipe.batch_size or fitting
            for first in range(0, len(some), size):
                yield some[first : first + size]

    def _compute(self, batch: list[dict[str, Wanted]]) -> None:
        """Solves a batch of trajectories coarsely and finely, and keeps every ending wanted of them."""
        wants = [next(iter(endings.values())) for endings in batch]
        plan = wants[0].plan
        backend = self.session.backend(plan)
        parts = self.session.parts(plan, backend)
        conditioning = plan.pipeline.encode(backend, parts, plan.wish, plan.guidance, self.say)
        seeds = tuple(want.seed for want in wants)

        def ends(tables: list[Reference]) -> Callable[[int, Ending], Any]:
            return _run(plan, backend, parts, conditioning, seeds, tables)

        coarse, fine = ends([want.coarse for want in wants]), ends([want.fine for want in wants])
        files = []
        for i, endings in enumerate(batch):
            for key, want in endings.items():
                latents = fine(i, want.ending)
                pixels = backend.to_pixels(plan.pipeline.decode(backend, parts, latents))[0]
                x = backend.to_numpy(latents)[0]
                floor = relative_l2(backend.to_numpy(coarse(i, want.ending))[0], x)
                files += [(f"{key}.png", _png(pixels)), (f"{key}.npz", _npz(latents=x, floor=np.float64(floor)))]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_together(self.folder, files)


def _run(
    plan: Plan,
    backend: Any,
    parts: Mapping[str, Any],
    conditioning: Any,
    seeds: tuple[int, ...],
    references: list[Reference],
) -> Callable[[int, Ending], Any]:
    """Runs a reference for each seed; (i, ending) → that sampler's last x (1, C, h, w), in the backend's arrays."""
    from runner.backends.base import NoiseSpec

    by_key = {reference.key: reference for reference in references}
    used = [by_key[reference.key] for reference in references]  # equal ones in one scale of x
    table = used[0].table if len(by_key) == 1 else stack([reference.table for reference in used])
    noise = NoiseSpec(seeds, plan.latent_shape, plan.recipe.noise.device == "device")
    seen: list[Any] = []

    def after_row(row: int, latents: Any) -> None:
        if row == table.rows - 2:
            seen.append(latents)

    closed = backend.denoise(parts["unet"], table, noise, conditioning, plan.guidance, after_row)
    (low,) = seen

    def ended(i: int, ending: Ending) -> Any:
        return low[i : i + 1] * (ending.low / used[i].low_scale) + closed[i : i + 1] * ending.closed

    return ended


def _deciding() -> set[str]:
    extras = {name: info.json_schema_extra for name, info in Recipe.model_fields.items()}
    return {name for name, extra in extras.items() if isinstance(extra, dict) and extra["decides_picture"]} - METHOD


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
