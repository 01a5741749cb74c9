"""Reads shape, colour, size and background off the pixels of a picture, and compares them with a prompt.

By fitting, not by learning: the two commonest palette colours give background and shape, the shape's area and centre
give the size and place each kind of shape would have, and the kind whose outline fits best is the answer. It knows
pictures like those of shapes_data.py and nothing else; what fits nothing is called unreadable. Numpy only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runner.demo.shapes_data import COLORS, SHAPES, SIZES, Description, Floats, coverage, parse_prompt

Image = NDArray[np.uint8]

ANGLES = np.linspace(-18, 18, 7, dtype=np.float32)  # degrees tried; drawn shapes lean 12 at most
NEAR = 70.0  # RGB distance within which a pixel counts as a palette colour
FITS = 0.72  # least overlap (intersection over union) of picture and outline; see tests/demo for what is usual
EDGE = 3  # pixels around a shape's inside in which its soft edge may lie
STRAY = 0.005  # largest share of the picture that may have a third colour
LEAST_PIXELS = 12  # a shape smaller than this is none


@dataclass(frozen=True)
class Reading:
    """What a picture shows; None where it cannot be told. ``fit`` is the overlap with the best outline, 0 to 1."""

    shape: str | None
    color: str | None
    size: str | None
    background: str | None
    fit: float = 0.0

    def __str__(self) -> str:
        if not (self.shape and self.color and self.background):
            return f"unreadable (a {self.color or '?'} {self.shape or '?'} on {self.background or '?'}?)"
        return f"{Description(self.shape, self.color, self.size, self.background).caption()} (fit {self.fit:.2f})"


@dataclass(frozen=True)
class Verdict:
    """Which parts of a prompt a picture got right. A part the prompt leaves open is right."""

    shape: bool
    color: bool
    size: bool
    background: bool

    @property
    def right(self) -> bool:
        """Shape, colour and background, the parts a prompt is about; the size is judged apart."""
        return self.shape and self.color and self.background


def judge(prompt: str, image: Image) -> Verdict:
    """Compare a picture with a prompt of the grammar. Raises ValueError for any other prompt."""
    return compare(parse_prompt(prompt), check(image))


def compare(wanted: Description, seen: Reading) -> Verdict:
    """Which parts of a description a reading agrees with."""
    return Verdict(
        shape=seen.shape == wanted.shape,
        color=seen.color == wanted.color,
        size=wanted.size in (None, seen.size),
        background=wanted.background in (None, seen.background),
    )


def check(image: Image) -> Reading:
    """Read one picture, (height, width, 3) uint8."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is (height, width, 3) uint8, got {image.shape} {image.dtype}")
    pixels = image.astype(np.float32)
    names, palette = list(COLORS), np.array(list(COLORS.values()), np.float32)
    distance = np.linalg.norm(pixels[:, :, None] - palette, axis=-1)
    nearest = np.where(distance.min(-1) < NEAR, distance.argmin(-1), len(names))
    border = np.concatenate([nearest[0], nearest[-1], nearest[:, 0], nearest[:, -1]])
    ground = int(np.bincount(border, minlength=len(names) + 1)[:-1].argmax())
    counts = np.bincount(nearest[_inside(nearest)], minlength=len(names) + 1)[: len(names)]
    background = names[ground] if (border == ground).mean() > 0.5 else None
    counts[ground] = 0
    figure = int(counts.argmax())
    if counts[figure] < LEAST_PIXELS:
        return Reading(None, None, None, background)
    inside = _inside(nearest)
    reach = _grown(inside & (nearest == figure), EDGE)
    if (inside & ~reach & (nearest != ground)).mean() > STRAY:
        return Reading(None, names[figure], None, background)
    low, high = palette[ground], palette[figure]
    alpha = np.clip((pixels - low) @ (high - low) / np.square(high - low).sum(), 0, 1)
    alpha[~reach] = 0  # grain of the background is no part of the shape
    shape, radius, fit = _best_outline(alpha)
    if fit < FITS:
        return Reading(None, names[figure], None, background, fit)
    relative = radius / min(image.shape[:2])
    size = min(SIZES, key=lambda name: abs(np.log(relative / SIZES[name])))
    return Reading(shape, names[figure], size, background, fit)


def _inside(nearest: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Pixels whose right and lower neighbours have their colour: mixed edge pixels resemble other colours."""
    inside = np.zeros(nearest.shape, bool)
    inner = nearest[:-1, :-1]
    inside[:-1, :-1] = (inner == nearest[1:, :-1]) & (inner == nearest[:-1, 1:])
    return inside


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask and everything within so many pixels of it, along rows and columns."""
    padded = np.pad(mask, pixels)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(windows.any((2, 3)))


@lru_cache
def _moments(shape: str) -> tuple[float, float]:
    """Area of a shape of radius one, and how far its centroid lies above its centre."""
    side, radius = 256, 110.0
    mask = coverage(shape, np.array([[side / 2, side / 2]]), np.array([radius]), np.zeros(1), side, side)[0]
    rows = np.arange(side) + 0.5
    return float(mask.sum() / radius**2), float((side / 2 - (mask.sum(1) @ rows) / mask.sum()) / radius)


def _best_outline(alpha: Floats) -> tuple[str, float, float]:
    """Shape, radius in pixels and overlap of the drawn outline that fits a coverage mask (height, width) best."""
    height, width = alpha.shape
    area = alpha.sum()
    x = alpha.sum(0) @ (np.arange(width) + 0.5) / area
    y = alpha.sum(1) @ (np.arange(height) + 0.5) / area
    lean = np.radians(ANGLES)
    best = ("", 0.0, -1.0)
    for shape in SHAPES:
        unit_area, above = _moments(shape)
        radius = float(np.sqrt(area / unit_area))
        shift = above * radius * np.stack([np.sin(lean), np.cos(lean)], 1)
        outlines = coverage(shape, np.array([x, y]) + shift, np.full(len(lean), radius), ANGLES, height, width)
        overlap = np.minimum(outlines, alpha).sum((1, 2)) / np.maximum(outlines, alpha).sum((1, 2))
        if overlap.max() > best[2]:
            best = (shape, radius, float(overlap.max()))
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Say what pictures of the shapes checkpoint show; with --prompt, whether they show that.",
        epilog="example: python -m runner.demo.checker --prompt 'a large red star on a white background' picture.png",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG or WebP pictures")
    parser.add_argument("--prompt", help="judge against this; the exit code is 1 if any picture is wrong")
    chosen = parser.parse_args(arguments)
    from runner.outputs import read_pixels

    wrong = 0
    for file in chosen.files:
        try:
            image = read_pixels(file)
            verdict = judge(chosen.prompt, image) if chosen.prompt else None
        except (OSError, ValueError) as error:
            print(f"{file}: {error}", file=sys.stderr)
            return 2
        parts = {} if verdict is None else {**vars(verdict)}
        missed = [part for part, right in parts.items() if not right]
        wrong += verdict is not None and not verdict.right
        print(f"{file}: {check(image)}" + (f"; not as asked: {', '.join(missed)}" if missed else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
