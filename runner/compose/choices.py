"""Choices of a group by name where a recipe is changed in part: `stages.refine.scheduler: euler`.

A key named like a group, of the type that the group's own key has, takes one of its choices anywhere in a recipe: by
name in a file, on the command line and as an axis. The choice stands for its whole node; in a file keys may stand
beside its `name`, and files that build on others set keys in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from runner.compose.documents import Document, dotted
from runner.compose.levels import with_value
from runner.compose.parts import unknown_choice
from runner.compose.values import Origin, value_at
from runner.errors import Problem
from runner.keys import FREE
from runner.registry import GROUPS, Library
from runner.schema import find_key, key_paths

Place = tuple[str, ...]
Node = Callable[[str, str], Mapping[str, Any]]
"""(group, choice) → its composed node."""


def group_of(key: str) -> str | None:
    """The group whose choices a key takes by name; None for any other key."""
    if key in GROUPS:
        return key
    group, path = key.rpartition(".")[2], find_key(key)
    if path is None or group not in GROUPS[1:]:
        return None
    return group if _parts(path) & _parts(group) else None


def _parts(path: str) -> set[type]:
    kind = key_paths()[path].annotation
    return {one for one in (get_args(kind) or (kind,)) if isinstance(one, type) and issubclass(one, BaseModel)}


def _places(data: Any) -> Iterator[Place]:
    """Every place in composed data, below the root, that takes a group's choice."""
    for path in key_paths():
        *sections, group = path.split(".")
        if not sections or group not in GROUPS[1:] or not _parts(path) & _parts(group):
            continue
        found: list[tuple[Place, Any]] = [((), data)]
        for part in sections:
            found = [
                ((*at, name), one[name])
                for at, one in found
                if isinstance(one, dict)
                for name in (one if part == FREE else [part])
                if name in one
            ]
        yield from ((*at, group) for at, one in found if isinstance(one, dict) and one.get(group) is not None)


class Choices:
    """Puts nodes in the place of names; `tell` is called with what is wrong."""

    def __init__(self, library: Library, node: Node, tell: Callable[[Problem], object]) -> None:
        self.library, self.node, self.tell = library, node, tell

    def of_files(self, data: dict[str, Any], origin: Origin, files: Sequence[Document]) -> dict[str, Any]:
        """Composed data with what the files chose, each as they said it one after another."""
        for place in list(_places(data)):
            named, beside = self._said(place, files)
            if named:
                data = self.put(data, place, named, origin.where(place))
                node = value_at(data, place)
                data = with_value(data, place, {**node, **beside}) if isinstance(node, dict) else data
        return data

    def _said(self, place: Place, files: Sequence[Document]) -> tuple[str | None, dict[str, Any]]:
        """The choice in force at a place, None where there is none but values alone, and what was set beside it."""
        name: str | None = None
        beside: dict[str, Any] = {}
        for found in files:
            said = value_at(found.data, place)
            if said is None:
                above = (place[:end] for end in range(1, len(place) + 1))
                if any(one in found.lines and value_at(found.data, one) is None for one in above):
                    name, beside = None, {}
            elif not isinstance(said, dict):
                name, beside = str(said), {}
            else:
                own = said.get("name")
                chosen = isinstance(own, str) and self.library.meaning(place[-1], own) is not None
                if chosen and own != name:
                    name, beside = own, {}
                beside |= {key: one for key, one in said.items() if not (chosen and key == "name")}
        return name, beside

    def put(self, data: dict[str, Any], place: Place, name: str, where: str) -> dict[str, Any]:
        """The data with a choice's node at a place; a schedule that a scheduler's name holds goes beside it."""
        group = place[-1]
        meant = self.library.meaning(group, name)
        if meant is None:
            self.tell(unknown_choice(self.library, group, name, where))
            return with_value(data, place, None)
        for other, choice in meant.items():
            there = (*place[:-1], other)
            if find_key(dotted(there)) is None:
                what = f"'{name}' holds the {other} {choice}, and there is no key {dotted(there)}"
                self.tell(Problem(where, what))
                continue
            data = with_value(data, there, dict(self.node(other, choice)))
        return data
