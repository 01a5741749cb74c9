"""The kinds of checkpoints that are served, one file each, found by the class name in model_index.json."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from runner.families.base import Configs, Family, Say, Wish

__all__ = ["Configs", "Family", "Say", "Wish", "families"]


@cache
def families() -> dict[str, Family]:
    """Pipeline class name, as checkpoints spell it, → the family that serves it."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, Family)]
    return {name: family for family in values for name in family.classes}
