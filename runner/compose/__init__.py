"""YAML and command line → Recipe. Nothing outside this package knows Hydra; nothing in it loads a model.

compose: key=value words → recipes. load_file: a recipe file → recipes. to_yaml: a recipe → its file, complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from runner.compose.compositions import Composition, Job, compose, load_file
    from runner.schema import Recipe

__all__ = ["Composition", "Job", "compose", "load_file", "to_yaml"]


def to_yaml(recipe: Recipe, *, whole: bool = False, folder: Path | None = None, carried: bool = False) -> str:
    """The recipe, fully resolved, as YAML that `load_file` reads back equal. What was left open (`auto`) stays open.

    `whole`: with the keys that are left out of saved recipes where nothing is set (`schema.key`), to be read.
    `folder`: where it is saved, for paths lead from there; `carried`: as a picture carries it, without any path.
    """
    from runner.compose.yaml_text import dump
    from runner.named_files import leading_from, without_paths

    data = recipe.model_dump() if whole else recipe.said()
    if folder is not None:
        data = leading_from(data, folder, type(recipe))
    if carried:
        data = without_paths(data, type(recipe))
    if recipe.schedule.timesteps:
        data["schedule"]["timesteps"] = [int(t) if t.is_integer() else t for t in recipe.schedule.timesteps]
    if recipe.sweep is None:
        del data["sweep"]
    return dump(data)


def __getattr__(name: str) -> Any:
    if name in __all__:
        from runner.compose import compositions

        return getattr(compositions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
