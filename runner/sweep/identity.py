"""What makes a picture of a sweep the picture it is: an id from everything that decides it, and from nothing else.

Two jobs with the same id draw the same picture (its last bit aside, which the partition into batches decides). So a
sweep knows what it has, whatever axes were added, and whoever made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from runner.keys import holders, marks, paths_of

if TYPE_CHECKING:
    from runner.plan import Plan
    from runner.provenance import FileSums
    from runner.schema import Recipe

ID_LENGTH = 16


@cache
def _aside(part: type[Recipe]) -> tuple[str, ...]:
    """Key paths that the schema marks as deciding no picture."""
    return tuple(path for path, info in paths_of(part).items() if not marks(info)["decides_picture"])


def image_id(recipe: Recipe, pinned: str, local: Sequence[str] = ()) -> str:
    """The id of the one picture of `recipe`; `pinned` stands for the checkpoint's files (`pin`).

    Keys that came later count where they are set, so that what older versions drew keeps its id. `local`: keys that
    name folders of this machine (named_files.local_keys), whose contents count and not their paths; older versions
    made ids with these.
    """
    data = recipe.said("json")
    for path in _aside(type(recipe)):
        for section, name in holders(data, path):
            section.pop(name, None)
    for path in local:
        for section, name in holders(data, path):
            section |= {name: None} | ({"subfolder": None} if "subfolder" in section else {})
    text = json.dumps([data, pinned], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def pin(plan: Plan, sums: FileSums) -> str:
    """One hash of every file of the plan's checkpoint: weights, vocabularies and configurations."""
    found: dict[str, Mapping[str, str]] = {}
    for name, files in plan.components.items():
        config: Sequence[Any] = [files.config_path] if files.config_path.is_file() else []
        hashed = sums.sums([*files.weights, *files.others, *config])
        found[name] = {path.name: digest for path, digest in hashed.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
