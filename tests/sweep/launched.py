"""A small sweep over the bundled checkpoint, and what must be equal of it whoever draws it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.compose import compose
from runner.sweep.folder import SweepFolder
from runner.sweep.launch import SweepOutcome, run_sweep

SEEDS = "range(0,8)"  # four batches of two
FOLDER = Path("outputs/shapes/sweep")


def sweep(*words: str, seeds: str = SEEDS, batch_size: int = 2) -> SweepOutcome:
    """Runs it in the working directory: two steps, one thread, a job for each seed."""
    fixed = ["steps=2", f"seed={seeds}", "num_images=1", f"batch_size={batch_size}", "backend.threads=1"]
    return run_sweep(compose([*fixed, *words], multirun=True))


def files(folder: Path = FOLDER) -> dict[str, bytes]:
    """Every picture by its name."""
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def commits(folder: Path = FOLDER) -> Mapping[str, Any]:
    """What every batch has left, by its id."""
    return dict(SweepFolder(folder).records())


def label_of(name: str) -> str:
    """seed-3 of seed-3_0123abcd.png."""
    return name.rpartition("_")[0]
