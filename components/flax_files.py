"""Weights that Flax saved (`diffusion_flax_model.msgpack`, `flax_model.msgpack`): how Flax names a parameter and orders
its axes, and the files themselves, mapped into memory and read without flax, without copies, checked first.

A file is a tree of mappings in msgpack (github.com/msgpack/msgpack/blob/master/spec.md); its leaves are extensions of
type 1 that hold (shape, dtype, bytes), as flax.serialization writes them. Tensors get torch's names and axes here, as
all other files have them.
"""

import math
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.errors import CheckpointError, reading
from components.regular_files import open_regular
from components.tensor_headers import DTYPES, TensorInfo, refuse_lfs_pointer

SUFFIX = ".msgpack"
LAST_WORDS = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
AXES = {4: (3, 2, 0, 1), 2: (1, 0)}  # of a kernel, to torch's order: (h, w, in, out) and (in, out)
ITEM_SIZES = dict(DTYPES.values())
_ENTRY_OF_A_LIST = re.compile(
    r"^(down_blocks|up_blocks|attentions|resnets|transformer_blocks|downsamplers|upsamplers|to_out|net)_(\d+)$"
)


def torch_name(path: tuple[str, ...]) -> str:
    """A parameter's name in a torch state dict: ("to_out", "0", "kernel") is "to_out.0.weight"."""
    *parents, word = path
    return ".".join([*parents, LAST_WORDS.get(word, word)])


