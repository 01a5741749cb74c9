"""A sweep for TensorBoard: a run per job with its pictures, its recipe, and its settings and figures as HPARAMS."""

from __future__ import annotations

import shutil
from pathlib import Path

from runner.outputs import read_pixels
from runner.sweep.results import SweepResults
from runner.sweep.trackers import figures_of, job_name, jobs, labels


def export(results: SweepResults, folder: str | None = None) -> str:
    """Write event files into `folder` (the sweep's own `tensorboard` by default); a job's earlier ones are replaced."""
    from torch.utils.tensorboard import SummaryWriter

    root = Path(folder) if folder is not None else results.folder / "tensorboard"
    for job, images in jobs(results).items():
        run = root / job_name(images[0].varied, job)
        shutil.rmtree(run, ignore_errors=True)
        with SummaryWriter(str(run)) as writer:
            for image in images:
                writer.add_image(f"picture/{image.index}", read_pixels(image.file), dataformats="HWC")
            writer.add_text("recipe", "\n".join(f"    {line}" for line in images[0].recipe.splitlines()))
            writer.add_hparams(labels(images[0].varied), dict(figures_of(images)), run_name=".")
    return f"tensorboard --logdir {root}"
