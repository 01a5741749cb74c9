"""Draws the pictures the demo checkpoint was trained on, and speaks their caption grammar.

One antialiased shape on a plain background, its place, angle and exact radius random. The shapes are signed distances
evaluated for a whole batch at once, so a core draws thousands of 64x64 pictures a second. Numpy only. Does not train,
tokenise or judge anything: see train_shapes.py and checker.py.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (250, 220, 40),
    "purple": (140, 50, 170),
    "orange": (250, 140, 20),
    "white": (255, 255, 255),
    "black": (10, 10, 10),
}
# The radius of the circle around the shape, as a fraction of the picture's shorter side; drawn within RADIUS_JITTER.
SIZES: dict[str, float] = {"small": 0.165, "medium": 0.25, "large": 0.36}
RADIUS_JITTER = 0.06
MAX_ANGLE = 12.0  # degrees, either way
MARGIN = 1.5  # pixels kept free between the shape's circle and the picture's edge


@dataclass(frozen=True)
class Description:
    """What a picture shows. A prompt may leave the size or the background open (None)."""

    shape: str
    color: str
    size: str | None
    background: str | None

    def caption(self) -> str:
        """The description in the words of the grammar, e.g. ``a large red star on a white background``."""
        words = [word for word in (self.size, self.color, self.shape) if word]
        text = f"{_article(words[0])} {' '.join(words)}"
        if self.background:
            text += f" on {_article(self.background)} {self.background} background"
        return text


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def random_description(rng: np.random.Generator) -> Description:
    """Uniform over shapes, sizes, colours and backgrounds; the background is never the shape's own colour."""
    color, background = rng.choice(list(COLORS), 2, replace=False)
    return Description(str(rng.choice(list(SHAPES))), str(color), str(rng.choice(list(SIZES))), str(background))


def random_prompt(rng: np.random.Generator) -> str:
    """A caption of the grammar, all four parts named."""
    return random_description(rng).caption()


def parse_prompt(prompt: str) -> Description:
    """Read a prompt of the grammar, size and background optional, capitals and a full stop forgiven.

    Raises ValueError naming the words that would have been understood.
    """
    colors, sizes, shapes = "|".join(COLORS), "|".join(SIZES), "|".join(SHAPES)
    pattern = rf"an? (?:({sizes}) )?({colors}) ({shapes})(?: on an? ({colors}) background)?\.?"
    match = re.fullmatch(pattern, " ".join(prompt.lower().split()))
    if match is None:
        raise ValueError(
            f"the prompt {prompt!r} is not of the form 'a large red star on a white background'; "
            f"sizes: {', '.join(SIZES)}; colours: {', '.join(COLORS)}; shapes: {', '.join(SHAPES)}"
        )
    size, color, shape, background = match.groups()
    return Description(shape, color, size, background)


def vocabulary() -> list[str]:
    """Every word the grammar can produce."""
    return ["a", "an", "on", "background", *SIZES, *COLORS, *SHAPES]


# Signed distances to shapes that fit the unit circle, x to the right and y up: negative inside, one unit a radius.


def _box(x: Floats, y: Floats, half_width: float, half_height: float) -> Floats:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _circle(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - 0.95


def _square(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 0.72, 0.72)


def _triangle(x: Floats, y: Floats) -> Floats:
    return np.maximum(-y, math.sqrt(0.75) * np.abs(x) + 0.5 * y) - 0.5


def _star(x: Floats, y: Floats) -> Floats:
    inner = 0.42
    sector = 2 * math.pi / 5
    # Fold the plane onto half of one arm, whose edge runs from the tip (1, 0) to the notch at 36 degrees.
    angle = np.abs(np.mod(np.arctan2(x, y) + sector / 2, sector) - sector / 2)
    radius = np.hypot(x, y)
    notch_x, notch_y = inner * math.cos(sector / 2), inner * math.sin(sector / 2)
    length = math.hypot(notch_y, 1 - notch_x)
    normal_x, normal_y = notch_y / length, (1 - notch_x) / length
    return normal_x * (radius * np.cos(angle) - 1) + normal_y * radius * np.sin(angle)


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(np.hypot(x, y) - 0.74) - 0.22


def _cross(x: Floats, y: Floats) -> Floats:
    return np.minimum(_box(x, y, 0.92, 0.29), _box(x, y, 0.29, 0.92))


def _heart(x: Floats, y: Floats) -> Floats:
    # A square standing on its corner and a disc over each of its two upper sides.
    half, diagonal = 0.56, math.sqrt(0.5)
    x, y = np.abs(x), y + 0.14
    square = _box((x + y) * diagonal, (x - y) * diagonal, half, half)
    return np.minimum(square, np.hypot(x - half * diagonal, y - half * diagonal) - half)


def _diamond(x: Floats, y: Floats) -> Floats:
    a, b = 0.62, 0.98
    return (b * np.abs(x) + a * np.abs(y) - a * b) / math.hypot(a, b)


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "heart": _heart,
    "diamond": _diamond,
}


