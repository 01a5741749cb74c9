"""Makes a run, or one picture of it, again from what was saved with it, and says whether every pixel is the same.

A run's folder has its recipe and manifest; a picture torn out of its folder carries both in itself. The batch, the
thread count, the device and the dtype are taken from the record, because they decide the last bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from runner import manifest as manifests
from runner.errors import Problem, RecipeError
from runner.execute import RunResult, execute
from runner.outputs import ImageRecord, checked, read_pixels, read_record, read_saved
from runner.pictures import PictureError
from runner.plan import Pins

if TYPE_CHECKING:
    from runner.schema import Recipe

T = TypeVar("T")
ENVIRONMENT = ("device", "dtype", "threads", "machine", "versions")


@dataclass(frozen=True)
class Replay:
    """What came of it. `lines` say it in words; `folder` has the new pictures, None after a mere check."""

    identical: bool
    lines: list[str]
    folder: Path | None = None


@dataclass(frozen=True)
class _Saved:
    """What was found: the recipe, what to pin, the environment then, and the pictures to compare with.

    `pictures` maps an image's index to its file, `sums` to the sha256 of its pixels as they were drawn.
    """

    recipe: Recipe
    pins: Pins
    environment: Mapping[str, Any]
    pictures: Mapping[int, Path]
    sums: Mapping[int, str]


def replay(target: Path, *, check: bool, progress: bool = True) -> Replay:
    """Runs again what made `target`, a run's folder or a picture, and compares.

    Args:
        check: only say whether it is the same; the new pictures are thrown away. Otherwise they stay in a new folder.

    Raises:
        RecipeError: there is nothing here to replay, or the saved recipe cannot run on this machine.
    """
    if target.is_dir():
        from runner.sweep.replay import is_sweep, replay_sweep

        if is_sweep(target):
            return replay_sweep(target, check=check)
        saved = _from_folder(target)
    else:
        record = _record(target)
        if record.together:
            from runner.sweep.replay import replay_picture

            return replay_picture(target, record, check=check)
        saved = _from_picture(target, record)
    if not check:
        result, lines = _again(saved, None, progress)
        return _compare(saved, result, lines, result.folder)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        return _compare(saved, *_again(saved, Path(scratch), progress), None)


def _from_folder(folder: Path) -> _Saved:
    path = folder / manifests.NAME
    try:
        manifest = read_saved(path)
        made = checked(manifests.SavedRun, manifest)
    except FileNotFoundError:
        hint = "name the folder that a run printed last, or one of its pictures"
        raise RecipeError([Problem(str(folder), f"has no {manifests.NAME}, so no run to replay", hint=hint)]) from None
    except ValueError as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError([Problem(str(path), f"is damaged: {error}")]) from error
    images = {image.index: image for image in made.images}
    batches = tuple(batch for batch in made.batches if images.keys() >= set(batch))
    pins = Pins(batches, made.threads, made.device, made.dtype)
    if not batches:
        raise RecipeError([Problem(str(folder), "no picture of this run was finished, so there is nothing to compare")])
    return _Saved(
        recipe=_load(folder / "recipe.yaml"),
        pins=pins,
        environment=manifest,
        pictures={index: folder / image.file for index, image in images.items()},
        sums={index: image.sha256 for index, image in images.items()},
    )


def _record(path: Path) -> ImageRecord:
    try:
        return read_record(path)
    except PictureError as error:
        what = str(error).removeprefix(f"{path}: ")
        raise RecipeError([Problem(str(path), what if path.exists() else "there is no such file or folder")]) from error


def load_saved(text: str, shown: str) -> Recipe:
    """A recipe from its saved text; `shown` stands for it in messages. Raises RecipeError."""
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        file = Path(scratch) / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return _load(file, shown=shown)


def _from_picture(path: Path, record: ImageRecord) -> _Saved:
    return _Saved(
        recipe=load_saved(record.recipe, f"{path} (its recipe)"),
        pins=Pins((record.batch,), record.threads, record.device, record.dtype),
        environment={name: getattr(record, name) for name in ENVIRONMENT if hasattr(record, name)},
        pictures={record.index: path},
        sums={record.index: record.sha256},
    )


def _load(file: Path, shown: str | None = None) -> Recipe:
    """The recipe a run saved: complete, so that nothing but the file itself has a say."""
    from runner.compose import load_file

    try:
        return load_file(file).jobs[0].recipe
    except RecipeError as error:
        if shown is None:
            raise
        problems = [
            Problem(p.where.replace(str(file), shown), p.what, p.allowed, p.nearest, p.hint) for p in error.problems
        ]
        raise RecipeError(problems) from error


def _again(saved: _Saved, folder: Path | None, progress: bool) -> tuple[RunResult, list[str]]:
    """The run repeated, and what to say of it."""
    return on_its_device(saved.pins, lambda pins: execute(saved.recipe, folder=folder, progress=progress, pins=pins))


def on_its_device(pins: Pins, work: Callable[[Pins], T]) -> tuple[T, list[str]]:
    """Work done on the device of then where it is here; else on another, and a sentence that says so."""
    try:
        return work(pins), []
    except RecipeError as error:
        if [problem.where for problem in error.problems] != ["backend.device"]:
            raise
    line = f"the device {pins.device} is not on this machine: run on another, so pixels may differ"
    return work(replace(pins, device="auto")), [line]


def _compare(saved: _Saved, result: RunResult, lines: list[str], folder: Path | None) -> Replay:
    """Old pictures against new ones, pixel by pixel."""
    new_entries = {entry["index"]: entry for entry in result.manifest["images"]}
    new_paths = {entry["index"]: path for entry, path in zip(result.manifest["images"], result.images, strict=True)}
    different = []
    for index, path in saved.pictures.items():
        same_drawing = new_entries[index]["sha256"] == saved.sums[index]
        if not path.is_file():
            if not same_drawing:
                different.append(f"{path.name}: differs from what was recorded (the file itself is gone)")
            continue
        told = describe_difference(read_pixels(path), read_pixels(new_paths[index]))
        if told and same_drawing:
            told += "; the replay equals what was recorded, so the file was changed after it was made"
        if told:
            different.append(f"{path.name}: {told}")
    count = len(saved.pictures)
    if not different:
        return Replay(True, [*lines, f"identical: every pixel of {count} image{'s' * (count > 1)}"], folder)
    changes = manifests.differences(
        saved.environment, result.manifest, [k for k in ENVIRONMENT if k in saved.environment]
    )
    if isinstance(saved.environment.get("checkpoint"), Mapping):
        changes += _weight_changes(saved.environment["checkpoint"], result.manifest["checkpoint"])
    lines = [*lines, f"different: {len(different)} of {count} image{'s' * (count > 1)}", *different]
    return Replay(False, [*lines, *(changes or ["nothing is known to have changed since"])], folder)


def describe_difference(old: np.ndarray, new: np.ndarray) -> str:
    """How two pictures (H, W, 3) differ, in words; empty when they do not."""
    if old.shape != new.shape:
        return f"was {old.shape[1]}×{old.shape[0]} pixels, is now {new.shape[1]}×{new.shape[0]}"
    gap = np.abs(old.astype(int) - new.astype(int)).max(axis=-1)
    if not gap.any():
        return ""
    return f"{np.count_nonzero(gap)} of {gap.size} pixels differ, by at most {gap.max()} of 255"


def _weight_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Components whose files are not the ones of then."""
    before, after = old.get("components", {}), new["components"]
    changed = [name for name, entry in after.items() if entry["sha256"] != before.get(name, {}).get("sha256")]
    return [f"checkpoint: other files for {', '.join(changed)}"] if changed else []
