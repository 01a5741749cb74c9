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
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from components.regular_files import MB, RECORD, IrregularError, JsonError, parse_json, read_json
from runner.errors import Problem, RecipeError
from runner.pictures import PictureError, open_picture

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

EXTENSIONS = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}
_EXIF_SUB_IFD, _USER_COMMENT, _ASCII = 0x8769, 0x9286, b"ASCII\0\0\0"


MAX_TOGETHER = 64 * MB  # of the recipes of a batch, unpacked: 4,096 of 16 kB each

Threads = Annotated[int, Field(ge=1, le=4096)]
Device = Annotated[str, Field(pattern=r"^\w{1,20}(:\d{1,4})?$")]
Dtype = Literal["float32", "bfloat16", "float16"]
Numerics = Annotated[int, Field(ge=0, lt=2**31)]
Index = Annotated[int, Field(ge=0, lt=2**31)]
BatchIndices = Annotated[tuple[Index, ...], Field(min_length=1, max_length=65536)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    if not path or path[0] in "/~" or ".." in path.split("/") or any(letter in path for letter in "\\:\0"):
        raise ValueError("leads out of its folder")
    return path


PathInside = Annotated[str, AfterValidator(_inside)]


class ImageRecordError(PictureError):
    """A picture that carries no recipe, or a record that nothing can be made from."""


@dataclass(frozen=True)
class ImageRecord:
    """All that is needed to make one picture again, carried inside the picture.

    `batch` holds the indices of the images computed together with this one and `threads` the thread count: both decide
    the last bit, as do the program's `numerics` (provenance.NUMERICS). `together` is for pictures that were drawn with
    those of other recipes: these, packed (`pack`), in the order of the batch, this one's own being number `position`.
    `files`: of each key that names a folder, path in it → size and sha256 of what was read (named_files.py).
    `sha256` is of the pixels as drawn (height × width × 3 bytes, row by row), before any lossy coding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")  # where one is read

    recipe: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    index: Index
    batch: BatchIndices
    threads: Threads
    device: Device
    dtype: Dtype
    sha256: Sha256
    versions: dict[str, str] = field(default_factory=dict)
    together: str = ""
    position: Annotated[int, Field(ge=0, lt=65536)] = 0
    numerics: Numerics = 1
    files: dict[str, dict[PathInside, tuple[Annotated[int, Field(ge=0)], Sha256]]] = field(default_factory=dict)


def pack(recipes: Sequence[str]) -> str:
    """Texts that are much alike as one short text of plain letters."""
    return base64.b64encode(zlib.compress(json.dumps(list(recipes)).encode(), 9)).decode("ascii")


def unpack(text: str) -> list[str]:
    """The texts that `pack` was given. Raises ValueError for anything else, and for more than MAX_TOGETHER bytes."""
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), MAX_TOGETHER)
    except (zlib.error, ValueError) as error:
        raise ValueError("not a packed list of recipes") from error
    if inflate.unconsumed_tail:
        raise ValueError(f"the recipes of its batch take more than {MAX_TOGETHER // MB} MiB unpacked")
    recipes = parse_json(data, "the packed list of recipes")
    if not isinstance(recipes, list) or not all(isinstance(recipe, str) for recipe in recipes):
        raise ValueError("not a packed list of recipes")
    return recipes


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
    if not record.files:
        del values["files"]
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
        save_jpeg(image, buffer, exif)
    elif file_format == "webp":
        image.save(buffer, "WEBP", lossless=True, exif=exif)
    else:
        raise ValueError(f"output format {file_format!r} is not one of {', '.join(EXTENSIONS)}")
    return buffer.getvalue()


def save_jpeg(image: Image.Image, to: IO[bytes], exif: Image.Exif | None = None) -> None:
    """As a JPEG whose pixels depend on the picture alone: quality 95, colours not subsampled."""
    image.save(to, "JPEG", quality=95, subsampling=0, **({} if exif is None else {"exif": exif}))


def read_pixels(path: Path) -> np.ndarray:
    """The pixels of a picture file, (H, W, 3) uint8. Raises PictureError when it is not a readable picture."""
    with open_picture(path) as image:
        return np.asarray(image.convert("RGB"))


def read_record(path: Path) -> ImageRecord:
    """The record a picture carries, every value of it as strict as a recipe's.

    Raises ImageRecordError when there is none or it is damaged, PictureError when the file is no picture.
    """
    with open_picture(path) as image:
        image.load()
        text = {key: str(value) for key, value in getattr(image, "text", {}).items()}
        comment = image.getexif().get_ifd(_EXIF_SUB_IFD).get(_USER_COMMENT) if image.format != "PNG" else None
    said = text.get("run") if text.keys() >= {"run", "recipe", "seed"} else _ours(comment)
    if said is None:
        raise ImageRecordError(
            f"{path}: carries no recipe of this program (an editor or a web site may have removed it); "
            "replay the run's folder instead"
        )
    try:
        values = parse_json(said, "it")
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        if comment is None:
            seed = text["seed"]
            values |= {"recipe": text["recipe"], "seed": int(seed) if re.fullmatch("[0-9]{1,19}", seed) else seed}
        record = checked(ImageRecord, values)
        if record.index not in record.batch:
            raise ValueError("index: is not one of its batch")
        return record
    except ValueError as error:
        raise ImageRecordError(f"{path}: the record in this picture is damaged: {error}") from error


def _ours(comment: object) -> str | None:
    """The record in an EXIF comment; None where the comment is somebody else's."""
    if not isinstance(comment, bytes | str):
        return None
    text = comment if isinstance(comment, str) else comment.removeprefix(_ASCII).decode("ascii", "replace")
    return text if text.startswith("{") and '"recipe"' in text else None


def checked(kind: type[T], values: Any) -> T:
    """Values read from a file as a dataclass of this kind. Raises ValueError that names the first bad key."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values))  # as JSON a list may be a tuple
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))[:100]
        given = "" if first["type"] == "missing" else f", not {first['input']!r:.60}"
        raise ValueError(f"{key}: {first['msg'].lower()}{given}") from None


def read_saved(path: Path) -> Any:
    """A JSON file that a run or a sweep left. Raises RecipeError where it cannot be read, or FileNotFoundError."""
    try:
        return read_json(path, RECORD)
    except FileNotFoundError:
        raise
    except (IrregularError, JsonError) as error:
        raise RecipeError([Problem(str(path), error.what)]) from error
    except OSError as error:
        raise RecipeError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error


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
