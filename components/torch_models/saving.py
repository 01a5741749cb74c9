"""Configurations and weights into files, in the layout of the public checkpoints: greedy shards, variants in names.

Every file is written to a temporary name and renamed, so that an interrupted save leaves the earlier one whole.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from components.component_files import FORMAT_VERSION
from components.errors import CheckpointError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def save_config(folder: Path, class_name: str, config: Mapping[str, Any]) -> None:
    """Write `config.json`.

    Raises:
        CheckpointError: `folder` is a file.
    """
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file; expected a folder to save to.")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"_diffusers_version": FORMAT_VERSION, **config, "_class_name": class_name}
    _write_json(folder / "config.json", content)


def save_weights(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    base: str = "diffusion_pytorch_model",
    variant: str | None = None,
    max_shard_size: int | str = "10GB",
) -> None:
    """Write a state dict as safetensors, in one file or greedily filled shards with an index.

    `max_shard_size` counts bytes, or is a text such as "10GB" (decimal) or "512MiB".
    """
    from safetensors.torch import save_file

    stem = f"{base}.{variant}" if variant else base
    shards = _shards(state, byte_size(max_shard_size))
    names = [f"{stem}.safetensors"]
    if len(shards) > 1:
        names = [f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in names}
    try:
        for name, shard in zip(names, shards, strict=True):
            save_file({k: v.contiguous() for k, v in shard.items()}, temporary[name], metadata={"format": "pt"})
        for name, path in temporary.items():
            path.replace(folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    index = f"{base}.safetensors.index.{variant}.json" if variant else f"{base}.safetensors.index.json"
    if len(shards) > 1:
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        total = sum(t.numel() * t.element_size() for t in state.values())
        _write_json(folder / index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        names.append(index)
    _remove_stale(folder, base, variant, keep=names)


def byte_size(size: int | str) -> int:
    """Bytes of a size such as 1000, "10GB" or "512MiB"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(size), re.IGNORECASE)
    if match is None or match.group(2).upper() not in UNITS:
        raise ValueError(f"max_shard_size={size!r} is not a size; expected bytes, or a text such as '10GB', '512MiB'.")
    return int(float(match.group(1)) * UNITS[match.group(2).upper()])


def _shards(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """Tensors in state-dict order, a new shard where the next tensor would exceed the limit."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in state.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _remove_stale(folder: Path, base: str, variant: str | None, keep: list[str]) -> None:
    """Remove what an earlier save of the same variant left: other shard counts, a single file, an index."""
    b, v = re.escape(base), re.escape(f".{variant}") if variant else ""
    shard = r"-\d{5}-of-\d{5}"
    mine = re.compile(
        rf"{b}{v}({shard})?\.safetensors|{b}{shard}{v}\.safetensors"
        rf"|{b}\.safetensors\.index{v}\.json|{b}\.safetensors{v}\.index\.json"
    )
    for path in folder.iterdir():
        if mine.fullmatch(path.name) and path.name not in keep:
            path.unlink()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
