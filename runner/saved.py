"""What was saved of pictures, as a replay needs it: a run's folder, a sweep's, or one picture torn out of either.

Each comes down to batches: recipes and seeds in the order in which they were drawn together, what decided the last bit,
and the files to compare with. Nothing here draws.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import manifest as manifests
from runner.errors import Problem, RecipeError
from runner.outputs import ImageRecord, checked, read_record, read_saved, unpack
from runner.pictures import PictureError
from runner.plan import Pins
from runner.sweep.folder import PLAN, SweepFolder

if TYPE_CHECKING:
    from runner.schema import Recipe

ENVIRONMENT = ("device", "dtype", "threads", "numerics", "machine", "versions", "checkpoint")


@dataclass(frozen=True)
class SavedBatch:
    """Pictures that were drawn together. `files`: of those to compare, number in the batch → file and sha256 of its
    pixels as drawn; `environment`: what was noted of the machine, by the names of a manifest."""

    recipes: Sequence[Recipe]
    seeds: Sequence[int]
    pins: Pins
    files: Mapping[int, tuple[Path, str]]
    environment: Mapping[str, Any]

    @property
    def numerics(self) -> int:
        """The program's number of then (provenance.NUMERICS)."""
        return self.environment.get("numerics", 1)


@dataclass(frozen=True)
class Saved:
    """What was found. `run`: the recipe and partition, where all of it is of one run; `notes` say what it was."""

    batches: Sequence[SavedBatch]
    run: tuple[Recipe, Pins] | None = None
    notes: tuple[str, ...] = ()


def find_saved(target: Path) -> Saved:
    """What lies at `target`, a folder or a picture. Raises RecipeError where there is nothing to replay."""
    if not target.is_dir():
        return _from_picture(target)
    return _from_sweep(target) if (target / PLAN).is_file() else _from_run(target)


def _from_run(folder: Path) -> Saved:
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
    images = {image.index: (folder / image.file, image.sha256) for image in made.images}
    batches = tuple(batch for batch in made.batches if images.keys() >= set(batch))
    if not batches:
        raise RecipeError([Problem(str(folder), "no picture of this run was finished, so there is nothing to compare")])
    pins = Pins(batches, made.threads, made.device, made.dtype)
    return _of_run(_load(folder / "recipe.yaml"), pins, images, manifest)


def _from_picture(path: Path) -> Saved:
    try:
        record = read_record(path)
    except PictureError as error:
        what = str(error).removeprefix(f"{path}: ")
        raise RecipeError([Problem(str(path), what if path.exists() else "there is no such file or folder")]) from error
    environment = {name: getattr(record, name) for name in ENVIRONMENT if hasattr(record, name)}
    if not record.together:
        pins = Pins((record.batch,), record.threads, record.device, record.dtype)
        recipe = _load_text(record.recipe, f"{path} (its recipe)")
        return _of_run(recipe, pins, {record.index: (path, record.sha256)}, environment)
    recipes = [_load_text(text, f"{path} (its recipe)") for text in _together(path, record)]
    others = len(recipes) - 1
    batch = SavedBatch(
        recipes,
        [recipe.seed for recipe in recipes],
        Pins(threads=record.threads, device=record.device, dtype=record.dtype),
        {record.position: (path, record.sha256)},
        environment,
    )
    return Saved([batch], notes=(f"drawn again with the {others} other{'s' * (others > 1)} of its batch",))


def _together(path: Path, record: ImageRecord) -> list[str]:
    try:
        texts = unpack(record.together)
        if record.position >= len(texts):
            raise ValueError(f"position: {record.position} of a batch of {len(texts)}")
    except ValueError as error:
        raise RecipeError([Problem(str(path), f"the record in this picture is damaged: {error}")]) from error
    return texts


def _from_sweep(root: Path) -> Saved:
    records = [record for _, record in SweepFolder(root).records() if record["items"]]
    if not records:
        raise RecipeError([Problem(str(root), "no picture of this sweep was finished, so there is nothing to compare")])
    return Saved([_batch_of_sweep(root, record) for record in records])


def _batch_of_sweep(root: Path, record: Mapping[str, Any]) -> SavedBatch:
    items = record["items"]
    recipes = [_load_text(item["recipe"], f"{root / item['file']} (its recipe)") for item in items]
    return SavedBatch(
        recipes,
        [recipe.seed for recipe in recipes],
        Pins(threads=record["threads"], device=record["device"], dtype=record["dtype"]),
        {number: (root / item["file"], item["sha256"]) for number, item in enumerate(items)},
        record,
    )


def _of_run(
    recipe: Recipe, pins: Pins, images: Mapping[int, tuple[Path, str]], environment: Mapping[str, Any]
) -> Saved:
    """The batches of one run, whose pictures are known by their index."""
    batches = [
        SavedBatch(
            [recipe] * len(indices),
            [recipe.seed + index for index in indices],
            pins,
            {number: images[index] for number, index in enumerate(indices) if index in images},
            environment,
        )
        for indices in pins.batches or ()
    ]
    return Saved(batches, run=(recipe, pins))


def _load_text(text: str, shown: str) -> Recipe:
    """A recipe from its saved text; `shown` stands for it in messages."""
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        file = Path(scratch) / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return _load(file, shown=shown)


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
