"""Makes pictures again from what was saved with them, and says whether every pixel is the same.

The batch, the thread count, the device and the dtype are taken from the record, because they decide the last bit.
What was drawn with other numerics than this program's (provenance.NUMERICS) is compared within 1 of 255.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner import manifest as manifests
from runner.drawing import Made, Worker
from runner.errors import RecipeError
from runner.execute import RunFolder, raise_explained
from runner.interrupts import InterruptGuard
from runner.named_files import Naming
from runner.outputs import new_run_folder, pixel_sha256, read_pixels, save_jpeg, write_together
from runner.plan import Pins, Plan, Planner
from runner.progress import Counted
from runner.provenance import NUMERICS, machine
from runner.saved import ENVIRONMENT, Saved, SavedBatch, find_saved
from runner.session import Shot
from runner.sweep.partition import Together


@dataclass(frozen=True)
class Replay:
    """What came of it. `lines` say it in words; `folder` has the new pictures, None after a mere check."""

    identical: bool
    lines: list[str]
    folder: Path | None = None


def replay(
    target: Path,
    *,
    check: bool,
    progress: bool = True,
    words: Sequence[str] = (),
    look_in: Path | None = None,
) -> Replay:
    """Draws again what made `target`, a run's or a sweep's folder or a picture, and compares.

    Args:
        check: only say whether it is the same; the new pictures are thrown away. Otherwise they stay in a new folder.
        words: `checkpoint.repo=FOLDER`: where files are that the recipe names. look_in: a folder in which those of a
            picture's recipe are found by their sizes and sums.

    Raises:
        RecipeError: there is nothing here to replay, or the saved recipe cannot run on this machine.
        RunError: the work failed.
    """
    saved = find_saved(target, Naming(words, look_in))
    with InterruptGuard() as guard:
        again = _Again(saved, check)
        reporter = Counted("pictures", len(again.pictures), again.evaluations, speak=progress)
        worker = Worker(
            again,
            after_row=lambda row, pictures: reporter.row_done(pictures),
            after_batch=lambda batch: reporter.pictures_done(len(batch.items)),
            say=reporter.say,
            uninterrupted=guard.uninterrupted,
        )
        try:
            for batch in again.batches:
                worker.do(batch)
        finally:
            reporter.close()
    return again.told()


class _Again:
    """Saved batches as a worker's place: what it draws is compared, and kept where that is wanted."""

    def __init__(self, saved: Saved, check: bool) -> None:
        self.saved, self.planner = saved, Planner()
        self.device: str | None = None  # instead of the one of then, which is not here
        self.batches = [
            Together(str(number), tuple(map(str, range(len(batch.seeds)))), batch.pins.threads or 1)
            for number, batch in enumerate(saved.batches)
        ]
        self.pictures = [one for batch in saved.batches for one in batch.seeds]
        self.plans = [self._plans(batch) for batch in saved.batches]
        self.evaluations = sum(plan.tableau.nfe for plans in self.plans for plan in plans)
        self.run = None if check or saved.run is None else RunFolder(self.planner.plan(*saved.run), None)
        self.kept: list[tuple[str, bytes]] | None = None if check or saved.run else []
        others = sorted({str(batch.numerics) for batch in saved.batches} - {str(NUMERICS)})
        self.same = "identical within 1 of 255" if others else "identical"
        told = [f"drawn with numerics {one}, here {NUMERICS}: compared within 1 of 255" for one in others]
        self.lines: list[str] = [*saved.notes, *told]
        self.different: list[str] = []
        self.changes: dict[str, None] = {}

    def _plans(self, batch: SavedBatch) -> list[Plan]:
        pins = Pins(None, batch.pins.threads, self.device or batch.pins.device, batch.pins.dtype)
        return [self.planner.plan(recipe, pins) for recipe in batch.recipes]

    def claim(self, batch: Together) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def is_over(self, batch: Together) -> bool:
        return False

    def shots(self, batch: Together) -> list[Shot]:
        number = int(batch.id)
        plans = self._plans(self.saved.batches[number]) if self.device else self.plans[number]
        return [Shot(plan, seed) for plan, seed in zip(plans, self.saved.batches[number].seeds, strict=True)]

    def failed(self, batch: Together, error: Exception, worker: Worker) -> None:
        """A device that is not here is replaced by another, which is said; anything else ends the replay."""
        shots, absent = self.shots(batch), self.saved.batches[int(batch.id)].pins.device
        wheres = [problem.where for problem in error.problems] if isinstance(error, RecipeError) else []
        if self.device or wheres != ["backend.device"]:
            raise_explained(error, shots[0].plan, len(shots))
        self.device = "auto"
        self.lines.append(f"the device {absent} is not on this machine: run on another, so pixels may differ")
        worker.do(batch)

    def commit(self, batch: Together, made: Made) -> None:
        """Compares the pictures that there are files of."""
        before = self.saved.batches[int(batch.id)]
        found = {
            path: told
            for number, (path, recorded) in before.files.items()
            if (told := _difference(path, made, number, recorded, 0 if before.numerics == NUMERICS else 1))
        }
        self.different += [f"{path.name}: {told}" for path, told in found.items()]
        if found:
            self.changes |= dict.fromkeys(_changes(before.environment, made))
        if self.run:
            self.run.commit(batch, made)
        elif self.kept is not None:
            files = made.files([_name(before.files.get(number)) for number in range(len(made.shots))])
            self.kept += [files[number] for number in before.files]

    def told(self) -> Replay:
        """What came of it all."""
        folder = self.run.finish().folder if self.run else None
        if self.kept:
            recipe = self.saved.batches[0].recipes[0]
            folder = new_run_folder(Path(recipe.output.dir), recipe.name)
            write_together(folder, self.kept)
        count = sum(len(batch.files) for batch in self.saved.batches)
        images = f"{count} image{'s' * (count > 1)}"
        if not self.different:
            return Replay(True, [*self.lines, f"{self.same}: every pixel of {images}"], folder)
        lines = [*self.lines, f"different: {len(self.different)} of {images}", *self.different]
        return Replay(False, [*lines, *(self.changes or ["nothing is known to have changed since"])], folder)


