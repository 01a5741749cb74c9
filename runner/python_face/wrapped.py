"""Networks inside what `torch.compile` or a module of the user's own has put around them."""

from __future__ import annotations

from typing import Any

from torch import nn

from components.torch_models.base import Model


def unwrapped(part: Any) -> Any:
    """The network itself: of this library where there is one inside, else what torch.compile was given, else `part`."""
    if not isinstance(part, nn.Module) or isinstance(part, Model):
        return part
    inside = next((module for module in part.modules() if isinstance(module, Model)), None)
    return getattr(part, "_orig_mod", part) if inside is None else inside
