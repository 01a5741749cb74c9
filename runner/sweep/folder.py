"""A sweep's folder: what is planned, what is done, what failed, and who is at which batch. Every file whole or absent.

    plan.json          what the latest command wants, and the batches in which what is missing of it will be drawn
    images/            the pictures
    latents/           what they were decoded from, where the recipe compares
    batches/ID.json    written last: a batch counts as done when this is there
    failures/ITEM.json what went wrong with a picture that is not there
    .claims/           one lock a batch, held by the process that draws it; a process that dies lets go

Nothing here draws or plans; any number of processes may share a folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.regular_files import RECORD
from runner.errors import Problem, RecipeError
from runner.outputs import read_saved, to_json, write_atomically
from runner.schema import Recipe
from runner.sweep.partition import Item, Together, partition
from runner.sweep.results import Failure, ImageResult, SweepResults
from runner.sweep.scores import LATENTS, read_scores

FORMAT = 1
PLAN, IMAGES, BATCHES, FAILURES, CLAIMS = "plan.json", "images", "batches", "failures", ".claims"


@dataclass
class SweepPlan:
    """plan.json: what the latest command wants. wanted: ids of its pictures, in order; axes: its varied keys with their
    values; items: id → label, varied, index, nfe, steps and recipe; batches: of the pictures still to be drawn.
    order: ids of all batches ever planned here, so that a part of a sweep (`share`) is the same one while others go on.
    """

    name: str
    axes: dict[str, list[Any]]
    wanted: list[str]
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: dict[str, Together] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def recipe(self, item: str) -> Recipe:
        """The recipe that draws this picture alone."""
        return Recipe.model_validate(self.items[item]["recipe"])

    def share(self, part: str | None) -> list[Together]:
        """The batches of the i-th of n parts ("i/n"), all without one. Raises RecipeError for a part there is not."""
        if part is None:
            return list(self.batches.values())
        number, parts = map(int, part.split("/"))
        if number > parts:
            hint = f"from 1/{parts} to {parts}/{parts}"
            raise RecipeError([Problem("shard", f"there is no part {number} of {parts}", hint=hint)])
        return [self.batches[name] for name in self.order[number - 1 :: parts] if name in self.batches]


class SweepFolder:
    """One sweep's folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, dict[str, Any]] = {}

    # ---- planning ----------------------------------------------------------------------------------------------------

    def adopt(self, name: str, axes: Mapping[str, Sequence[Any]], items: Sequence[Item]) -> SweepPlan:
        """Takes up a command: what it wants that is neither drawn nor planned yet is given batches; saves the plan.

        A batch that was planned before, is not drawn and is wanted whole stays as it is, because the partition decides
        the last bit. What failed before is tried again; what lacks a package fails at once.
        """
        with self.locked("plan"):
            earlier = self.plan() if (self.root / PLAN).is_file() else SweepPlan(name, {}, [])
            items = self._as_known(items, earlier)
            before = earlier.batches | self._taken_back({item.id: item for item in items})
            drawn = self.drawn()
            missing = {item.id: item for item in items if item.id not in drawn}
            kept = {name: batch for name, batch in before.items() if missing.keys() >= set(batch.items)}
            planned = {item for batch in kept.values() for item in batch.items}
            fresh = partition([item for key, item in missing.items() if key not in planned and not item.lacks])
            batches = kept | {batch.id: batch for batch in fresh}
            plan = SweepPlan(
                name=name,
                axes={key: list(values) for key, values in axes.items()},
                wanted=list(dict.fromkeys(item.id for item in items)),
                items={item.id: _entry(item) for item in items},
                batches=batches,
                order=list(dict.fromkeys([*earlier.order, *batches])),
            )
            for item in missing:
                (self.root / FAILURES / f"{item}.json").unlink(missing_ok=True)
            self.save(plan)
            for item in missing.values():
                if item.lacks:
                    self.fail(item.id, item.lacks)
        return plan

    def as_known(self, items: Sequence[Item]) -> list[Item]:
        """The items, those that an older version has drawn or planned here by the ids that they have here."""
        return self._as_known(items, self.plan() if (self.root / PLAN).is_file() else SweepPlan("", {}, []))

    def _as_known(self, items: Sequence[Item], earlier: SweepPlan) -> list[Item]:
        known = {image["id"] for _, record in self.records() for image in record["items"]}
        known |= {one for batch in earlier.batches.values() for one in batch.items}
        return [
            replace(item, id=item.former) if item.former in known and item.id not in known else item for item in items
        ]

    def _taken_back(self, wanted: Mapping[str, Item]) -> dict[str, Together]:
        """Forgets records that no longer hold: of batches that were split because they failed, and of those, wanted
        whole, whose pictures were deleted or lack latents to compare; these are returned, to be drawn as they were."""
        lost = {}
        for name, record in list(self.records()):
            ids = tuple(image["id"] for image in record["items"])
            files = [self.root / image["file"] for image in record["items"]]
            compared = (one for one in ids if one in wanted and wanted[one].recipe.compare is not None)
            files += [self.root / LATENTS / f"{one}.npy" for one in compared]
            if ids and (all(file.is_file() for file in files) or not wanted.keys() >= set(ids)):
                continue
            if ids:
                lost[name] = Together(name, ids, record["threads"])
            (self.root / BATCHES / f"{name}.json").unlink()
            del self._read[name]
        return lost

    def plan(self) -> SweepPlan:
        """What is planned here. Raises RecipeError where there is no sweep, or its plan is damaged."""
        path = self.root / PLAN
        try:
            found = read_saved(path)
            batches = {b["id"]: Together(b["id"], tuple(b["items"]), b["threads"]) for b in found["batches"]}
            return SweepPlan(found["name"], found["axes"], found["wanted"], found["items"], batches, found["order"])
        except FileNotFoundError:
            hint = "name the folder that a sweep printed last"
            raise RecipeError(
                [Problem(str(self.root), f"has no {PLAN}, so there is no sweep here", hint=hint)]
            ) from None
        except RecipeError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecipeError([Problem(str(path), f"is damaged ({type(error).__name__}: {error})")]) from error

    def save(self, plan: SweepPlan) -> None:
        batches = [{"id": b.id, "items": list(b.items), "threads": b.threads} for b in plan.batches.values()]
        data = {
            "format": FORMAT,
            "name": plan.name,
            "axes": plan.axes,
            "wanted": plan.wanted,
            "batches": batches,
            "order": plan.order,
            "items": plan.items,
        }
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > RECORD.limit:
            hint = "divide it into sweeps of their own folders, named by output.sweep"
            raise RecipeError([Problem("the sweep", f"its {PLAN} would be larger than any that is read", hint=hint)])
        write_atomically(self.root / PLAN, text)

    # ---- what is done ------------------------------------------------------------------------------------------------

    def drawn(self) -> set[str]:
        """Ids of the pictures that are drawn and still there."""
        found = (image for _, record in self.records() for image in record["items"])
        return {image["id"] for image in found if (self.root / image["file"]).is_file()}

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every batch's record by its id; each file is read once."""
        for path in sorted((self.root / BATCHES).glob("*.json")):
            if path.stem not in self._read:
                self._read[path.stem] = read_saved(path)
            yield path.stem, self._read[path.stem]

    def is_over(self, batch: Together) -> bool:
        """Whether nothing of a batch is left to do: drawn, or every picture of it failed."""
        if (self.root / BATCHES / f"{batch.id}.json").is_file():
            return True
        return all((self.root / FAILURES / f"{item}.json").is_file() for item in batch.items)

    def commit(self, batch: Together, record: Mapping[str, Any]) -> None:
        """Marks a batch as done; its pictures are there already."""
        write_atomically(self.folder(BATCHES) / f"{batch.id}.json", to_json(record))

    def commit_split(self, batch: Together) -> None:
        """Marks a batch as over whose pictures were drawn one by one, or failed so."""
        self.commit(batch, {"split": True, "items": []})

    def fail(self, item: str, message: str) -> None:
        write_atomically(self.folder(FAILURES) / f"{item}.json", to_json({"message": message}))

    def failures(self) -> dict[str, str]:
        """Item → what went wrong."""
        found = sorted((self.root / FAILURES).glob("*.json"))
        return {path.stem: read_saved(path)["message"] for path in found}

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    # ---- sharing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Waits for the others at `name` (the plan, the report)."""
        from filelock import FileLock

        with FileLock(self.folder(CLAIMS) / f"{name}.lock"):
            yield

    @contextmanager
    def claim(self, batch: Together) -> Iterator[bool]:
        """Whether this process has the batch to itself for the block. The system frees it if the process dies."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder(CLAIMS) / f"{batch.id}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield not self.is_over(batch)
        finally:
            lock.release()


def load_results(folder: Path) -> SweepResults:
    """What the sweep in this folder has made of its latest command's wishes. Raises RecipeError where there is none."""
    found = SweepFolder(folder)
    return results(found, found.plan())