def _name(file: tuple[Path, str] | None) -> str:
    """Of the new picture: as the old one is called; of one that is not kept, whatever can be encoded."""
    return "picture.png" if file is None else f"{file[0].stem}.{_ending(file[0])}"


def _ending(path: Path) -> str:
    ending = path.suffix[1:].lower()
    return {"jpeg": "jpg"}.get(ending, ending if ending in ("png", "jpg", "webp") else "png")


def _difference(path: Path, made: Made, number: int, recorded: str, within: int) -> str:
    """How a picture drawn again differs from the file, in words; empty where no pixel does by more than `within`."""
    new = made.drawn.pictures[number]
    same_drawing = pixel_sha256(new) == recorded
    if not path.is_file():
        return "" if same_drawing else "differs from what was recorded (the file itself is gone)"
    told = describe_difference(read_pixels(path), _as_saved(new, _ending(path)), within)
    if told and same_drawing:
        told += "; the replay equals what was recorded, so the file was changed after it was made"
    return told


def _as_saved(pixels: np.ndarray, ending: str) -> np.ndarray:
    """Pixels as they come back out of a file of this format."""
    if ending != "jpg":
        return pixels
    from PIL import Image

    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        save_jpeg(Image.fromarray(pixels), file)
        file.flush()
        return read_pixels(Path(file.name))


def _changes(then: Mapping[str, Any], made: Made) -> list[str]:
    """What is known to be otherwise than it was."""
    now = {**made.facts, "machine": machine()}
    lines = manifests.differences(then, now, [key for key in ENVIRONMENT if key in then and key in now])
    if isinstance(then.get("checkpoint"), Mapping):
        lines += _weight_changes(then["checkpoint"], manifests.describe_checkpoint(made.shots[0].plan))
    return lines


def describe_difference(old: np.ndarray, new: np.ndarray, within: int = 0) -> str:
    """How two pictures (H, W, 3) differ, in words; empty where no pixel does by more than `within`, of 255."""
    if old.shape != new.shape:
        return f"was {old.shape[1]}×{old.shape[0]} pixels, is now {new.shape[1]}×{new.shape[0]}"
    gap = np.abs(old.astype(int) - new.astype(int)).max(axis=-1)
    if gap.max() <= within:
        return ""
    return f"{np.count_nonzero(gap)} of {gap.size} pixels differ, by at most {gap.max()} of 255"


def _weight_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Components whose files are not the ones of then."""
    before, after = old.get("components", {}), new["components"]
    changed = [name for name, entry in after.items() if entry["sha256"] != before.get(name, {}).get("sha256")]
    return [f"checkpoint: other files for {', '.join(changed)}"] if changed else []
