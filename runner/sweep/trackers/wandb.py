"""A sweep for Weights & Biases: one run with a table of all pictures, the contact sheets and the page."""

from __future__ import annotations

from runner.pictures import open_picture
from runner.sweep.layout import label, ordered
from runner.sweep.results import SweepResults
from runner.sweep.table import row
from runner.sweep.trackers import left_files, library, sweep_id


def export(
    results: SweepResults, project: str = "diffusion-recipes", entity: str | None = None, mode: str | None = None
) -> str:
    """Hand a sweep over; mode is online, offline or disabled. The same folder is the same run, written again."""
    wandb = library("wandb")
    number = sweep_id(results)
    run = wandb.init(
        project=project,
        entity=entity,
        mode=mode,
        id=number,
        resume="allow",
        name=f"{results.name} {results.folder.name}",
        dir=str(results.folder),
        config={"axes": {key: [label(value) for value in values] for key, values in results.axes.items()}},
    )
    with run:
        images = ordered(results)
        rows = [row(image, results.folder) for image in images]
        columns = list(dict.fromkeys(name for found in rows for name in found))
        table = wandb.Table(columns=["picture", *columns, "recipe"])
        for image, found in zip(images, rows, strict=True):
            cells = [_cell(found.get(name)) for name in columns]
            with open_picture(image.file):  # wandb itself would open whatever it is
                table.add_data(wandb.Image(str(image.file)), *cells, image.recipe)
        run.log({"pictures": table})
        run.summary.update({"planned": results.planned, "finished": results.finished, "failed": len(results.failures)})
        kept = wandb.Artifact(f"sweep-{number}", type="sweep")
        for path in left_files(results):
            kept.add_file(str(path))
        run.log_artifact(kept)
        return f"wandb sync {run.settings.sync_dir}" if run.settings.mode == "offline" else run.url or "nowhere"


def _cell(value: object) -> object:
    """Columns of a table have one type: what is not a number or a word is written out."""
    return value if isinstance(value, int | float | str | None) and not isinstance(value, bool) else label(value)
