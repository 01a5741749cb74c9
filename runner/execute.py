"""Recipe → pictures in a folder of their own: a lone run, planned here, drawn by a worker, committed batch by batch.

A batch is committed whole, with the manifest of all finished ones after it, so that a run that is stopped or killed
leaves nothing half done.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from components.errors import CheckpointError
from runner import manifest as manifests
from runner.drawing import Made, Worker
from runner.errors import Problem, RecipeError
from runner.interrupts import Interrupted, InterruptGuard
from runner.outputs import image_name, new_run_folder, to_json, why_not_writable, write_atomically, write_together
from runner.plan import Pins, Plan, make_plan
from runner.progress import Progress
from runner.session import Session, Shot, Stopwatch
from runner.sweep.partition import Together

if TYPE_CHECKING:
    from runner.schema import Recipe


class RunError(RuntimeError):
    """The work failed although the recipe was sound. The message says why and what would help."""


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its pictures in order, and the manifest that lies beside them."""

    folder: Path
    images: list[Path]
    manifest: dict[str, Any]


def execute(
    recipe: Recipe,
    *,
    folder: Path | None = None,
    progress: bool = True,
    session: Session | None = None,
    pins: Pins | None = None,
) -> RunResult:
    """Runs a recipe and returns what it made.

    Args:
        recipe: one run; a sweep is runner.sweep's. Runs that share a `session` share what is loaded.
        folder: where to write; None: a new folder `<output.dir>/<recipe>/<time>`, made when the first batch is done.
        progress: say what happens on stderr, with a bar where that is a terminal.
        pins: what a replay takes from an earlier run's record.

    Raises:
        RecipeError: the recipe cannot work; nothing was started.
        RunError: the work failed. Interrupted: Ctrl-C; finished batches are kept.
    """
    with InterruptGuard() as guard:
        try:
            if why := why_not_writable(folder or Path(recipe.output.dir)):
                raise RecipeError([Problem("output.dir", why)])
            plan = make_plan(recipe, pins)
        except KeyboardInterrupt:
            raise Interrupted("Stopped before the work began.") from None
        table, run = plan.tableau, RunFolder(plan, folder)
        reporter = Progress(batches=len(plan.batches), rows=table.rows, steps=table.steps, speak=progress)
        worker = Worker(
            run,
            session or Session(),
            after_row=lambda row, pictures: reporter.row_done(run.committed, row, int(table.step[row])),
            say=reporter.say,
            uninterrupted=guard.uninterrupted,
        )
        try:
            for note in plan.notes:
                reporter.say(note)
            for batch in run.batches:
                worker.do(batch)
            return run.finish()
        except KeyboardInterrupt:
            raise run.stopped() from None
        finally:
            reporter.close()


class RunFolder:
    """A lone run's place: pictures side by side, and a manifest that knows of all finished ones."""

    def __init__(self, plan: Plan, root: Path | None) -> None:
        self.plan, self.root = plan, root
        self.batches = [
            Together(str(number), tuple(map(str, batch.indices)), plan.threads)
            for number, batch in enumerate(plan.batches)
        ]
        self.committed = 0
        self.images: list[Path] = []
        self.manifest: dict[str, Any] = {}
        self.watch, self.started = Stopwatch(), datetime.now()

    def claim(self, batch: Together) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def is_over(self, batch: Together) -> bool:
        return False

    def shots(self, batch: Together) -> list[Shot]:
        return [Shot(self.plan, self.plan.recipe.seed + int(index)) for index in batch.items]

    def failed(self, batch: Together, error: Exception, worker: Worker) -> NoReturn:
        """Ends the run."""
        raise_explained(error, self.plan, len(batch.items))

    def commit(self, batch: Together, made: Made) -> None:
        """Writes a batch's pictures, then the manifest that knows of them."""
        from runner.compose import to_yaml

        recipe, records = self.plan.recipe, made.records
        if not self.manifest:
            self.manifest = manifests.describe_run(self.plan, made, self.started)
        for phase, seconds in made.watch.seconds.items():
            self.watch.seconds[phase] += seconds
        with self.watch.timing("save"):
            if self.root is None:
                self.root = new_run_folder(Path(recipe.output.dir), recipe.name, self.started)
            self.root.mkdir(parents=True, exist_ok=True)
            if not self.images:
                write_atomically(self.root / "recipe.yaml", to_yaml(recipe, folder=self.root).encode("utf-8"))
            names = [image_name(record.index, record.seed, recipe.output.format) for record in records]
            self.images += write_together(self.root, made.files(names))
            self.manifest["images"] += [
                {"file": name, "seed": record.seed, "index": record.index, "sha256": record.sha256}
                for name, record in zip(names, records, strict=True)
            ]
            self.committed += 1
            self.manifest["finished"] = self.committed == len(self.batches)
            self._write_manifest()

    def finish(self) -> RunResult:
        """The manifest once more, now with the time of the last save."""
        assert self.root is not None
        self._write_manifest()
        return RunResult(self.root, self.images, self.manifest)

    def stopped(self) -> Interrupted:
        """What to raise after Ctrl-C, the folder being in order already."""
        done, asked = len(self.images), self.plan.recipe.num_images
        if not done:
            return Interrupted("Stopped. No image was finished, so nothing was written.")
        return Interrupted(f"Stopped. {done} of {asked} images are in {self.root}.", self.root, tuple(self.images))

    def _write_manifest(self) -> None:
        assert self.root is not None
        self.manifest["seconds"] = {phase: round(spent, 3) for phase, spent in self.watch.seconds.items()}
        write_atomically(self.root / manifests.NAME, to_json(self.manifest))


def raise_explained(error: Exception, plan: Plan, images: int) -> NoReturn:
    """Raises RecipeError where the checkpoint is at fault, RunError where the work is; `images` were drawn at once."""
    if isinstance(error, CheckpointError):
        raise RecipeError([Problem("checkpoint", str(error).removesuffix("."))]) from error
    if isinstance(error, MemoryError | OSError | RuntimeError):
        raise RunError(_explain(error, plan, images)) from error
    raise error


def _explain(error: Exception, plan: Plan, images: int) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocat" in text:
        fewer = f"batch_size={images // 2}, or " if images > 1 else ""
        return (
            f"Out of memory with {images} image(s) of {plan.width}×{plan.height} at once in {plan.dtype}. "
            f"Try {fewer}a smaller height and width, or backend.dtype=bfloat16. ({text[:200]})"
        )
    return f"The run failed: {text[:500]}"
