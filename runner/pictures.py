"""Opening a picture that anybody may have made: PNG, JPEG and WebP, told by their first bytes, and bounded in size.

Pillow knows fifty formats by itself, among them some that start other programs (EPS); none of those is ever tried here.
Every picture that this program reads is opened by `open_picture`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.regular_files import PICTURE, check_regular, open_regular

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_SIDE = 16384  # pixels; recipes allow no larger picture
"""Text in a PNG is Pillow's to bound: 1 MiB for each compressed chunk, inflated, and 64 MiB for all of them."""


class PictureError(ValueError):
    """A file that is no picture that can be read. The message names it."""


@contextmanager
def open_picture(path: Path) -> Iterator[ImageFile]:
    """The picture, its header read, its pixels not yet. Raises PictureError, also for what the block finds damaged."""
    try:
        check_regular(path, PICTURE)
        with open_regular(path) as file:
            head = file.read(12) or b""  # None: a file that would be waited for
            file.seek(0)
            kind = _kind(head)
            if kind is None:
                raise PictureError(f"{path}: not a picture that can be read (PNG, JPEG and WebP can)")
            with kind(file) as picture:
                if max(picture.size) > MAX_SIDE:
                    width, height = picture.size
                    raise PictureError(f"{path}: {width} × {height} pixels are more than {MAX_SIDE} × {MAX_SIDE}")
                yield picture
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{path}: there is not enough memory to open this picture") from None
    except Exception as error:  # whatever a damaged picture makes Pillow raise
        raise PictureError(f"{path}: not a picture that can be read ({_short(error, path)})") from error


def _kind(head: bytes) -> type[ImageFile] | None:
    """Pillow's class for a file that begins so. Called directly, it does not try others."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile
    if head.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile
    return None


def _short(error: Exception, path: Path) -> str:
    text = " ".join(str(error).split()).removeprefix(f"{path} ").removesuffix(".")
    return text[:200] or type(error).__name__
