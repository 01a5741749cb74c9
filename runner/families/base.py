"""What a kind of checkpoint is: which components it has, what each is for, and how a picture is asked of them.

A family is one frozen value in a file of this folder, found by the class names that model_index.json may say. What both
backends, planning and the Python face need to know of a checkpoint is asked of it; none of them names a component.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.latent_space import LatentSpace

if TYPE_CHECKING:
    from components.config_values import ModelConfig
    from components.schedulers.base import Scheduler
    from runner.backends.base import Array, Backend, Guidance, Role
    from runner.conditions import Conditions
    from runner.errors import Problem
    from runner.schema import Recipe

Configs = Mapping[str, Any]
"""Component name → its configuration: of the class in `Family.models` where there is one, else what the file says."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What a picture shall show, and its size in pixels.

    Below the blank line: what only some pipelines know. A second text encoder reads `prompt_2` (None: the prompt). Of
    the sizes (height, width) that SDXL is told, None is the picture's own; `flags` are the settings that a checkpoint's
    model_index.json has beside the components; `brought` are embeddings (1, …) that take the place of read texts, by
    the names of a call's arguments.
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
    brought: Mapping[str, Array] = field(default_factory=dict)


Scale = float | tuple[float, ...]
Encode = Callable[["Backend", Mapping[str, Any], Wish, "Guidance", Say], "Conditions"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A kind of checkpoint.

    classes: of pipelines, as model_index.json spells them. components: what is loaded, in this order; `optional` ones
    may be null in a checkpoint's index. models: networks of ours by component, each with its class name and
    configuration. network, autoencoder: which component denoises, and which makes latents of pictures, if any.
    scheduler: what it expects of one, whatever a file says.
    misfits: components that do not fit one another, with a clip skip; refusals: keys of a recipe that cannot work.
    size: (height, width) in pixels that it was trained for. guidance: what (scale, rescale) mean to its network;
    encode: what steers the network. upcasts: whether its autoencoders say that they overflow in float16.
    """

    classes: tuple[str, ...]
    components: tuple[str, ...]
    models: Mapping[str, tuple[str, type[ModelConfig]]]
    misfits: Callable[[int | None, Configs], list[Problem]]
    size: Callable[[Configs], tuple[int, int]]
    guidance: Callable[[Scale, float, Configs], Guidance]
    encode: Encode
    refusals: Callable[[Recipe, Configs], list[Problem]] = lambda recipe, configs: []
    optional: tuple[str, ...] = ()
    network: str = "unet"
    autoencoder: str | None = None
    upcasts: bool = False
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The components that read prompts: tokenizers and text encoders."""
        return tuple(name for name in self.components if name not in (self.network, self.autoencoder))

    def latents(self, configs: Configs) -> LatentSpace:
        """The space its network works in: the autoencoder's, or that of pixels."""
        if self.autoencoder is None:
            return LatentSpace(channels=configs[self.network].in_channels)
        return LatentSpace.of(configs[self.autoencoder])

    def decode(self, backend: Backend, parts: Mapping[str, Any], latents: Array) -> Array:
        """Latents (B, C, h, w) to images as `Backend.decode` gives them."""
        if self.autoencoder is None:
            return backend.decode(None, latents)
        vae = parts[self.autoencoder]
        return backend.decode(vae, latents, LatentSpace.of(vae.config), self.upcasts and vae.config.force_upcast)

    def role(self, component: str) -> Role:
        """What a component is for."""
        if component in (self.network, self.autoencoder):
            return "network" if component == self.network else "autoencoder"
        return "tokenizer" if component.startswith("tokenizer") else "encoder"

    def at_home(self, scheduler: Scheduler) -> Scheduler:
        """A scheduler with what this family expects of one."""
        wrong = {name: value for name, value in self.scheduler.items() if scheduler.config.get(name, value) != value}
        return scheduler.corrected(wrong) if wrong else scheduler
