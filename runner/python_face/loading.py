"""From a checkpoint to the components of a pipeline object, and back into a folder. Knows no call and no picture."""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from components.checkpoint import Checkpoint, open_checkpoint
from components.component_files import ComponentFiles
from components.errors import CheckpointError, did_you_mean
from components.schedulers import find_scheduler
from components.torch_models.loading import as_dtype
from components.torch_models.saving import FORMAT_VERSION
from components.torch_models.text_encoder import save_text_encoder
from runner.backends.torch import load_component
from runner.bundled import checkpoint_source
from runner.families import Family
from runner.families.serving import find_family
from runner.families.stable_diffusion import SD
from runner.families.stable_diffusion_xl import SDXL

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
CLASSES = {
    SD: ("runner.python_face.stable_diffusion", "StableDiffusionPipeline"),
    SDXL: ("runner.python_face.stable_diffusion_xl", "StableDiffusionXLPipeline"),
}


def open_pipeline(repo: str | Path, replaced: Collection[str] = (), **where: Any) -> tuple[Checkpoint, type]:
    """A checkpoint, and the class here that serves its pipeline, without a look at the components that are replaced.

    Raises CheckpointError, RecipeError.
    """
    checkpoint = open_checkpoint(checkpoint_source(str(repo)), **where)
    unconditional = "runner.python_face.unconditional", checkpoint.index.get("_class_name", "")
    module, name = CLASSES.get(find_family(checkpoint, replaced), unconditional)
    return checkpoint, getattr(importlib.import_module(module), name)


def load_components(
    family: Family, checkpoint: Checkpoint, names: Iterable[str], dtype: torch.dtype | str | Mapping[str, Any] | None
) -> dict[str, Any]:
    """The named components, one after the other; optional ones that the checkpoint has not are left out.

    Raises TypeError for a dtype of a component there is not, CheckpointError.
    """
    for name in dtype if isinstance(dtype, Mapping) else ():
        if name not in (known := (*family.components, "scheduler", *UNUSED, "default")):
            raise TypeError(f"torch_dtype: there is no component {name!r}.{did_you_mean(name, known)}")
    loaded = {}
    for name in names:
        if name in family.optional and name not in checkpoint.component_names:
            continue
        files = checkpoint.component(name)
        if name == "scheduler":
            loaded[name] = find_scheduler(files.class_name).from_config(files.config)
            continue
        _check_class(family, name, files)
        loaded[name] = load_component(family.role(name), files, torch.device("cpu"), _dtype_of(name, dtype))
    return loaded


def save_components(
    folder: Path,
    class_name: str,
    components: Mapping[str, Any],
    flags: Mapping[str, Any],
    variant: str | None,
    max_shard_size: int | str,
) -> None:
    """model_index.json and the components, in the layout of the public checkpoints. Raises CheckpointError."""
    if folder.is_file():
        raise CheckpointError(f"{folder} is a file; expected a folder to save to.")
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": FORMAT_VERSION, **flags}
    for name, part in components.items():
        if part is None:
            index[name] = [None, None]
            continue
        library = "transformers" if name.startswith(("text_encoder", "tokenizer")) else "diffusers"
        index[name] = [library, type(part).__name__]
        if name.startswith("text_encoder"):
            save_text_encoder(part, folder / name, variant=variant, max_shard_size=max_shard_size)
        elif name.startswith("tokenizer") or name == "scheduler":
            part.save_pretrained(folder / name)
        else:
            part.save_pretrained(folder / name, variant=variant, max_shard_size=max_shard_size)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _dtype_of(name: str, dtype: torch.dtype | str | Mapping[str, Any] | None) -> Any:
    own = dtype.get(name, dtype.get("default")) if isinstance(dtype, Mapping) else dtype
    return own if own == "auto" else as_dtype(own)


def _check_class(family: Family, name: str, files: ComponentFiles) -> None:
    expected = family.models.get(name, (files.class_name,))[0]
    if files.class_name != expected:
        raise CheckpointError(f"{files.config_path}: the {name} is a {files.class_name}, but must be a {expected}.")