def torch_shape(word: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape torch gives to a parameter whose last word and shape these are."""
    return tuple(shape[axis] for axis in AXES[len(shape)]) if word == "kernel" and len(shape) in AXES else shape


def to_torch(word: str, tensor: np.ndarray) -> np.ndarray:
    """A parameter whose last word this is, with its axes in torch's order; a view."""
    return tensor.transpose(AXES[tensor.ndim]) if word == "kernel" and tensor.ndim in AXES else tensor


def from_torch(word: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor as torch saved it, with the axes of the parameter whose last word this is; a view."""
    return tensor.transpose(np.argsort(AXES[tensor.ndim])) if word == "kernel" else tensor


@dataclass(frozen=True)
class Leaf:
    """An array of a file: its last word, its own shape and dtype, and where its bytes are."""

    word: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    nbytes: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a file by torch's names and with torch's shapes. Their data is not read.

    Raises:
        CheckpointError: not such a file, or one that is truncated or corrupt; the message names the tensor.
    """
    with _mapped(path) as data:
        return {
            name: TensorInfo(torch_shape(leaf.word, leaf.shape), leaf.dtype, leaf.nbytes, path)
            for name, leaf in _Reader(path, data).leaves().items()
        }


def read_tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a file by torch's names and in torch's axes: views of the mapped file, which nobody may write to.

    Raises CheckpointError as `read_header`. Arrays in bfloat16 need ml_dtypes, which comes with JAX.
    """
    data = _mapped(path)
    for name, leaf in _Reader(path, data).leaves().items():
        array = np.frombuffer(data, np.dtype(leaf.dtype), math.prod(leaf.shape), leaf.offset)
        yield name, to_torch(leaf.word, array.reshape(leaf.shape))


def _mapped(path: Path) -> mmap.mmap:
    refuse_lfs_pointer(path)
    with reading(path), open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise CheckpointError(f"{path} is empty.")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Reader:
    """Walks a file once, from its first byte to its last; `place` is where it is, `tensor` what it is reading."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data = path, data
        self.place, self.end = 0, len(data)
        self.tensor = ""

    def leaves(self) -> dict[str, Leaf]:
        """Every array of the file by its name in torch."""
        found: dict[str, Leaf] = {}
        for path, leaf in self._walk(()):
            name = torch_name(tuple(_ENTRY_OF_A_LIST.sub(r"\1.\2", word) for word in path))
            if name in found:
                raise self._corrupt(f"tensor {name!r} is in it twice")
            found[name] = replace(leaf, word=path[-1])
        if self.place != self.end:
            raise self._corrupt(f"{self.end - self.place:,} bytes follow its last tensor")
        return found

    def _walk(self, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        self.tensor = "/".join(path)
        kind, size = self._head()
        if kind == "map":
            for _ in range(size):
                yield from self._walk((*path, self._word()))
        elif kind == "array of numbers" and path:
            yield path, self._leaf(size)
        else:
            raise self._corrupt(f"it holds {kind} where an array or a mapping should be")

    def _leaf(self, size: int) -> Leaf:
        """The array in an extension of so many bytes, all of which must be its own."""
        end = self.place + size
        if self._head() != ("list", 3):
            raise self._corrupt("an array should be a shape, a dtype and bytes")
        kind, dims = self._head()
        if kind != "list":
            raise self._corrupt(f"an array's shape is {kind}")
        shape = tuple(self._number() for _ in range(dims))
        dtype = self._word()
        kind, nbytes = self._head()
        leaf = Leaf("", shape, dtype, self.place, nbytes)
        self._skip(nbytes)
        if kind != "text" or self.place != end or nbytes != math.prod(shape) * ITEM_SIZES.get(dtype, -1):
            raise self._corrupt(f"its shape is {list(shape)} and its dtype {dtype}, but it has {nbytes:,} bytes")
        return leaf

    def _word(self) -> str:
        kind, size = self._head()
        if kind != "text":
            raise self._corrupt(f"it has {kind} where a name should be")
        begin = self.place
        self._skip(size)
        try:
            return self.data[begin : self.place].decode()
        except UnicodeDecodeError:
            raise self._corrupt("a name is not text") from None

    def _number(self) -> int:
        kind, value = self._head()
        if kind != "a number":
            raise self._corrupt(f"it has {kind} where a number should be")
        return value

    def _head(self) -> tuple[str, int]:
        """What comes next, and how long it is (of a number: its value). Text and bytes are told alike."""
        byte = self._take(1)
        for first, last, kind in _SMALL:
            if first <= byte <= last:
                return kind, byte - first
        if byte in _SIZED:
            kind, width = _SIZED[byte]
            size = self._take(width)
        elif 0xD4 <= byte <= 0xD8:
            kind, size = "array of numbers", 1 << (byte - 0xD4)
        else:
            return f"a value of type 0x{byte:02x}", 0
        if kind == "array of numbers" and (code := self._take(1)) != 1:
            return f"an extension of type {code}", 0
        return kind, size

    def _take(self, width: int) -> int:
        begin = self.place
        self._skip(width)
        return int.from_bytes(self.data[begin : self.place], "big")

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > self.end:
            what = f"tensor {self.tensor!r}" if self.tensor else "its first word"
            where = f"{what} ends at byte {self.place:,}"
            raise CheckpointError(
                f"{self.path} is truncated: {where}, the file has {self.end:,}. Download or copy it again."
            )

    def _corrupt(self, what: str) -> CheckpointError:
        at = f" at tensor {self.tensor!r}" if self.tensor else ""
        return CheckpointError(f"{self.path} is corrupt{at}: {what}.")


_SMALL = ((0x00, 0x7F, "a number"), (0x80, 0x8F, "map"), (0x90, 0x9F, "list"), (0xA0, 0xBF, "text"))
_SIZED = {
    **{0xC4 + i: ("text", 1 << i) for i in range(3)},  # bytes, with sizes of 1, 2 and 4 bytes
    **{0xC7 + i: ("array of numbers", 1 << i) for i in range(3)},  # extensions
    **{0xCC + i: ("a number", 1 << i) for i in range(4)},
    **{0xD9 + i: ("text", 1 << i) for i in range(3)},
    **{0xDC + i: ("list", 2 << i) for i in range(2)},
    **{0xDE + i: ("map", 2 << i) for i in range(2)},
}
