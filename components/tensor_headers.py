"""Headers of safetensors files: names, shapes, dtypes and places of the tensors, checked against the file's size.

Plain Python, no torch: planning reads sizes from here. Tensor data is never read.
The format: 8 bytes little-endian header length, a JSON header, then the data
(https://github.com/huggingface/safetensors#format).
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import CheckpointError, reading
from components.regular_files import JsonError, open_regular, parse_json

DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
LFS_POINTER = b"version https://git-lfs"
MAX_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor. `dtype` is a name as torch and numpy spell it."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    file: Path


def refuse_lfs_pointer(path: Path) -> None:
    """Raise a CheckpointError where there is no such file, or the small text that git leaves where git-lfs has not
    fetched it."""
    with reading(path), open_regular(path) as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the weights: run `git lfs install` and `git lfs pull` in the folder "
                "it was cloned to."
            )


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file, by name.

    Raises:
        CheckpointError: not a safetensors file, a Git LFS pointer, truncated, or with a header that contradicts itself.
    """
    refuse_lfs_pointer(path)
    with reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > MAX_HEADER:
            raise CheckpointError(f"{path} is not a safetensors file (its header would be {length:,} bytes long).")
        if 8 + length > size:
            raise CheckpointError(f"{path} is truncated: its header has {length:,} bytes, the whole file {size:,}.")
        raw = file.read(length)
    try:
        header = parse_json(raw, path)
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
    except JsonError as error:
        raise CheckpointError(f"{path} is corrupt: its header is not a JSON object: it {error.what}.") from None
    except AttributeError:
        raise CheckpointError(f"{path} is corrupt: its header is not a JSON object.") from None
    tensors = {name: _entry(path, name, entry, size - 8 - length) for name, entry in entries.items()}
    spans = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
    position = 0
    for begin, end in spans:
        if begin != position:
            raise CheckpointError(f"{path} is corrupt: its tensors overlap or leave a gap at data byte {position:,}.")
        position = end
    if position != size - 8 - length:
        raise CheckpointError(f"{path} is corrupt: {size - 8 - length - position:,} bytes belong to no tensor.")
    return tensors


def _entry(path: Path, name: str, entry: Any, data_bytes: int) -> TensorInfo:
    try:
        dtype, itemsize = DTYPES[entry["dtype"]]
        shape = tuple(int(n) for n in entry["shape"])
        begin, end = entry["data_offsets"]
        consistent = min(shape, default=0) >= 0 and begin >= 0 and end - begin == math.prod(shape) * itemsize
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} is corrupt: the header's entry of tensor {name!r} is {entry!r}.") from None
    if not consistent:
        raise CheckpointError(f"{path} is corrupt: tensor {name!r} of shape {list(shape)} has offsets {begin}, {end}.")
    if end > data_bytes:
        raise CheckpointError(
            f"{path} is truncated: tensor {name!r} ends at data byte {end:,}, the file has {data_bytes:,}. "
            "Download or copy it again."
        )
    return TensorInfo(shape, dtype, end - begin, path)
