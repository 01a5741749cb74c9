"""`NAME: null` takes a value out of a mapping with free names: where there is none of that name, it is a slip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runner.compose.documents import Document, dotted
from runner.compose.values import value_at
from runner.compose.yaml_text import KeyPath
from runner.errors import Problem, nearest
from runner.keys import FREE
from runner.schema import find_key, key_paths


def is_named(keys: KeyPath) -> bool:
    """Whether this is the place of a value in a mapping with free names."""
    return (find_key(dotted(keys)) or "").endswith(f".{FREE}")


def nothing_there(data: Mapping[str, Any], keys: KeyPath, where: str) -> list[Problem]:
    """The problem of taking out at `keys` what this data does not have; none where it is there."""
    if not is_named(keys) or value_at(data, keys) is not None:
        return []
    others = value_at(data, keys[:-1])
    return [_problem(where, keys, [name for name, value in others.items() if value is not None] if others else [])]


def nothing_in_files(order: Iterable[tuple[tuple[str, ...], Document, frozenset[str]]]) -> list[Problem]:
    """The same of files that were merged in this order (`hydra_source.Composed`)."""
    if not any(FREE in path for path in key_paths()):
        return []
    problems: list[Problem] = []
    there: set[KeyPath] = set()
    for prefix, merged, left_out in order:
        for keys, line in merged.lines.items():
            place, gone = (*prefix, *keys), value_at(merged.data, keys) is None
            if keys[0] in left_out:
                continue
            if gone and is_named(place) and place not in there:
                beside = [other[-1] for other in there if other[:-1] == place[:-1]]
                problems.append(_problem(merged.where(line, place), place, beside))
            if gone:
                there = {other for other in there if other[: len(place)] != place}
            elif is_named(place):
                there.add(place)
    return problems


def _problem(where: str, keys: KeyPath, there: Iterable[str | int]) -> Problem:
    names = tuple(sorted(map(str, there)))
    return Problem(where, f"there is no '{keys[-1]}' here to take out", names, nearest(str(keys[-1]), names))
