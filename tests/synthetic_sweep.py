"""A sweep that was never run: pictures drawn from their values, so that tests of what is made of a sweep are quick."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from runner.sweep.results import Failure, ImageResult, SweepResults

STEPS = 20


def picture(values: Sequence[int], size: int = 64) -> np.ndarray:
    """A coloured disc on a ground, (size, size, 3) uint8: place, colours and radius follow from the values."""
    rng = np.random.default_rng(list(values))
    y, x = np.mgrid[0:size, 0:size] / size
    centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3)
    disc = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * size / 2 + 0.5, 0, 1)[..., None]
    ground, ink = rng.uniform(0, 255, (2, 3))
    return np.round(ground * (1 - disc) + ink * disc).astype(np.uint8)


def sweep(
    folder: Path,
    axes: Mapping[str, Sequence[Any]],
    *,
    size: int = 64,
    failed: Sequence[int] = (),
    missing: Sequence[int] = (),
    metrics: bool = True,
    planned: int | None = None,
    **more: Any,
) -> SweepResults:
    """A sweep over axes with its pictures in `folder`; `failed` and `missing` are numbers of jobs without a picture."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, failures, jobs = [], [], list(product(*(range(len(values)) for values in axes.values())))
    for number, spot in enumerate(jobs):
        varied = {key: values[at] for (key, values), at in zip(axes.items(), spot, strict=True)}
        job = hashlib.sha256(repr(varied).encode()).hexdigest()[:16]
        if number in failed:
            failures.append(Failure(job, varied, f"CheckpointError: job {number} found no weights", varied.get("seed")))
        elif number not in missing:
            images.append(_image(folder, number, job, varied, spot, size, metrics))
    return SweepResults("shapes", folder, axes, images, failures, len(jobs) if planned is None else planned, **more)


def data_of(page: Path) -> dict[str, Any]:
    """What a sweep's page holds as data."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"))
    return json.loads(text)


def _image(
    folder: Path, number: int, job: str, varied: dict[str, Any], spot: Sequence[int], size: int, metrics: bool
) -> ImageResult:
    pixels = picture(spot, size)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    file = folder / "images" / f"{number:04d}.png"
    file.write_bytes(data.getvalue())
    rng = np.random.default_rng([*spot, 1])
    recipe = "name: shapes\n" + "".join(f"{key}: {value!r}\n" for key, value in varied.items()) + f"steps: {STEPS}\n"
    return ImageResult(
        job=job,
        varied=varied,
        seed=int(varied.get("seed", 0)),
        index=0,
        file=file,
        recipe=recipe,
        nfe=STEPS,
        steps=STEPS,
        seconds=float(rng.uniform(0.1, 0.4)),
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        width=size,
        height=size,
        metrics={"relative_l2": float(rng.uniform(0, 0.5)), "psnr": float(rng.uniform(15, 40))} if metrics else {},
    )
