"""A sweep's images measured against references, and what is left in its folder: comparison.json and the plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.packages import absent
from components.regular_files import LATENTS, read_bytes
from components.schedulers.equation import Kind
from runner.errors import Problem
from runner.outputs import read_pixels, to_json, write_atomically
from runner.schema import Compare, Recipe
from runner.sweep.compare.images import Examined, Measured, clipping, examine, left_out, starts
from runner.sweep.compare.references import References, Solved
from runner.sweep.compare.series import Curve, Score, curves
from runner.sweep.compare.similarity import make_lpips, psnr, relative_l2, ssim, why_no_lpips
from runner.sweep.compare.words import notes

if TYPE_CHECKING:
    from runner.progress import Speaker
    from runner.session import Session

NAME = "comparison.json"
PREFIX: Mapping[Kind, str] = {"ode": "", "sde": "sde_", "other": ""}
"""Of an image's metrics: a table that is sorted by one of them never ranks the SDE's samplers among the ODE's."""


@dataclass(frozen=True)
class Comparison:
    """metrics: of each image, in the order given; empty where nothing was measured. plots: title → SVG text.

    notes: what the numbers mean and do not mean, and what was found; table: every curve, as comparison.json has it.
    """

    metrics: Sequence[Mapping[str, float]]
    plots: Mapping[str, str]
    notes: Sequence[str]
    table: Sequence[Mapping[str, Any]]


def comparison_problems(recipe: Recipe) -> list[Problem]:
    """What this recipe's `compare` asks for beside packages (runner/needs.py) and this machine has not."""
    if recipe.compare is None:
        return []
    if recipe.compare.lpips and not absent(("lpips",)) and (why := why_no_lpips()):
        return [Problem("compare.lpips", f"LPIPS cannot be measured: {why}", hint="leave it out")]
    return []


def compare(jobs: Sequence[Measured], folder: Path, session: Session, speaker: Speaker) -> Comparison:
    """Measures a sweep's images, computing the references that `folder` does not have yet.

    Writes comparison.json and the plots into `folder`, and references under `folder/references`. What is told is that
    of the first recipe's `compare`.
    """
    from runner.sweep.compare.plots import draw, save

    settings = next((job.recipe.compare for job in jobs if job.recipe.compare), None) or Compare()
    images = examine(jobs, settings.reference_steps)
    references = References(folder / "references", session, speaker)
    solved = iter(references.solve([image.wanted for image in images if image.wanted]))
    pairs = [(image, next(solved) if image.wanted else None) for image in images]
    distance = make_lpips() if settings.lpips else None
    scores = [_score(image, reference, distance) for image, reference in pairs]
    found = curves(scores, settings.below)
    remarks = [*starts(pairs), *clipping(images), *_on_lpips(settings)]
    told = notes(found, settings, _floors(scores), left_out(images), remarks)
    drawings = draw(found, settings)
    table = [_row(curve) for curve in found]
    folder.mkdir(parents=True, exist_ok=True)
    plots = save(drawings, folder)
    record = {"format": 1, "settings": settings.model_dump(), "notes": told, "curves": table, "plots": list(plots)}
    write_atomically(folder / NAME, to_json(record))
    metrics = [
        {name if name == "fidelity" else PREFIX[score.kind] + name: value for name, value in score.metrics.items()}
        for score in scores
    ]
    return Comparison(metrics, plots, told, table)


def _score(image: Examined, reference: Solved | None, lpips: Callable[..., float] | None) -> Score:
    job, metrics = image.job, {}
    if reference is not None:
        x = np.load(BytesIO(read_bytes(job.latents, LATENTS)))
        picture, wanted = read_pixels(job.picture), read_pixels(reference.picture)
        metrics = {
            "relative_l2": relative_l2(x, reference.latents),
            "floor": reference.floor,
            "psnr": psnr(picture, wanted),
            "ssim": ssim(picture, wanted),
        }
        if lpips is not None:
            metrics["lpips"] = lpips(picture, wanted)
    if (right := _fidelity(job)) is not None:
        metrics["fidelity"] = right
    return Score(image.solves.kind, image.curve, job.nfe, image.plan.tableau.steps, job.seconds, metrics)


def _fidelity(job: Measured) -> float | None:
    """1 where the demo checkpoint's picture shows the prompt's shape, colour and background, 0 where it does not."""
    if not job.recipe.checkpoint.repo.startswith("demo:"):
        return None
    from runner.demo.checker import judge

    try:
        return float(judge(job.recipe.prompt, read_pixels(job.picture)).right)
    except ValueError:  # not a prompt of the demo's grammar
        return None


def _floors(scores: Sequence[Score]) -> dict[Kind, tuple[float, float]]:
    floors: dict[Kind, list[float]] = {}
    for score in scores:
        if "floor" in score.metrics:
            floors.setdefault(score.kind, []).append(score.metrics["floor"])
    return {kind: (float(np.median(values)), max(values)) for kind, values in floors.items()}


def _on_lpips(settings: Compare) -> list[str]:
    if settings.lpips:
        return []
    why = why_no_lpips()
    return [f"LPIPS is not measured: {why}." if why else "LPIPS was not asked for: compare.lpips=true measures it."]


def _row(curve: Curve) -> dict[str, Any]:
    """A curve as JSON holds it."""
    row = {key: value for key, value in asdict(curve).items() if key not in ("points", "needs")}
    row["points"] = [
        {key: value for key, value in asdict(point).items() if value is not None} for point in curve.points
    ]
    row["needs"] = [{"below": below, **asdict(need)} for below, need in curve.needs.items()]
    return row
