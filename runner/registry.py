"""Names and the parts they stand for, found in the folders they live in: a closed world.

Config groups are the folders under recipes/ (the user's ./recipes first, then the packaged ones), their choices the
YAML files in them; scheduler classes are the files of components/schedulers. Nothing is listed by hand, nothing else
can be named, and nothing here reads or checks the contents of a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from components.schedulers import Scheduler
    from runner.names import Names

PACKAGED = Path(__file__).resolve().parents[1] / "recipes"
_FIRST = ("recipe", "checkpoint", "scheduler", "schedule", "backend")
_FOLDERS = {folder.name for folder in PACKAGED.iterdir() if folder.is_dir() and folder.name.isalpha()}
GROUPS = (*_FIRST, *sorted(_FOLDERS - {*_FIRST}))
"""The folders of recipes/, in the order in which they are shown."""
PRIMARY = "config"


@dataclass(frozen=True)
class Library:
    """The recipes a command can see. folders: searched in this order; the last one is packaged and has config.yaml.

    file: one more recipe, from anywhere, under the name Library.FILE.
    """

    folders: tuple[Path, ...]
    file: Path | None = None

    FILE: ClassVar[str] = "_file_"

    @classmethod
    def at(cls, cwd: Path | None = None) -> Library:
        """The library seen from a working directory: its ./recipes, if there is one, before the packaged recipes."""
        own = (cwd or Path.cwd()) / "recipes"
        if own.is_dir() and own.resolve() != PACKAGED:
            return cls((own.resolve(), PACKAGED))
        return cls((PACKAGED,))

    @property
    def users_folder(self) -> Path | None:
        return self.folders[0] if len(self.folders) > 1 else None

    @cached_property
    def _choices(self) -> dict[str, dict[str, Path]]:
        found: dict[str, dict[str, Path]] = {}
        for group in GROUPS:
            by_name: dict[str, Path] = {}
            for folder in self.folders:
                for path in sorted((folder / group).glob("*.yaml")):
                    by_name.setdefault(path.stem, path)
            found[group] = dict(sorted(by_name.items()))
        if self.file is not None:
            found["recipe"][self.FILE] = self.file
        return found

    def choices(self, group: str) -> Mapping[str, Path]:
        """Name → file of every choice of a group; where both folders have a name, the user's file."""
        return self._choices[group]

    @cached_property
    def names(self) -> Names:
        from runner.names import Names

        return Names({group: self.choices(group) for group in GROUPS})

    def meaning(self, group: str, name: str) -> dict[str, str] | None:
        """Group → choice of what a name stands for: a choice by its own name or another tool's ("Euler a"), or a
        scheduler with a schedule ("Euler a Karras"). None: nothing has this name."""
        return {group: name} if name in self.choices(group) else self.names.meaning(group, name)

    def canonical(self, group: str, name: str) -> str | None:
        """The name by which recipes know what a name stands for; two choices as words: "euler_a karras"."""
        meant = self.meaning(group, name)
        return " ".join(meant.values()) if meant else None

    def chosen(self, entries: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        """Group → (choice, line) of what a file chooses by any names; what has no meaning stays as it is."""
        found = dict(entries)
        for group, (name, line) in entries.items():
            for other, choice in (self.meaning(group, name) or {}).items():
                if other == group or other not in entries:
                    found[other] = choice, line
        return found

    def parent(self, group: str, name: str) -> str | None:
        """The one choice that a file of a group builds on by any of its names; None where there is none or two."""
        meant = self.meaning(group, name) or {}
        return meant[group] if len(meant) == 1 else None

    @property
    def primary(self) -> Path:
        return self.folders[-1] / f"{PRIMARY}.yaml"


def find_scheduler(name: str) -> type[Scheduler]:
    """The scheduler class with this name or short name. Raises components.schedulers.SchedulerConfigError."""
    from components.schedulers import find_scheduler as find

    return find(name)


def scheduler_options() -> dict[str, list[str]]:
    """Option name → the scheduler classes that have it."""
    from components.schedulers import option_owners

    return option_owners()
