"""A sweep's images measured against references, and what is left in its folder: comparison.json and the plots."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.errors import Problem
from runner.outputs import read_pixels, to_json, write_atomically
from runner.plan import Planner
from runner.schema import Compare, Recipe
from runner.sweep.compare.classify import Classification, Kind, classify
from runner.sweep.compare.reference_tables import start_of
from runner.sweep.compare.references import References, Solved, Wanted
from runner.sweep.compare.series import Curve, Score, curve_of, curves
from runner.sweep.compare.similarity import make_lpips, psnr, relative_l2, ssim, why_no_lpips
from runner.sweep.compare.words import notes

if TYPE_CHECKING:
    from runner.plan import Plan
    from runner.session import Session

NAME = "comparison.json"
PREFIX: Mapping[Kind, str] = {"ode": "", "sde": "sde_", "other": ""}
"""Of an image's metrics: a table that is sorted by one of them never ranks the SDE's samplers among the ODE's."""


@dataclass(frozen=True)
class Measured:
    """One image of a sweep. latents: float32 .npy (C, h, w), as the sampler left them; picture: what they decode to.

    index: which of its job's pictures it is; nfe: evaluations of the network; varied: as in runner.sweep.results.
    """

    recipe: Recipe
    index: int
    seed: int
    latents: Path
    picture: Path
    seconds: float
    nfe: int
    varied: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """metrics: of each image, in the order given; empty where nothing was measured. plots: title → SVG text.

    notes: what the numbers mean and do not mean, and what was found; table: every curve, as comparison.json has it.
    """

    metrics: list[Mapping[str, float]]
    plots: Mapping[str, str]
    notes: Sequence[str]
    table: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class _Image:
    """An image with its plan, what its scheduler solves, and the solution it is compared with, if any."""

    job: Measured
    plan: Plan
    solves: Classification
    wanted: Wanted | None


def comparison_problems(recipe: Recipe) -> list[Problem]:
    """What this recipe's `compare` asks for and this machine has not; looked for without importing anything."""
    if recipe.compare is None:
        return []
    problems = []
    if importlib.util.find_spec("matplotlib") is None:
        hint = "pip install 'diffusion-recipes[plot]'"
        problems.append(Problem("compare", "a comparison draws plots, which takes matplotlib", hint=hint))
    if recipe.compare.lpips and (why := why_no_lpips()):
        problems.append(Problem("compare.lpips", f"LPIPS cannot be measured: {why}", hint="leave it out"))
    return problems


def compare(jobs: Sequence[Measured], folder: Path, session: Session, say: Callable[[str], None]) -> Comparison:
    """Measures a sweep's images, computing the references that `folder` does not have yet.

    Writes comparison.json and the plots into `folder`, and references under `folder/references`. What is told is that
    of the first recipe's `compare`.
    """
    from runner.sweep.compare.plots import draw, save

    settings = next((job.recipe.compare for job in jobs if job.recipe.compare), None) or Compare()
    images = _examine(jobs, settings)
    references = References(folder / "references", session, say)
    solved = iter(references.solve([image.wanted for image in images if image.wanted]))
    pairs = [(image, next(solved) if image.wanted else None) for image in images]
    distance = make_lpips() if settings.lpips else None
    scores = [_score(image, reference, distance) for image, reference in pairs]
    found = curves(scores, settings.below)
    told = notes(found, settings, _floors(scores), _left_out(images), [*_starts(pairs), *_remarks(images, settings)])
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


def _examine(jobs: Sequence[Measured], settings: Compare) -> list[_Image]:
    planner = Planner()
    images = []
    plans: dict[str, tuple[Plan, Classification]] = {}
    for job in jobs:
        text = job.recipe.model_dump_json()
        if text not in plans:
            plan = planner.plan(job.recipe)
            plans[text] = plan, _solves(plan)
        plan, solves = plans[text]
        wanted = None if solves.kind == "other" else Wanted.by(plan, solves.kind, job.seed, settings.reference_steps)
        images.append(_Image(job, plan, solves, wanted))
    return images


