"""What a kind of pipeline has to say, and the search for the one that a checkpoint asks for by class name.

A pipeline is a module of this folder with the names of `Pipeline`; `CLASSES` are the `_class_name`s of model_index.json
that it serves. Adding one is adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from components.config_values import ModelConfig
    from components.schedulers.base import Scheduler
    from runner.backends.base import Array, Backend, Conditioning, Guidance
    from runner.errors import Problem
    from runner.schema import Recipe

Configs = Mapping[str, Any]
"""Component name → its configuration: of the class in MODELS where there is one, else what the file says."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What a picture shall show, and its size in pixels.

    Below the blank line: what only some pipelines know. A second text encoder reads `prompt_2` (None: the prompt). Of
    the sizes (height, width) that SDXL is told, None is the picture's own; `flags` are the settings that a checkpoint's
    model_index.json has beside the components.
    """

    prompt: str
    height: int
    width: int
    negative_prompt: str | None = None
    clip_skip: int | None = None

    prompt_2: str | None = None
    negative_prompt_2: str | None = None
    original_size: tuple[int, int] | None = None
    crops_coords_top_left: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] | None = None
    negative_original_size: tuple[int, int] | None = None
    negative_crops_coords_top_left: tuple[int, int] = (0, 0)
    negative_target_size: tuple[int, int] | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)


class Pipeline(Protocol):
    """A module that knows which component does what. `OPTIONAL` components may be null in a checkpoint's index."""

    CLASSES: tuple[str, ...]
    COMPONENTS: tuple[str, ...]
    OPTIONAL: tuple[str, ...]
    MODELS: Mapping[str, tuple[str, type[ModelConfig]]]
    SCHEDULER_PATCH: Mapping[str, Any]

    def problems(self, recipe: Recipe, configs: Configs) -> list[Problem]:
        """What cannot work with this recipe and these components."""
        ...

    def vae_factor(self, configs: Configs) -> int:
        """Pixels per latent, along each side."""
        ...

    def default_size(self, configs: Configs) -> tuple[int, int]:
        """(height, width) in pixels that the checkpoint was trained for."""
        ...

    def latent_channels(self, configs: Configs) -> int: ...

    def guidance(self, scale: float, rescale: float, configs: Configs) -> Guidance:
        """What these numbers mean to this checkpoint's network."""
        ...

    def encode(
        self, backend: Backend, parts: Mapping[str, Any], wish: Wish, guidance: Guidance, say: Say
    ) -> Conditioning:
        """What steers the network."""
        ...

    def decode(self, backend: Backend, parts: Mapping[str, Any], latents: Array) -> Array:
        """Images as `Backend.decode` gives them."""
        ...


def at_home(kind: Any, scheduler: Scheduler) -> Scheduler:
    """A scheduler with what a family of checkpoints expects of one, whatever its file says."""
    wrong = {name: value for name, value in kind.SCHEDULER_PATCH.items() if scheduler.config.get(name, value) != value}
    return scheduler.corrected(wrong) if wrong else scheduler


@cache
def pipelines() -> dict[str, Any]:
    """Pipeline class name, as checkpoints spell it, → the module that serves it."""
    found = {}
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"runner.pipelines.{info.name}")
        for name in getattr(module, "CLASSES", ()):
            found[name] = module
    return found
