"""Has a sweep's pictures compared and keeps each one's figures in the sweep's folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runner.outputs import write_atomically
from runner.sweep.folder import SweepFolder, SweepPlan, results
from runner.sweep.scores import LATENTS, NAME

if TYPE_CHECKING:
    from runner.progress import Speaker
    from runner.session import Session


def score(folder: SweepFolder, plan: SweepPlan, session: Session, speaker: Speaker) -> None:
    """Compares every picture of the latest command that is drawn, with its latents; references are kept and reused."""
    from runner.sweep.compare import Measured, compare

    drawn = {image.job: image for image in results(folder, plan).images}
    there = [item for item in plan.wanted if item in drawn and (folder.root / LATENTS / f"{item}.npy").is_file()]
    measured = [
        Measured(
            recipe=plan.recipe(item),
            index=0,
            seed=drawn[item].seed,
            latents=folder.root / LATENTS / f"{item}.npy",
            picture=drawn[item].file,
            seconds=drawn[item].seconds,
            nfe=drawn[item].nfe,
            varied=drawn[item].varied,
        )
        for item in there
    ]
    if not measured:
        return
    found = compare(measured, folder.root, session, speaker)
    data = {
        "metrics": {item: dict(one) for item, one in zip(there, found.metrics, strict=True)},
        "plots": dict(found.plots),
        "notes": list(found.notes),
    }
    write_atomically(folder.root / NAME, json.dumps(data, ensure_ascii=False).encode())
