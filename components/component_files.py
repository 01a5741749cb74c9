"""The files of one component of a checkpoint, and what their headers say. Reads no tensor data and imports no torch
(pickle files are the exception: only torch can list their tensors)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import CheckpointError, reading
from components.regular_files import CONFIGURATION, SHARD_INDEX, Kind, open_regular
from components.regular_files import read_json as read_any_json
from components.tensor_headers import TensorInfo, read_header, refuse_lfs_pointer

FORMAT_VERSION = "0.42.1"
"""Of the reference library that the files we write are meant to be read by."""


@dataclass(frozen=True)
class ComponentFiles:
    """The files of one component.

    `weights` are its safetensors (or pickle) files, in the order of the shards; `others` are further files it needs
    (vocabulary of a tokenizer, shard index). All of them, and the config, lie in `folder`.
    """

    name: str
    library: str
    class_name: str
    folder: Path
    config_path: Path
    config: Mapping[str, Any] = field(repr=False)
    weights: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    variant: str | None = None

    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor in the weight files, by name, from the headers alone.

        Raises:
            CheckpointError: a file is missing, truncated or corrupt; two shards have the same tensor; a tensor that the
                shard index promises is absent.
        """
        found: dict[str, TensorInfo] = {}
        for path in self.weights:
            for name, info in _header(path).items():
                if name in found:
                    raise CheckpointError(f"Tensor {name!r} is in {found[name].file} and again in {path.name}.")
                found[name] = info
        for index in (path for path in self.others if ".index." in path.name):
            for name, shard in read_weight_map(index).items():
                if name not in found or found[name].file.name != shard:
                    raise CheckpointError(f"{index} promises tensor {name!r} in {shard}, which does not have it.")
        return found

    def sha256(self) -> dict[str, str]:
        """SHA-256 of every file, by its name within `folder`.

        The hub's cache names large files by their SHA-256, which is then taken from there without reading them.
        """
        config = [self.config_path] if self.config_path.is_file() else []
        return {path.name: _sha256(path) for path in (*config, *self.weights, *self.others)}


def read_json(path: Path, kind: Kind = CONFIGURATION) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: it is absent, unreadable, no regular file, too large for its kind, or holds something else.
    """
    with reading(path):
        content = read_any_json(path, kind)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}; expected an object.")
    return content


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor name to shard file name, from a shard index. Shards are plain names in the index's own folder."""
    weight_map = read_json(index, SHARD_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map: it should name a file for each tensor.")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not re.fullmatch(r"\w[\w.+-]*", shard):
            raise CheckpointError(f"{index} puts tensor {name!r} in {shard!r}: expected the name of a file beside it.")
    return weight_map


def _header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a weight file of any kind."""
    if path.suffix == ".msgpack":
        from components import flax_files  # which needs numpy

        return flax_files.read_header(path)
    return pickle_header(path) if path.suffix == ".bin" else read_header(path)


def pickle_header(path: Path) -> dict[str, TensorInfo]:
    """As `read_header`, of a pickle file."""
    return {
        name: TensorInfo(tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.element_size(), path)
        for name, t in load_pickle(path).items()
    }


def load_pickle(path: Path) -> dict[str, Any]:
    """The tensors of a pickle file, memory-mapped where its format allows, through torch's weights-only loader.

    Raises:
        CheckpointError: not such a file, or one that holds more than tensors.
    """
    refuse_lfs_pointer(path)
    import pickle
    import zipfile

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} cannot be read by torch's weights-only loader: it is damaged, or holds more than tensors, which "
            "might run code. Use a repository with safetensors."
        ) from None
    except Exception as error:  # whatever a damaged pickle can raise
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be read by torch's weights-only loader: {reason}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise CheckpointError(f"{path} is not a dictionary of tensors.")
    return state


def _sha256(path: Path) -> str:
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    with reading(path), open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