def results(folder: SweepFolder, plan: SweepPlan) -> SweepResults:
    """See `load_results`."""
    scores = read_scores(folder.root)
    wanted = set(plan.wanted)
    images = {
        image["id"]: _image(folder.root, image, plan.items[image["id"]], scores["metrics"].get(image["id"], {}))
        for _, record in folder.records()
        for image in record["items"]
        if image["id"] in wanted
    }
    failures = {
        item: _failure(item, plan.items[item], message)
        for item, message in folder.failures().items()
        if item in wanted and item not in images
    }
    return SweepResults(
        name=plan.name,
        folder=folder.root,
        axes=plan.axes,
        images=[images[item] for item in plan.wanted if item in images],
        failures=[failures[item] for item in plan.wanted if item in failures],
        planned=len(plan.wanted),
        plots=scores["plots"],
        notes=scores["notes"],
    )


def _image(root: Path, found: Mapping[str, Any], entry: Mapping[str, Any], metrics: Mapping[str, float]) -> ImageResult:
    return ImageResult(
        job=found["id"],
        varied=entry["varied"],
        seed=found["seed"],
        index=entry["index"],
        file=root / found["file"],
        recipe=found["recipe"],
        nfe=entry["nfe"],
        steps=entry["steps"],
        seconds=found["seconds"],
        sha256=found["sha256"],
        width=found["width"],
        height=found["height"],
        metrics=metrics,
    )


def _failure(item: str, entry: Mapping[str, Any], message: str) -> Failure:
    return Failure(item, entry["varied"], message, seed=entry["recipe"]["seed"])


def _entry(item: Item) -> dict[str, Any]:
    return {
        "label": item.label,
        "varied": dict(item.varied),
        "index": item.index,
        "nfe": item.plan.tableau.nfe,
        "steps": item.plan.tableau.steps,
        "recipe": item.recipe.said("json"),
    }
