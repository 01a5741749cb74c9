"""The runner: a recipe becomes a plan, the plan becomes pictures in a folder. Importing it imports nothing else.

For use from Python the pipelines are here too, and with them the parts: `from runner import StableDiffusionPipeline,
DDIMScheduler`. Names are loaded when they are asked for.
"""

import importlib
from typing import Any

_PIPELINES = {
    "DiffusionPipeline": "runner.python_face.base",
    "StableDiffusionPipeline": "runner.python_face.stable_diffusion",
    "StableDiffusionXLPipeline": "runner.python_face.stable_diffusion_xl",
    "DDPMPipeline": "runner.python_face.unconditional",
    "DDIMPipeline": "runner.python_face.unconditional",
    "FlaxDiffusionPipeline": "runner.python_face.flax",
    "FlaxStableDiffusionPipeline": "runner.python_face.flax",
    "FlaxStableDiffusionXLPipeline": "runner.python_face.flax",
}


def __getattr__(name: str) -> Any:
    if name in _PIPELINES:
        return getattr(importlib.import_module(_PIPELINES[name]), name)
    if name.endswith(("Scheduler", "Model")) or name in ("AutoencoderKL", "AysSchedules"):
        source = "components.schedulers" if name == "AysSchedules" else "components"
        return getattr(importlib.import_module(source), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    import components

    return sorted([*globals(), *_PIPELINES, *dir(components)])
