"""Small copies of a sweep's pictures, kept in the sweep's folder so that a page is written again in no time.

A copy is named by the hash of the picture's pixels: it can be lost, but it cannot be out of date.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from components.regular_files import PICTURE, read_bytes
from runner.pictures import PictureError, open_picture
from runner.sweep.results import ImageResult, SweepResults

FOLDER = ".thumbnails"
FEW = 500  # so many pictures still get large copies: about 15 kB each in the page
LARGE, SMALL = 256, 160


def thumbnails(results: SweepResults, images: Sequence[ImageResult]) -> list[bytes]:
    """A WebP file for each of a sweep's pictures, in their order; b"" for one that cannot be read any more.

    At most 256 pixels wide and high (160 in a large sweep). A picture that small already keeps every pixel.
    """
    side = _side(results)
    folder = results.folder / FOLDER
    names = [f"{image.sha256}_{side}.webp" for image in images]
    kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = {name: image for name, image in zip(names, images, strict=True) if name not in kept}
    if missing:
        folder.mkdir(exist_ok=True)
    new = {name: _kept(folder / name, _small_copy(image.file, side)) for name, image in missing.items()}
    read = {name: read_bytes(folder / name, PICTURE) for name in kept.intersection(names)} | new
    return [read[name] for name in names]


def _side(results: SweepResults) -> int:
    """By the number of pictures to be, not of those there are: a growing sweep keeps its copies."""
    per_job = max((image.index + 1 for image in results.images), default=1)
    return LARGE if max(len(results.images), results.planned * per_job) <= FEW else SMALL


def _kept(path: Path, data: bytes) -> bytes:
    """The data, whole in its file or not there; not forced to the disk, as a copy that is lost is made again."""
    if data:
        waiting = path.with_suffix(f".{os.getpid()}.part")
        waiting.write_bytes(data)
        waiting.replace(path)
    return data


def _small_copy(file: Path, side: int) -> bytes:
    from PIL.Image import Resampling

    try:
        with open_picture(file) as image:
            lossless = max(image.size) <= side
            small = image.convert("RGB")
    except PictureError:
        return b""
    small.thumbnail((side, side), Resampling.LANCZOS, reducing_gap=3.0)
    data = io.BytesIO()
    small.save(data, "WEBP", quality=80, lossless=lossless, method=2)
    return data.getvalue()
