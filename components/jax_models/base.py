"""What every JAX network here has in common: a recorded configuration, and being filled with a component's weights.

A network is made without weights (nothing here initialises any at random) and cannot be called before it is filled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from components.checkpoint import open_checkpoint
from components.component_files import ComponentFiles
from components.config_values import ModelConfig
from components.errors import CheckpointError
from components.jax_models.loading import Device, load_state

M = TypeVar("M", bound="Model")


class Model(nnx.Module):
    """A network built from a `ModelConfig`, given whole or as keyword options. `config` is that configuration."""

    config_class: ClassVar[type[ModelConfig]]
    config: Any

    def __init__(self, config: ModelConfig | None = None, /, **options: Any) -> None:
        self.config = self.config_class.from_options(**options) if config is None else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A network without weights.

        Raises:
            ValueError: the configuration is of another class, or has a value that is not supported.
        """
        if isinstance(config, cls.config_class):
            return cls(config)
        return cls(cls.config_class.from_dict(config))

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        *,
        subfolder: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
        dtype: DTypeLike | None = None,
        device: Device | None = None,
    ) -> Self:
        """The network of a folder or hub repository, with the weights that torch saved.

        Args:
            dtype: of the loaded weights, float32 by default whatever the file has.
            device: where to put them; None: JAX's default device.

        Raises:
            CheckpointError: something is absent, damaged or does not fit; the message names the file and the tensors.
        """
        checkpoint = open_checkpoint(repo, revision=revision, need_index=False)
        files = checkpoint.component(None, subfolder=subfolder or "", variant=variant)
        return load_model(cls, files, device=device, dtype=dtype)


def load_model(
    model: type[M], files: ComponentFiles, *, device: Device | None = None, dtype: DTypeLike | None = None
) -> M:
    """A model class filled with a component's weights.

    Raises:
        CheckpointError: the configuration is not supported or of another class, or the weights do not fit it.
    """
    try:
        made = model.from_config(files.config)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{files.config_path}: {error}") from None
    load_state(made, files, device=device, dtype=dtype)
    return made


def channels_last(x: Array) -> Array:
    """(B, C, H, W) to (B, H, W, C)."""
    return x.transpose(0, 2, 3, 1)


def channels_first(x: Array) -> Array:
    """(B, H, W, C) to (B, C, H, W)."""
    return x.transpose(0, 3, 1, 2)
