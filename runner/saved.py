"""What was saved of pictures, as a replay needs it: a run's folder, a sweep's, or one picture torn out of either.

Each comes down to batches: recipes and seeds in the order in which they were drawn together, what decided the last bit,
and the files to compare with. Nothing here draws.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import manifest as manifests
from runner.compose.yaml_text import YamlError, dump, parse
from runner.errors import Problem, RecipeError
from runner.named_files import Naming, leading_here, output_words
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


def find_saved(target: Path, naming: Naming | None = None) -> Saved:
    """What lies at `target`, a folder or a picture, whose files are where `naming` says.

    Raises RecipeError where there is nothing to replay.
    """
    naming = naming or Naming()
    if not target.is_dir():
        return _from_picture(target, naming)
    words = [f"{key}={path}" for key, path in naming.said.items()]
    return _from_sweep(target, words) if (target / PLAN).is_file() else _from_run(target, words)


def _from_run(folder: Path, words: Sequence[str]) -> Saved:
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
    return _of_run(_load(folder / "recipe.yaml", words), pins, images, manifest)


def _from_picture(path: Path, naming: Naming) -> Saved:
    try:
        record = read_record(path)
    except PictureError as error:
        what = str(error).removeprefix(f"{path}: ")
        raise RecipeError([Problem(str(path), what if path.exists() else "there is no such file or folder")]) from error
    environment = {name: getattr(record, name) for name in ENVIRONMENT if hasattr(record, name)}
    shown = f"{path} (its recipe)"
    texts = _together(path, record) if record.together else [record.recipe]
    recipes = [_load_text(text, shown, _words(text, record, naming, shown)) for text in texts]
    notes = tuple(dict.fromkeys(naming.notes))
    if not record.together:
        pins = Pins((record.batch,), record.threads, record.device, record.dtype)
        return _of_run(recipes[0], pins, {record.index: (path, record.sha256)}, environment, notes)
    others = len(recipes) - 1
    batch = SavedBatch(
        recipes,
        [recipe.seed for recipe in recipes],
        Pins(threads=record.threads, device=record.device, dtype=record.dtype),
        {record.position: (path, record.sha256)},
        environment,
    )
    return Saved([batch], notes=(*notes, f"drawn again with the {others} other{'s' * (others > 1)} of its batch"))


def _words(text: str, record: ImageRecord, naming: Naming, shown: str) -> list[str]:
    """What is set over a picture's recipe: where its files are on this machine, and a folder here to write to."""
    try:
        data = parse(text).data
    except YamlError:
        return []  # told, with its line, when it is composed
    if "defaults" in data:
        raise RecipeError([Problem(shown, "builds on other recipes, which one that was saved does not")])
    return naming.words(data, record.files, shown) + output_words(data)


def _together(path: Path, record: ImageRecord) -> list[str]:
    try:
        texts = unpack(record.together)
        if record.position >= len(texts):
            raise ValueError(f"position: {record.position} of a batch of {len(texts)}")
    except ValueError as error:
        raise RecipeError([Problem(str(path), f"the record in this picture is damaged: {error}")]) from error
    return texts


def _from_sweep(root: Path, words: Sequence[str]) -> Saved:
    records = [record for _, record in SweepFolder(root).records() if record["items"]]
    if not records:
        raise RecipeError([Problem(str(root), "no picture of this sweep was finished, so there is nothing to compare")])
    return Saved([_batch_of_sweep(root, record, words) for record in records])


def _batch_of_sweep(root: Path, record: Mapping[str, Any], words: Sequence[str]) -> SavedBatch:
    items = record["items"]
    recipes = [_load_text(item["recipe"], f"{root / item['file']} (its recipe)", words, root) for item in items]
    return SavedBatch(
        recipes,
        [recipe.seed for recipe in recipes],
        Pins(threads=record["threads"], device=record["device"], dtype=record["dtype"]),
        {number: (root / item["file"], item["sha256"]) for number, item in enumerate(items)},
        record,
    )


def _of_run(
    recipe: Recipe,
    pins: Pins,
    images: Mapping[int, tuple[Path, str]],
    environment: Mapping[str, Any],
    notes: tuple[str, ...] = (),
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
    return Saved(batches, run=(recipe, pins), notes=notes)


def _load_text(text: str, shown: str, words: Sequence[str], folder: Path | None = None) -> Recipe:
    """A recipe from its saved text, which lay in `folder`; `shown` stands for it in messages."""
    if folder is not None:
        with suppress(YamlError):
            data = parse(text).data
            here = leading_here(data, folder)
            text = text if here is data else dump(here)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        file = Path(scratch) / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return _load(file, words, shown)


def _load(file: Path, words: Sequence[str], shown: str | None = None) -> Recipe:
    """The recipe a run saved: complete, so that nothing but the file itself has a say."""
    from runner.compose import load_file

    try:
        return load_file(file, words).jobs[0].recipe
    except RecipeError as error:
        if shown is None:
            raise
        problems = [
            Problem(p.where.replace(str(file), shown), p.what, p.allowed, p.nearest, p.hint) for p in error.problems
        ]
        raise RecipeError(problems) from error