def coverage(shape: str, center: Floats, radius: Floats, angle: Floats, height: int, width: int) -> Floats:
    """How much of every pixel one kind of shape covers: (n, height, width) in [0, 1].

    ``center`` is (n, 2) as x, y in pixels, ``radius`` (n,) in pixels, ``angle`` (n,) in degrees anticlockwise.
    """
    center, radius, angle = (np.asarray(a, np.float32) for a in (center, radius, np.radians(angle)))
    x = np.arange(width, dtype=np.float32)[None, None, :] + 0.5 - center[:, 0, None, None]
    y = center[:, 1, None, None] - 0.5 - np.arange(height, dtype=np.float32)[None, :, None]
    scale = 1 / radius[:, None, None]
    cos, sin = np.cos(angle)[:, None, None] * scale, np.sin(angle)[:, None, None] * scale
    distance = SHAPES[shape](cos * x + sin * y, cos * y - sin * x)
    return np.clip(0.5 - distance * radius[:, None, None], 0, 1)


@dataclass
class Batch:
    """Pictures (n, height, width, 3) uint8 and what each shows."""

    images: NDArray[np.uint8]
    descriptions: list[Description]

    def captions(self) -> list[str]:
        return [description.caption() for description in self.descriptions]


def draw(descriptions: list[Description], rng: np.random.Generator, height: int = 64, width: int = 64) -> Batch:
    """Draw each description once, its place, angle and radius random. Every part must be named."""
    for description in descriptions:
        for field in fields(description):
            if getattr(description, field.name) is None:
                raise ValueError(f"nothing says which {field.name} to draw in {description.caption()!r}")
    n, side = len(descriptions), min(height, width)
    radius = np.array([SIZES[d.size or ""] for d in descriptions]) * side
    radius *= rng.uniform(1 - RADIUS_JITTER, 1 + RADIUS_JITTER, n)
    angle = rng.uniform(-MAX_ANGLE, MAX_ANGLE, n)
    reach = (radius + MARGIN)[:, None]
    center = reach + rng.uniform(size=(n, 2)) * (np.array([width, height]) - 2 * reach)
    colors = np.array([COLORS[d.color] for d in descriptions], np.float32)
    backgrounds = np.array([COLORS[d.background or ""] for d in descriptions], np.float32)
    images = np.empty((n, height, width, 3), np.uint8)
    kinds = np.array([d.shape for d in descriptions])
    for shape in SHAPES:
        which = np.flatnonzero(kinds == shape)
        if not which.size:
            continue
        alpha = coverage(shape, center[which], radius[which], angle[which], height, width)[..., None]
        low, high = backgrounds[which, None, None], colors[which, None, None]
        images[which] = np.rint(low + alpha * (high - low))
    return Batch(images, descriptions)


def draw_random(n: int, rng: np.random.Generator, height: int = 64, width: int = 64) -> Batch:
    """``n`` pictures of random descriptions."""
    return draw([random_description(rng) for _ in range(n)], rng, height, width)


def batches(size: int, seed: int, height: int = 64, width: int = 64) -> Iterator[Batch]:
    """An endless stream of random batches; the same seed gives the same stream."""
    rng = np.random.default_rng(seed)
    while True:
        yield draw_random(size, rng, height, width)
