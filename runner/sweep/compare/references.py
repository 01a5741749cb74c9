"""References computed, in batches, and kept: each is found again by what it depends on, so a rerun computes none twice.

Each is solved with so many steps and with twice as many. The second is the reference; the distance between the two is
its uncertainty, the floor under which no error means anything.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.regular_files import LATENTS, read_bytes
from components.schedulers import Tableau
from components.schedulers.equation import Kind
from runner.outputs import write_together
from runner.progress import Counted
from runner.provenance import FileSums
from runner.schema import Recipe, marks
from runner.session import Session, Shot, Stopwatch
from runner.sweep.compare.reference_tables import ode_reference, reference_key, sde_reference
from runner.sweep.compare.similarity import relative_l2
from runner.sweep.identity import pin

if TYPE_CHECKING:
    from runner.plan import Plan
    from runner.progress import Speaker

METHOD = {"scheduler", "schedule", "steps", "seed", "num_images", "batch_size", "backend"}
"""Keys that say how an equation is solved, or of which image, or by what means, and not which equation."""
SDE_STEPS = 2
"""Of an SDE's reference for each of an ODE's: it is solved at order 1, not 3."""
PIXELS_AT_ONCE, MOST_AT_ONCE, LEAST_AT_ONCE = 4 * 64 * 64, 16, 4
"""Of latents computed together, where the recipe does not say how many images."""


def reference_pair(scheduler: Any, table: Tableau, kind: Kind, steps: int) -> tuple[Tableau, Tableau]:
    """(coarse, fine) tables of the equation of this kind, "ode" or "sde", that a sampler's table approximates."""
    if kind == "ode":
        return ode_reference(scheduler, table, steps), ode_reference(scheduler, table, 2 * steps)
    return sde_reference(scheduler, table, SDE_STEPS * steps), sde_reference(scheduler, table, 2 * SDE_STEPS * steps)


@dataclass(frozen=True, eq=False)
class Wanted:
    """The solution that one image of a sampler approximates: its plan with two other tables, and its seed."""

    plan: Plan
    seed: int
    coarse: Tableau
    fine: Tableau

    @cached_property
    def means(self) -> tuple[Any, ...]:
        """What images computed together must have in common."""
        plan, backend = self.plan, self.plan.recipe.backend.model_dump_json()
        source, noise = plan.recipe.checkpoint.files, plan.recipe.noise.device
        return source, backend, noise, plan.latent_shape, plan.guidance.doubles, self.coarse.rows, self.fine.rows

    @cached_property
    def key(self) -> str:
        """A name for the solution: of the same equation, seed, course and means there is only one."""
        plan = self.plan
        values = {name: value for name, value in plan.recipe.said("json").items() if name in _deciding()}
        tables = reference_key(self.coarse), reference_key(self.fine)
        text = json.dumps([values, plan.latent_shape, plan.recipe.backend.name, plan.dtype, self.seed, *tables])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Solved:
    """A reference: latents (C, h, w) float32, how sure they are (relative L2), and the picture they decode to."""

    latents: np.ndarray
    floor: float
    picture: Path


class References:
    """References under a folder, computed where they are missing."""

    def __init__(self, folder: Path, session: Session, speaker: Speaker) -> None:
        self.folder, self.session, self.speaker = folder, session, speaker
        self._sums = FileSums()

    def solve(self, wanted: Sequence[Wanted]) -> list[Solved]:
        """The solutions, in the order asked for. Batches that are done are kept when a later one is stopped."""
        names = [self._name(want) for want in wanted]
        missing = {name: want for name, want in zip(names, wanted, strict=True) if not self._kept(name)}
        total = sum(want.coarse.rows + want.fine.rows for want in missing.values())
        speak, shown = self.speaker.speak, self.speaker.shown
        progress = Counted("reference solutions", len(missing), total, speak=speak, shown=shown)
        for batch in _batches(missing):
            self._compute(batch, progress)
            progress.pictures_done(len(batch))
        progress.close()
        return [self._read(name) for name in names]

    def _name(self, want: Wanted) -> str:
        """Of its files: the checkpoint counts by what its files hold, not by where they lie."""
        return hashlib.sha256(f"{want.key} {pin(want.plan, self._sums)}".encode()).hexdigest()[:24]

    def _kept(self, name: str) -> bool:
        return all((self.folder / f"{name}.{kind}").is_file() for kind in ("npz", "png"))

    def _read(self, name: str) -> Solved:
        with np.load(io.BytesIO(read_bytes(self.folder / f"{name}.npz", LATENTS))) as arrays:
            return Solved(arrays["latents"], float(arrays["floor"]), self.folder / f"{name}.png")

    def _compute(self, batch: Mapping[str, Wanted], progress: Counted) -> None:
        """Solves a batch coarsely and finely, and keeps it."""
        coarse, fine = (self._draw(batch.values(), which, progress) for which in ("coarse", "fine"))
        files = []
        for i, name in enumerate(batch):
            x = fine.backend.to_numpy(fine.latents[i])
            floor = relative_l2(coarse.backend.to_numpy(coarse.latents[i]), x)
            files += [
                (f"{name}.png", _png(fine.pictures[i])),
                (f"{name}.npz", _npz(latents=x, floor=np.float64(floor))),
            ]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_together(self.folder, files)

    def _draw(self, wanted: Any, which: str, progress: Counted) -> Any:
        tables: dict[str, Tableau] = {}  # equal ones are one, which need no stack
        shots = []
        for want in wanted:
            table = getattr(want, which)
            table = tables.setdefault(reference_key(table), table)
            shots.append(Shot(replace(want.plan, tableau=table), want.seed))
        return self.session.draw(shots, Stopwatch(), progress.say, lambda row: progress.row_done(len(shots)))


def _batches(missing: Mapping[str, Wanted]) -> Iterator[dict[str, Wanted]]:
    groups: dict[tuple[Any, ...], list[tuple[str, Wanted]]] = {}
    for name, want in missing.items():
        groups.setdefault(want.means, []).append((name, want))
    for group in groups.values():
        plan = group[0][1].plan
        _, height, width = plan.latent_shape
        fitting = min(MOST_AT_ONCE, max(LEAST_AT_ONCE, PIXELS_AT_ONCE // (height * width)))
        size = plan.recipe.batch_size or fitting
        for first in range(0, len(group), size):
            yield dict(group[first : first + size])


def _deciding() -> set[str]:
    return {name for name, info in Recipe.model_fields.items() if marks(info)["decides_picture"]} - METHOD


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