def _solves(plan: Plan) -> Classification:
    """What its scheduler solves; an SDE on a path of its own has no reference to be compared with."""
    solves = classify(plan.scheduler)
    if solves.kind == "sde" and plan.recipe.noise.path != "brownian":
        return Classification("other", "samplers of the SDE are compared on one path: set noise.path=brownian")
    return solves


def _score(image: _Image, reference: Solved | None, lpips: Callable[..., float] | None) -> Score:
    job, metrics = image.job, {}
    if reference is not None:
        x = np.load(job.latents)
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
    name = type(image.plan.scheduler).aliases[0]
    curve = curve_of(job.varied, name)
    return Score(image.solves.kind, curve, job.nfe, image.plan.tableau.steps, job.seconds, metrics)


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


def _left_out(images: Sequence[_Image]) -> dict[str, str]:
    """Who gets no error figure → why."""
    return {
        ": ".join(filter(None, (curve_of(image.job.varied, type(image.plan.scheduler).aliases[0])[1],))): (
            image.solves.reason
        )
        for image in images
        if image.solves.kind == "other"
    }


def _starts(pairs: Sequence[tuple[_Image, Solved | None]]) -> list[str]:
    """What starting elsewhere makes of a picture, which no method's error contains: references against each other."""
    by_start: dict[tuple[str, float, float], dict[tuple[str, int, float], np.ndarray]] = {}
    for image, reference in pairs:
        if reference is None or image.wanted is None:
            continue
        tau, factor = start_of(image.plan.tableau)
        same = image.job.recipe.model_copy(update={"scheduler": None, "schedule": None, "steps": None})
        which = (repr(same), image.job.seed, round(float(image.plan.tableau.land[-1].sum()), 9))
        place = (image.solves.kind, round(tau, 9), round(factor, 9))
        by_start.setdefault(place, {})[which] = reference.latents
    return _spread(by_start)


def _spread(by_start: Mapping[tuple[str, float, float], Mapping[Any, np.ndarray]]) -> list[str]:
    said = []
    for kind in dict.fromkeys(place[0] for place in by_start):
        places = sorted((place for place in by_start if place[0] == kind), reverse=True)
        parts = []
        for place in places[1:]:
            first, other = by_start[places[0]], by_start[place]
            shared = [relative_l2(other[which], first[which]) for which in other if which in first]
            if shared:
                parts.append(float(np.median(shared)))
        if len(places) > 1:
            apart = f": the references of the others lie {min(parts):.1e} to {max(parts):.1e} from it" if parts else ""
            said.append(
                f"The {kind.upper()} samplers start from {len(places)} different first levels or amplitudes of the same "
                f"noise, each compared from its own; the noisiest is sigma/alpha = {_ratio(places[0][1])}{apart}."
            )
    return said


def _ratio(tau: float) -> str:
    return f"{tau / (1 - tau):.3g}" if tau < 1 else "infinite"


def _remarks(images: Sequence[_Image], settings: Compare) -> list[str]:
    clipping = {type(image.plan.scheduler).aliases[0] for image in images if image.plan.scheduler.clip}
    said = [f"{', '.join(sorted(clipping))}: clips x0, which the equation does not; its error need not vanish."] * bool(
        clipping
    )
    if not settings.lpips and not why_no_lpips():
        said.append("LPIPS was not asked for (compare.lpips=true measures it).")
    if why := why_no_lpips():
        said.append(f"LPIPS is not measured: {why}.")
    return said


def _row(curve: Curve) -> dict[str, Any]:
    """A curve as JSON holds it."""
    row = {key: value for key, value in asdict(curve).items() if key not in ("points", "needs")}
    row["points"] = [
        {key: value for key, value in asdict(point).items() if value is not None} for point in curve.points
    ]
    row["needs"] = [{"below": below, **asdict(need)} for below, need in curve.needs.items()]
    return row
