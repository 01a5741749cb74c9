"""Recipe → pictures in a folder: loads, encodes, then denoises, decodes and commits one batch after the other.

A batch is committed whole, with the manifest of all finished ones after it, so that a run that is stopped or killed
leaves nothing half done. What a part does is the pipeline's to say, how it is computed the backend's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import CheckpointError
from runner import manifest as manifests
from runner.errors import Problem, RecipeError
from runner.interrupts import Interrupted, InterruptGuard
from runner.outputs import (
    ImageRecord,
    encode_image,
    image_name,
    new_run_folder,
    pixel_sha256,
    to_json,
    why_not_writable,
    write_atomically,
    write_together,
)
from runner.plan import Batch, Pins, Plan, make_plan
from runner.progress import Progress
from runner.session import Drawn, Session, Shot, Stopwatch

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
        rows, steps = plan.tableau.rows, plan.tableau.steps
        reporter = Progress(batches=len(plan.batches), rows=rows, steps=steps, speak=progress)
        run = _Run(plan, folder, session or Session(), reporter, guard)
        try:
            return run.all_batches()
        except KeyboardInterrupt:
            raise run.stopped() from None
        except CheckpointError as error:
            raise RecipeError([Problem("checkpoint", str(error).removesuffix("."))]) from error
        except (MemoryError, OSError, RuntimeError) as error:
            raise RunError(_explain(error, plan)) from error
        finally:
            reporter.close()


class _Run:
    """One run under way: what is written so far and how long each phase took."""

    def __init__(
        self, plan: Plan, folder: Path | None, session: Session, reporter: Progress, guard: InterruptGuard
    ) -> None:
        self.plan, self.folder, self.session, self.reporter, self.guard = plan, folder, session, reporter, guard
        self.images: list[Path] = []
        self.manifest: dict[str, Any] = {}
        self.watch = Stopwatch()
        self.started = datetime.now()

    def all_batches(self) -> RunResult:
        """The whole run."""
        plan = self.plan
        for note in plan.notes:
            self.reporter.say(note)
        for number, batch in enumerate(plan.batches):
            drawn = self.session.draw(
                [Shot(plan, seed) for seed in batch.seeds],
                self.watch,
                self.reporter.say,
                lambda row, number=number: self.reporter.row_done(number, row, int(plan.tableau.step[row])),
            )
            with self.watch.timing("save"):
                self._commit(drawn, batch, last=number + 1 == len(plan.batches))
        assert self.folder is not None
        self._write_manifest()  # once more, now with the time of the last save
        return RunResult(self.folder, self.images, self.manifest)

    def stopped(self) -> Interrupted:
        """What to raise after Ctrl-C, the folder being in order already."""
        done, asked = len(self.images), self.plan.recipe.num_images
        if not done:
            return Interrupted("Stopped. No image was finished, so nothing was written.")
        return Interrupted(f"Stopped. {done} of {asked} images are in {self.folder}.", self.folder, tuple(self.images))

    def _commit(self, drawn: Drawn, batch: Batch, last: bool) -> None:
        """Writes a batch's pictures, then the manifest that knows of them."""
        from runner.compose import to_yaml

        recipe, backend = self.plan.recipe, drawn.backend
        text = to_yaml(recipe)
        if not self.manifest:
            self.manifest = manifests.describe_run(self.plan, backend, self.started)
        files, entries = [], []
        for index, seed, pixels in zip(batch.indices, batch.seeds, drawn.pictures, strict=True):
            record = ImageRecord(
                recipe=text,
                seed=seed,
                index=index,
                batch=batch.indices,
                threads=backend.threads,
                device=backend.device,
                dtype=backend.dtype,
                sha256=pixel_sha256(pixels),
                versions=self.manifest["versions"],
            )
            name = image_name(index, seed, recipe.output.format)
            files.append((name, encode_image(pixels, recipe.output.format, record)))
            entries.append({"file": name, "seed": seed, "index": index, "sha256": record.sha256})
        with self.guard.uninterrupted():
            if self.folder is None:
                self.folder = new_run_folder(Path(recipe.output.dir), recipe.name, self.started)
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.images:
                write_atomically(self.folder / "recipe.yaml", text.encode("utf-8"))
            self.images += write_together(self.folder, files)
            self.manifest["images"] += entries
            self.manifest["finished"] = last
            self._write_manifest()

    def _write_manifest(self) -> None:
        assert self.folder is not None
        self.manifest["seconds"] = {phase: round(spent, 3) for phase, spent in self.watch.seconds.items()}
        write_atomically(self.folder / manifests.NAME, to_json(self.manifest))


def _explain(error: Exception, plan: Plan) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocat" in text:
        largest = max(len(batch.indices) for batch in plan.batches)
        fewer = f"batch_size={largest // 2}, or " if largest > 1 else ""
        return (
            f"Out of memory with {largest} image(s) of {plan.width}×{plan.height} at once in {plan.dtype}. "
            f"Try {fewer}a smaller height and width, or backend.dtype=bfloat16. ({text[:200]})"
        )
    return f"The run failed: {text[:500]}"
