"""Draws a sweep's pictures again, each with the others of its batch, and compares: a whole folder, or one picture.

A picture that shared a batch with those of other recipes carries them all, so it needs no folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from runner.drawing import Made
from runner.errors import Problem, RecipeError
from runner.interrupts import InterruptGuard
from runner.manifest import differences
from runner.outputs import ImageRecord, encode_image, new_run_folder, pixel_sha256, read_pixels, unpack, write_together
from runner.plan import Pins, Planner
from runner.replay import Replay, describe_difference, load_saved, on_its_device
from runner.schema import Recipe
from runner.session import Session, Shot, Stopwatch
from runner.sweep.folder import PLAN, SweepFolder


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (folder / PLAN).is_file()


def replay_picture(path: Path, record: ImageRecord, *, check: bool) -> Replay:
    """Draws the batch of a picture again and compares the picture. Raises RecipeError where that cannot be done."""
    try:
        texts = unpack(record.together)
        if record.position >= len(texts):
            raise ValueError(f"position: {record.position} of a batch of {len(texts)}")
    except ValueError as error:
        raise RecipeError([Problem(str(path), f"the record in this picture is damaged: {error}")]) from error
    recipes = [load_saved(text, f"{path} (its recipe)") for text in texts]
    pins = Pins(threads=record.threads, device=record.device, dtype=record.dtype)
    made, lines = _Artist().draw(recipes, pins)
    new = made.drawn.pictures[record.position]
    others = len(recipes) - 1
    lines = [f"drawn again with the {others} other{'s' * (others > 1)} of its batch", *lines]
    folder = None
    if not check:
        own = replace(record, sha256=pixel_sha256(new), **made.facts)
        folder = _kept(recipes[record.position], [(path.name, encode_image(new, path.suffix[1:], own))])
    told = _told(path, new, record.sha256)
    if not told:
        return Replay(True, [*lines, "identical: every pixel of 1 image"], folder)
    then = {name: getattr(record, name) for name in made.facts}
    return Replay(False, [*lines, told, *differences(then, made.facts, list(then))], folder)


def replay_sweep(root: Path, *, check: bool) -> Replay:
    """Draws every finished batch of a sweep's folder again and compares all its pictures."""
    batches = [record for _, record in SweepFolder(root).records() if record["items"]]
    if not batches:
        raise RecipeError([Problem(str(root), "no picture of this sweep was finished, so there is nothing to compare")])
    artist, different, count, kept = _Artist(), [], 0, []
    said: dict[str, None] = {}
    for batch in batches:
        pins = Pins(threads=batch["threads"], device=batch["device"], dtype=batch["dtype"])
        texts = [item["recipe"] for item in batch["items"]]
        recipes = [
            load_saved(text, f"{root / item['file']} (its recipe)")
            for text, item in zip(texts, batch["items"], strict=True)
        ]
        made, lines = artist.draw(recipes, pins)
        said |= dict.fromkeys(lines)
        paths = [root / item["file"] for item in batch["items"]]
        for item, path, new in zip(batch["items"], paths, made.drawn.pictures, strict=True):
            count += 1
            told = _told(path, new, item["sha256"])
            different += [f"{path.name}: {told}"] if told else []
        kept += [] if check else made.files([path.name for path in paths])
    folder = _kept(recipes[0], kept) if kept else None
    if not different:
        return Replay(True, [*said, f"identical: every pixel of {count} image{'s' * (count > 1)}"], folder)
    return Replay(False, [*said, f"different: {len(different)} of {count} images", *different], folder)


class _Artist:
    """Draws batches as they were drawn, everything kept warm between them."""

    def __init__(self) -> None:
        self._session, self._planner = Session(), Planner()

    def draw(self, recipes: Sequence[Recipe], pins: Pins) -> tuple[Made, list[str]]:
        """The batch, and what to say of it."""

        def work(pins: Pins) -> Made:
            plans = [self._planner.plan(recipe, pins) for recipe in recipes]
            shots = [Shot(plan, recipe.seed) for plan, recipe in zip(plans, recipes, strict=True)]
            return Made(shots, self._session.draw(shots, watch := Stopwatch()), watch)

        with InterruptGuard():
            return on_its_device(pins, work)


def _told(path: Path, new: np.ndarray, recorded: str) -> str:
    """How a picture differs from the file, in words; empty where every pixel is the same."""
    same_drawing = pixel_sha256(new) == recorded
    if not path.is_file():
        return "" if same_drawing else "differs from what was recorded (the file itself is gone)"
    told = describe_difference(read_pixels(path), new)
    if told and same_drawing:
        return "" if path.suffix == ".jpg" else f"{told}; the replay equals what was recorded, so the file was changed"
    return told


def _kept(recipe: Recipe, files: Sequence[tuple[str, bytes]]) -> Path:
    """A new run's folder with these files."""
    folder = new_run_folder(Path(recipe.output.dir), recipe.name)
    write_together(folder, files)
    return folder
