"""What every torch network here has in common: a configuration that is checked and recorded."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn

from components.model_config import ModelConfig


class Model(nn.Module):
    """A network built from a `ModelConfig`, given whole or as keyword options."""

    config_class: ClassVar[type[ModelConfig]]

    def __init__(self, config: ModelConfig | None = None, **options: Any) -> None:
        super().__init__()
        self.config: Any = self.config_class.from_options(**options) if config is None else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | ModelConfig) -> Self:
        """A randomly initialised network; equal torch seeds give equal weights."""
        return cls(config if isinstance(config, ModelConfig) else cls.config_class.from_dict(config))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
