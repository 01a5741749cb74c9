"""The parts of image diffusion, each usable alone: `from components import DDIMScheduler, UNet2DConditionModel`.

Names are loaded when they are asked for: importing this package imports neither torch, jax nor transformers. Nothing in
here knows recipes or the runner.
"""

import importlib
from typing import Any

_PARTS = {
    "AutoencoderKL": "components.torch_models.autoencoder_kl",
    "UNet2DModel": "components.torch_models.unet_2d",
    "UNet2DConditionModel": "components.torch_models.unet_2d_condition",
    "Checkpoint": "components.checkpoint",
    "CheckpointError": "components.errors",
    "open_checkpoint": "components.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return getattr(importlib.import_module(_PARTS[name]), name)
    if name.endswith("Scheduler"):
        return getattr(importlib.import_module("components.schedulers"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from components.schedulers import scheduler_classes

    return sorted([*_PARTS, *scheduler_classes()])
