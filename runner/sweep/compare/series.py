"""Measured images gathered into curves: one for each method, schedule and whatever else is varied but the picture.

A curve has a point for each number of evaluations: the median over its prompts and seeds. What it says (its order, what
an error costs, whether it is on the front) is worked out against its own kind only: ODE with ODE, SDE with SDE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.schedulers.equation import Kind
from runner.sweep.compare.analysis import Fit, Need, fit_order, nfe_needed, pareto_front, quartiles

PICTURES = {"prompt", "negative_prompt", "seed", "num_images", "batch_size", "steps"}
"""Varied keys that make no curve of their own: what is drawn, and how far along a curve."""


@dataclass(frozen=True)
class Score:
    """What one image came to. metrics: relative_l2, floor, psnr, ssim, lpips where there is a reference; fidelity."""

    kind: Kind
    curve: tuple[str, str, str]
    nfe: int
    steps: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """One number of evaluations: medians over `images`, the error with its quartiles; None where nothing was measured.

    `fidelity` is a mean: the share of pictures that show what the prompt says.
    """

    nfe: int
    steps: int
    images: int
    seconds: float
    error: float | None = None
    quarter: float | None = None
    three_quarters: float | None = None
    floor: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    fidelity: float | None = None


@dataclass(frozen=True)
class Curve:
    """A method on a schedule. setting: what else is varied and belongs to neither, as words; often empty."""

    kind: Kind
    setting: str
    method: str
    schedule: str
    points: tuple[Point, ...]
    fit: Fit | None = None
    needs: Mapping[float, Need] = field(default_factory=dict)
    front: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} · {self.schedule}" if self.schedule else self.method

    @property
    def floor(self) -> float:
        """The largest of the points': what no error of the curve can be told below."""
        return max((point.floor for point in self.points if point.floor is not None), default=0.0)

    @property
    def errors(self) -> list[float]:
        return [point.error for point in self.points if point.error is not None]

    @property
    def nfe(self) -> list[int]:
        return [point.nfe for point in self.points if point.error is not None]


def curve_of(varied: Mapping[str, Any], scheduler: str) -> tuple[str, str, str]:
    """(setting, method, schedule) of an image, as words. `scheduler`: its name where that is not varied."""

    def words(keys: Iterable[str]) -> str:
        named = [(key, varied[key]) for key in keys]
        return ", ".join(str(value) if "." not in key else f"{key.partition('.')[2]}={value}" for key, value in named)

    method = [key for key in varied if key.split(".")[0] == "scheduler"]
    schedule = [key for key in varied if key.split(".")[0] == "schedule"]
    others = [key for key in varied if key not in (*method, *schedule) and key not in PICTURES]
    setting = ", ".join(f"{key}={varied[key]}" for key in others)
    name = words(method) if "scheduler" in method else ", ".join(filter(None, (scheduler, words(method))))
    return setting, name, words(schedule)


def curves(scores: Sequence[Score], below: Sequence[float]) -> list[Curve]:
    """Every curve, in the order of the images, with what it says."""
    gathered: dict[tuple[Kind, tuple[str, str, str]], list[Score]] = {}
    for score in scores:
        gathered.setdefault((score.kind, score.curve), []).append(score)
    bare = [Curve(kind, *curve, points=_points(found)) for (kind, curve), found in gathered.items()]
    return [_told(curve, bare, below) for curve in bare]


def _points(scores: Sequence[Score]) -> tuple[Point, ...]:
    by_nfe: dict[int, list[Score]] = {}
    for score in scores:
        by_nfe.setdefault(score.nfe, []).append(score)
    return tuple(_point(nfe, by_nfe[nfe]) for nfe in sorted(by_nfe))


def _point(nfe: int, scores: Sequence[Score]) -> Point:
    def values(name: str) -> list[float]:
        return [score.metrics[name] for score in scores if name in score.metrics]

    def median(name: str) -> float | None:
        return float(np.median(values(name))) if values(name) else None

    low, middle, high = quartiles(values("relative_l2")) if values("relative_l2") else (None,) * 3
    return Point(
        nfe=nfe,
        steps=scores[0].steps,
        images=len(scores),
        seconds=float(np.median([score.seconds for score in scores])),
        error=middle,
        quarter=low,
        three_quarters=high,
        floor=median("floor"),
        psnr=median("psnr"),
        ssim=median("ssim"),
        lpips=median("lpips"),
        fidelity=float(np.mean(values("fidelity"))) if values("fidelity") else None,
    )


def _told(curve: Curve, all_curves: Sequence[Curve], below: Sequence[float]) -> Curve:
    if not curve.errors:
        return curve
    rivals = [other for other in all_curves if (other.kind, other.setting) == (curve.kind, curve.setting)]
    return Curve(
        curve.kind,
        curve.setting,
        curve.method,
        curve.schedule,
        curve.points,
        fit_order(curve.nfe, curve.errors, curve.floor),
        {error: nfe_needed(curve.nfe, curve.errors, error, curve.floor) for error in below},
        tuple(nfe for other, nfe, _ in front(rivals) if other is curve),
    )


def front(rivals: Sequence[Curve]) -> list[tuple[Curve, int, float]]:
    """(curve, evaluations, error) of the points that no other point of these curves beats, by rising evaluations."""
    points = [(curve, nfe, error) for curve in rivals for nfe, error in zip(curve.nfe, curve.errors, strict=True)]
    return [points[i] for i in pareto_front([nfe for _, nfe, _ in points], [error for *_, error in points])]
