"""What a sweep has made so far, as the table, the contact sheets, the report and the trackers read it.

Plain values and paths: nothing here knows how a picture was made or how a sweep's folder is laid out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImageResult:
    """One picture of a sweep.

    job: the job's id, unique in the sweep; index: which of the job's pictures this is.
    varied: every varied key or group with its value for this job: {"scheduler": "euler", "seed": 3, "prompt": "…"}.
    file: the picture, inside the sweep's folder; recipe: the resolved recipe as YAML text.
    seconds: this picture's share of its batch's time; sha256: of the pixels as drawn.
    metrics: whatever was measured of the picture: relative_l2, psnr, ssim, lpips, fidelity … May be empty.
    """

    job: str
    varied: Mapping[str, Any]
    seed: int
    index: int
    file: Path
    recipe: str
    nfe: int
    steps: int
    seconds: float
    sha256: str
    width: int
    height: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A job that left no picture, and why. seed: of the picture that is missing; None where that is not known."""

    job: str
    varied: Mapping[str, Any]
    message: str
    seed: int | None = None


@dataclass(frozen=True)
class SweepResults:
    """A sweep as it stands: `planned` jobs in all, of which some have pictures, some failed, the rest are to come.

    axes: every varied key with its values, in the order asked for; the outermost first.
    plots: title -> SVG text; notes: sentences shown with the plots (what a number means, and what it does not).
    """

    name: str
    folder: Path
    axes: Mapping[str, Sequence[Any]]
    images: Sequence[ImageResult]
    failures: Sequence[Failure] = ()
    planned: int = 0
    plots: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def finished(self) -> int:
        """How many jobs are over: with pictures or failed."""
        return len({image.job for image in self.images} | {failure.job for failure in self.failures})
