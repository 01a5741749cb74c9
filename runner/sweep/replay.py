"""Draws a sweep's pictures again, each with the others of its batch, and compares: a whole folder, or one picture.

A picture that shared a batch with those of other recipes carries them all, so it needs no folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from runner.errors import Problem, RecipeError
from runner.interrupts import InterruptGuard
from runner.manifest import differences
from runner.outputs import ImageRecord, encode_image, new_run_folder, pixel_sha256, read_pixels, unpack, write_together
from runner.plan import Pins, Planner
from runner.provenance import versions
from runner.replay import Replay, describe_difference, load_saved
from runner.schema import Recipe
from runner.session import Session, Shot, Stopwatch
from runner.sweep.folder import BATCHES, PLAN

Draw = Callable[[Sequence[Recipe], Pins], np.ndarray]


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (folder / PLAN).is_file()


def replay_picture(path: Path, record: ImageRecord, *, check: bool) -> Replay:
    """Draws the batch of a picture again and compares the picture. Raises RecipeError where that cannot be done."""
    recipes = [load_saved(text, f"{path} (its recipe)") for text in unpack(record.together)]
    pins = Pins(threads=record.threads, device=record.device, dtype=record.dtype)
    pictures = _drawing()(recipes, pins)
    new = pictures[record.position]
    others = len(recipes) - 1
    lines = [f"drawn again with the {others} other{'s' * (others > 1)} of its batch"]
    folder = None if check else _kept(recipes[record.position], [(path, record, new)])
    told = _told(path, new, record.sha256)
    if not told:
        return Replay(True, [*lines, "identical: every pixel of 1 image"], folder)
    now = {"versions": {**versions()}}
    changes = differences({"versions": record.versions}, now, ["versions"])
    return Replay(False, [*lines, told, *changes], folder)


def replay_sweep(root: Path, *, check: bool) -> Replay:
    """Draws every finished batch of a sweep's folder again and compares all its pictures."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((root / BATCHES).glob("*.json"))]
    records = [record for record in records if record["items"]]
    if not records:
        raise RecipeError([Problem(str(root), "no picture of this sweep was finished, so there is nothing to compare")])
    draw, different, count, kept = _drawing(), [], 0, []
    recipe = None
    for record in records:
        pins = Pins(threads=record["threads"], device=record["device"], dtype=record["dtype"])
        recipes = [load_saved(item["recipe"], f"{root / item['file']} (its recipe)") for item in record["items"]]
        recipe = recipe or recipes[0]
        for item, new in zip(record["items"], draw(recipes, pins), strict=True):
            count += 1
            path = root / item["file"]
            told = _told(path, new, item["sha256"])
            different += [f"{path.name}: {told}"] if told else []
            kept += [] if check else [(path.name, _plain(new, path.suffix))]
    folder = None
    if not check and recipe is not None:
        folder = new_run_folder(Path(recipe.output.dir), recipe.name)
        write_together(folder, kept)
    if not different:
        return Replay(True, [f"identical: every pixel of {count} image{'s' * (count > 1)}"], folder)
    return Replay(False, [f"different: {len(different)} of {count} images", *different], folder)


def _drawing() -> Draw:
    """Draws batches, everything kept warm between them."""
    session, planner = Session(), Planner()

    def draw(recipes: Sequence[Recipe], pins: Pins) -> np.ndarray:
        with InterruptGuard():
            plans = [planner.plan(recipe, pins) for recipe in recipes]
            shots = [Shot(plan, recipe.seed) for plan, recipe in zip(plans, recipes, strict=True)]
            return session.draw(shots, Stopwatch()).pictures

    return draw


def _told(path: Path, new: np.ndarray, recorded: str) -> str:
    """How a picture differs from the file, in words; empty where every pixel is the same."""
    same_drawing = pixel_sha256(new) == recorded
    if not path.is_file():
        return "" if same_drawing else "differs from what was recorded (the file itself is gone)"
    told = describe_difference(read_pixels(path), new)
    if told and same_drawing:
        return "" if path.suffix == ".jpg" else f"{told}; the replay equals what was recorded, so the file was changed"
    return told


def _kept(recipe: Recipe, made: Sequence[tuple[Path, ImageRecord, np.ndarray]]) -> Path:
    folder = new_run_folder(Path(recipe.output.dir), recipe.name)
    write_together(folder, [(path.name, encode_image(new, path.suffix[1:], record)) for path, record, new in made])
    return folder


def _plain(pixels: np.ndarray, suffix: str) -> bytes:
    """A picture's file without a record."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "JPEG"}.get(suffix[1:], suffix[1:].upper()))
    return buffer.getvalue()
