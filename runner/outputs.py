"""What a run leaves on the disk: picture files that carry their own recipe, and writes that are whole or absent.

A file is written under a temporary name and renamed, so a killed run leaves no half picture; a batch's files are
renamed together. This module knows nothing of recipes beyond their text, nor of how a picture was made.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

EXTENSIONS = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}
_EXIF_SUB_IFD, _USER_COMMENT, _ASCII = 0x8769, 0x9286, b"ASCII\0\0\0"


class ImageRecordError(ValueError):
    """A picture file that cannot be read, or that carries no recipe."""


@dataclass(frozen=True)
class ImageRecord:
    """All that is needed to make one picture again, carried inside the picture.

    `batch` holds the indices of the images computed together with this one and `threads` the thread count: both decide
    the last bit. `together` is for pictures that were drawn with those of other recipes: these, packed (`pack`), in the
    order of the batch, this one's own being number `position`.
    `sha256` is of the pixels as drawn (height × width × 3 bytes, row by row), before any lossy coding.
    """

    recipe: str
    seed: int
    index: int
    batch: tuple[int, ...]
    threads: int
    device: str
    dtype: str
    sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)
    together: str = ""
    position: int = 0


def pack(recipes: Sequence[str]) -> str:
    """Texts that are much alike as one short text of plain letters."""
    return base64.b64encode(zlib.compress(json.dumps(list(recipes)).encode(), 9)).decode("ascii")


def unpack(text: str) -> list[str]:
    """The texts that `pack` was given. Raises ValueError for anything else."""
    try:
        return [str(one) for one in json.loads(zlib.decompress(base64.b64decode(text, validate=True)))]
    except (zlib.error, TypeError) as error:
        raise ValueError("not a packed list of recipes") from error


def pixel_sha256(pixels: np.ndarray) -> str:
    """sha256 of a picture's bytes, (H, W, 3) uint8 in row-major order: independent of the file format."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def image_name(index: int, seed: int, file_format: str) -> str:
    """`0003_45.png` for image 3, whose seed is 45."""
    return f"{index:04d}_{seed}{EXTENSIONS[file_format]}"


def encode_image(pixels: np.ndarray, file_format: str, record: ImageRecord) -> bytes:
    """A picture file as bytes, its record inside: PNG text chunks, or the EXIF comment of a JPEG or WebP.

    PNG and WebP keep every pixel; JPEG is lossy by nature (quality 95, colours not subsampled).
    """
    from PIL import Image, PngImagePlugin

    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    values = asdict(record)
    if file_format == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("recipe", values.pop("recipe"))
        chunks.add_text("seed", str(values.pop("seed")))
        chunks.add_text("run", json.dumps(values))
        image.save(buffer, "PNG", pnginfo=chunks)
        return buffer.getvalue()
    exif = Image.Exif()
    exif.get_ifd(_EXIF_SUB_IFD)[_USER_COMMENT] = _ASCII + json.dumps(values).encode("ascii")
    if file_format == "jpg":
        image.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    elif file_format == "webp":
        image.save(buffer, "WEBP", lossless=True, exif=exif)
    else:
        raise ValueError(f"output format {file_format!r} is not one of {', '.join(EXTENSIONS)}")
    return buffer.getvalue()


def read_pixels(path: Path) -> np.ndarray:
    """The pixels of a picture file, (H, W, 3) uint8. Raises ImageRecordError when it is not a readable picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageRecordError(f"{path}: not a picture that can be read ({error})") from error


def read_record(path: Path) -> ImageRecord:
    """The record a picture carries. Raises ImageRecordError when there is none, or the file is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            if image.format == "PNG":
                text: dict[str, Any] = dict(getattr(image, "text", {}))
                values = {**json.loads(text["run"]), "recipe": str(text["recipe"]), "seed": int(text["seed"])}
            else:
                comment = image.getexif().get_ifd(_EXIF_SUB_IFD)[_USER_COMMENT]
                values = json.loads(bytes(comment).removeprefix(_ASCII))
        values["batch"] = tuple(values["batch"])
        return ImageRecord(**values)
    except (OSError, SyntaxError) as error:
        raise ImageRecordError(f"{path}: not a picture that can be read ({error})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ImageRecordError(
            f"{path}: carries no recipe of this program (an editor or a web site may have removed it); "
            "replay the run's folder instead"
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Writes one file whole: under a temporary name first, then renamed over whatever was there."""
    write_together(path.parent, [(path.name, data)])


def write_together(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Writes several files of one folder, all complete before the first appears under its own name."""
    waiting: list[tuple[Path, Path]] = []
    try:
        for name, data in files:
            temporary = folder / f".{name}.{os.getpid()}.part"
            waiting.append((temporary, folder / name))
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        for temporary, final in waiting:
            temporary.replace(final)
    except BaseException:
        for temporary, _ in waiting:
            with suppress(FileNotFoundError):
                temporary.unlink()
        raise
    return [final for _, final in waiting]


def new_run_folder(root: Path, recipe_name: str, now: datetime | None = None) -> Path:
    """Makes and returns `root/<recipe>/<YYYY-MM-DD_HH-MM-SS>`, with `_2`, `_3` … when that second is taken."""
    stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    parent = root / recipe_name
    parent.mkdir(parents=True, exist_ok=True)
    attempt = 1
    while True:
        folder = parent / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            attempt += 1


def why_not_writable(folder: Path) -> str | None:
    """Why nothing can be written under `folder`, which need not exist yet; None when something can."""
    path = folder.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    if not path.is_dir():
        return f"{path} is a file, not a folder"
    return None if os.access(path, os.W_OK | os.X_OK) else f"{path} cannot be written to"


def to_json(value: Mapping[str, Any]) -> bytes:
    """JSON as people read it: indented, except that a list of plain values stays on one line."""
    return (_pretty(value, "") + "\n").encode("utf-8")


def _pretty(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        items = [f"{inner}{json.dumps(str(k))}: {_pretty(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        return "[\n" + ",\n".join(inner + _pretty(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
