"""manifest.json: how a run's pictures came about, in enough detail to make them again or to see why they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field

from runner.outputs import BatchIndices, Device, Dtype, Index, Numerics, Sha256, Threads
from runner.provenance import FileSums, git_state, machine

if TYPE_CHECKING:
    from components.schedulers import Tableau
    from runner.drawing import Made
    from runner.plan import Plan

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class SavedImage:
    """What the manifest says of one picture, a file beside it."""

    file: Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]
    index: Index
    sha256: Sha256


@dataclass(frozen=True)
class SavedRun:
    """What of a manifest a replay goes by. The rest is for people."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    images: list[SavedImage]
    batches: list[BatchIndices]
    threads: Threads
    device: Device
    dtype: Dtype
    numerics: Numerics = 1


def describe_run(plan: Plan, made: Made, started: datetime) -> dict[str, Any]:
    """All of the manifest that is known before the first image: an entry for each thing that decides the pictures."""
    recipe = plan.recipe
    return {
        "format": FORMAT,
        "recipe": recipe.name,
        "started": started.astimezone().isoformat(timespec="seconds"),
        "finished": False,
        "images": [],
        "width": plan.width,
        "height": plan.height,
        "batches": [list(batch.indices) for batch in plan.batches],
        **{name: made.facts[name] for name in ("device", "dtype", "threads", "numerics")},
        "noise": recipe.noise.device,
        "scheduler": {
            "class": type(plan.scheduler).__name__,
            "options": recipe.scheduler.options,
            "config": _finite(plan.scheduler.config),
            "inherited": _finite(plan.scheduler.inherited),
            "dropped": _finite(plan.scheduler.dropped),
        },
        "table": describe_table(plan.tableau),
        "checkpoint": describe_checkpoint(plan),
        "versions": made.facts["versions"],
        "machine": machine(),
        "git": git_state(Path.cwd()),
        "seconds": {},
    }


def describe_table(table: Tableau) -> dict[str, Any]:
    """The rows as timestep and sigma, the noise-to-signal ratio; sigma has the last landing as one entry more.

    A ratio without end (no signal at all, alpha = 0) is null, as JSON has no infinity.
    """
    with np.errstate(divide="ignore"):
        sigma = np.append(table.read[:, 1] / table.read[:, 0], table.land[-1, 1] / table.land[-1, 0])
    return {
        "steps": table.steps,
        "nfe": table.nfe,
        "init_noise_sigma": float(table.init_noise_sigma),
        "timestep": [float(t) for t in table.timestep],
        "sigma": [float(s) if np.isfinite(s) else None for s in sigma],
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Sentences on what differs between two records under these keys, one level deep."""
    lines = []
    for key in keys:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            lines += [f"{name}: {before.get(name)} then, {after.get(name)} now" for name in names]
        elif before != after:
            lines.append(f"{key}: {before} then, {after} now")
    return lines


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them: an infinite limit (lambda_min_clipped) becomes a word."""
    return {
        name: str(value) if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in values.items()
    }


def describe_checkpoint(plan: Plan) -> dict[str, Any]:
    """Where each component comes from, with the sha256 of its files."""
    sums = FileSums()
    components = {}
    for name, files in plan.components.items():
        hashed = sums.sums(
            [*files.weights, *files.others, *([files.config_path] if files.config_path.is_file() else [])]
        )
        components[name] = {
            "class": files.class_name,
            "folder": str(files.folder),
            "variant": files.variant,
            "sha256": {file.name: digest for file, digest in hashed.items()},
        }
    return {
        "repo": plan.recipe.checkpoint.repo,
        "revision": plan.checkpoint.commit,
        "components": components,
    }
