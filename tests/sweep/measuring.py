"""A sweep in miniature for the comparison's tests and for a first plot: every job drawn on its own, its files kept.

`python tests/sweep/measuring.py FOLDER recipe=shapes_compare [WORDS]` measures a recipe without the sweep's launcher.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from runner.compose import compose
from runner.execute import Session
from runner.plan import Planner
from runner.progress import Speaker
from runner.session import Shot, Stopwatch
from runner.sweep.compare import Comparison, Measured, compare


def measured(folder: Path, session: Session, *words: str, **more: Any) -> list[Measured]:
    """Draws the jobs of a command and keeps each picture and its latents under `folder`."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    planner, images = Planner(), []
    for number, job in enumerate(compose(words, **more).jobs):
        plan = planner.plan(job.recipe)
        seeds = [job.recipe.seed + i for i in range(job.recipe.num_images)]
        begun = time.perf_counter()
        drawn = session.draw([Shot(plan, seed) for seed in seeds], Stopwatch())
        seconds = (time.perf_counter() - begun) / len(seeds)
        for i, seed in enumerate(seeds):
            latents, picture = folder / f"{number}_{i}.npy", folder / f"{number}_{i}.png"
            np.save(latents, drawn.backend.to_numpy(drawn.latents[i]))
            Image.fromarray(drawn.pictures[i]).save(picture)
            nfe, varied = plan.tableau.nfe, job.overrides
            images.append(Measured(job.recipe, i, seed, latents, picture, seconds, nfe, varied))
    return images


def main(folder: str, *words: str) -> Comparison:
    session, place = Session(), Path(folder)
    images = measured(place / "images", session, *words)
    print(f"{len(images)} images", file=sys.stderr)
    return compare(images, place, session, Speaker())


if __name__ == "__main__":
    print(*main(*sys.argv[1:]).notes, sep="\n")
