"""Reading files that others may have made: regular files only, none larger than its kind can be.

A pipe would be waited for without end, a device such as /dev/zero never ends, a disk image fills the memory. So a file
is looked at before it is opened, again once it is open (what a name leads to may have changed in between), and read no
further than the limit of its kind. Everything here is plain Python.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

MAX_DEPTH = 100  # of lists and objects in each other in a JSON file; the real ones have at most seven


@dataclass(frozen=True)
class Kind:
    """What a file is read as, and how many bytes one of its kind has at most."""

    name: str
    limit: int


KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
REFERENCE = Kind("the name of a commit", KB)
RECIPE = Kind("a recipe", 256 * KB)
CONFIGURATION = Kind("a configuration", 4 * MB)  # the largest real ones list 1,000 betas: 25 kB
SHARD_INDEX = Kind("a shard index", 64 * MB)
VOCABULARY = Kind("a tokenizer's file", 64 * MB)  # CLIP's take 1 to 4 MB, those of language models up to 34 MB
CACHE = Kind("a cache of this program", 64 * MB)
RECORD = Kind("a record of this program", 512 * MB)  # plan.json takes some 3 kB for each picture of a sweep
PICTURE = Kind("a picture", GB)  # 16384 × 16384 pixels, uncompressed, take 0.8 GB
LATENTS = Kind("a file of latents", GB)


class IrregularError(OSError):
    """A path that leads to no regular file, or to one that is too large or cannot be meant. `what` says which."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} {what}")
        self.what = what


class JsonError(ValueError):
    """A text that is not the JSON it should be. `what` says why, as the end of a sentence about the file."""

    def __init__(self, source: Path | str, what: str) -> None:
        super().__init__(f"{source} {what}")
        self.what = what


_TYPES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """The file, open to be read in binary. Raises IrregularError for anything but a regular file, OSError as usual."""
    check_regular(path)  # a device may do something when it is opened
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _refuse_irregular(path, os.fstat(file.fileno()).st_mode)
        yield file


def check_regular(path: Path, kind: Kind | None = None) -> None:
    """Raises IrregularError where a path leads to something else than a regular file of this kind; opens nothing."""
    try:
        found = path.stat()
    except ValueError:  # a NUL in its name
        raise IrregularError(path, "cannot be the name of a file") from None
    _refuse_irregular(path, found.st_mode)
    if kind:
        _refuse_large(path, found.st_size, kind)


def read_bytes(path: Path, kind: Kind) -> bytes:
    """A whole file. Raises IrregularError, also where it is larger than its kind can be; OSError as usual."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        _refuse_large(path, size, kind)
        data = file.read(size + 1)
        if data is None:  # such as the kernel's log, which would be waited for
            raise IrregularError(path, "is not a file that can be read to its end")
        if len(data) > size:  # it grows, or does not tell its size
            data += file.read(kind.limit + 1 - len(data))
            _refuse_large(path, len(data), kind)
        return data


def read_json(path: Path, kind: Kind) -> Any:
    """What a JSON file holds. Raises JsonError, IrregularError, OSError as usual."""
    return parse_json(read_bytes(path, kind), path)


def parse_json(data: bytes | str, source: Path | str) -> Any:
    """The value of a JSON text of at most MAX_DEPTH levels; `source` is where it is from. Raises JsonError.

    Bytes are UTF-8, or of the encoding of Unicode that their first bytes tell, as some programs on Windows write it.
    """
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        raise JsonError(source, f"is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except UnicodeDecodeError as error:
        raise JsonError(source, f"is not {error.encoding.upper()} text (byte {error.start})") from None
    except RecursionError:
        raise JsonError(source, _TOO_DEEP) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise JsonError(source, f"is not usable JSON ({str(error).partition(';')[0]})") from None
    if _deeper(value, MAX_DEPTH):
        raise JsonError(source, _TOO_DEEP)
    return value


_TOO_DEEP = f"has lists or objects nested more than {MAX_DEPTH} deep"


def _deeper(value: Any, levels: int) -> bool:
    """Whether containers lie in each other more than so many levels deep."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def _refuse_irregular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = next((name for is_type, name in _TYPES if is_type(mode)), "something else")
        raise IrregularError(path, f"is {found}, not a file")


def _refuse_large(path: Path, size: int, kind: Kind) -> None:
    if size > kind.limit:
        raise IrregularError(path, f"is larger than {_told(kind.limit)}, which {kind.name} never is")


def _told(size: int) -> str:
    unit, name = next(one for one in ((GB, "GiB"), (MB, "MiB"), (KB, "KiB"), (1, "bytes")) if size >= one[0])
    return f"{size // unit} {name}"
