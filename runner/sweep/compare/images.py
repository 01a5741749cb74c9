"""A sweep's images, each with the plan it was made by and the solution it is to be compared with, if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from components.schedulers import Tableau
from components.schedulers.equation import Equation
from runner.plan import Plan, Planner
from runner.schema import Recipe
from runner.sweep.compare.reference_tables import start_of
from runner.sweep.compare.references import Solved, Wanted, reference_pair
from runner.sweep.compare.series import curve_of
from runner.sweep.compare.similarity import relative_l2


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


@dataclass(frozen=True, eq=False)
class Examined:
    """An image with its plan, what its scheduler solves, and the solution it is compared with; None: with nothing."""

    job: Measured
    plan: Plan
    solves: Equation
    wanted: Wanted | None

    @cached_property
    def curve(self) -> tuple[str, str, str]:
        """(setting, method, schedule) of the curve that the image is a point of."""
        return curve_of(self.job.varied, type(self.plan.scheduler).aliases[0])

    @property
    def method(self) -> str:
        return self.curve[1]


def examine(jobs: Sequence[Measured], reference_steps: int) -> list[Examined]:
    """Settles every image's plan, as it was settled before it was drawn, and what to compare the image with."""
    planner, images = Planner(), []
    plans: dict[str, tuple[Plan, Equation]] = {}
    references: dict[
        int, tuple[Tableau, Tableau]
    ] = {}  # of a sampler's table, which the planner builds once for all that have it
    for job in jobs:
        recipe = job.recipe.model_dump_json()
        if recipe not in plans:
            plan = planner.plan(job.recipe)
            plans[recipe] = plan, _solves(plan)
        plan, solves = plans[recipe]
        wanted = None
        if solves.kind != "other":
            if id(plan.tableau) not in references:
                references[id(plan.tableau)] = reference_pair(
                    plan.scheduler, plan.tableau, solves.kind, reference_steps
                )
            wanted = Wanted(plan, job.seed, *references[id(plan.tableau)])
        images.append(Examined(job, plan, solves, wanted))
    return images


def _solves(plan: Plan) -> Equation:
    """What its scheduler solves; an SDE on a path of its own has no reference to be compared with."""
    solves = plan.scheduler.equation
    if solves.kind == "sde" and plan.recipe.noise.path != "brownian":
        return Equation("other", "samplers of the SDE are compared on one path: set noise.path=brownian")
    return solves


def left_out(images: Sequence[Examined]) -> dict[str, str]:
    """Method → why there is no error figure for it."""
    return {image.method: image.solves.reason for image in images if image.solves.kind == "other"}


def clipping(images: Sequence[Examined]) -> list[str]:
    """A sentence on methods that clip, if there are any."""
    methods = sorted({image.method for image in images if image.wanted and image.plan.scheduler.clip})
    if not methods:
        return []
    return [f"{', '.join(methods)}: clips x0, which the equation does not, so that its error need not vanish."]


def starts(pairs: Sequence[tuple[Examined, Solved | None]]) -> list[str]:
    """Sentences on what starting elsewhere makes of a picture, which no method's error contains.

    The references themselves are compared: of the same image and end, from another first level or amplitude.
    """
    found: dict[str, dict[tuple[float, float], dict[tuple[Any, ...], np.ndarray]]] = {}
    for image, reference in pairs:
        if reference is not None:
            start, end = (
                tuple(np.round(place, 9)) for place in (start_of(image.plan.tableau), image.plan.tableau.land[-1])
            )
            which = image.curve[0], image.job.recipe.prompt, image.job.recipe.negative_prompt, image.job.seed, end
            found.setdefault(image.solves.kind, {}).setdefault(start, {})[which] = reference.latents
    return [_apart(kind, by_start) for kind, by_start in found.items() if len(by_start) > 1]


def _apart(kind: str, by_start: Mapping[tuple[float, float], Mapping[tuple[Any, ...], np.ndarray]]) -> str:
    (tau, _), *others = sorted(by_start, reverse=True)
    noisiest = by_start[max(by_start)]
    distances = [
        float(np.median([relative_l2(by_start[start][which], noisiest[which]) for which in shared]))
        for start in others
        if (shared := by_start[start].keys() & noisiest.keys())
    ]
    low, high = (f"{value:.1e}" for value in (min(distances, default=0), max(distances, default=0)))
    between = low if low == high else f"{low} to {high}"
    apart = f"; the solutions from the others lie {between} from the noisiest one's" if distances else ""
    ratio = f"{tau / (1 - tau):.3g}" if tau < 1 else "infinite"
    return (
        f"{kind.upper()} samplers start from {len(by_start)} different first levels or amplitudes of the same noise "
        f"(the noisiest at sigma / alpha = {ratio}), and each is compared from its own{apart}."
    )
