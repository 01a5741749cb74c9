"""A sweep's axes become jobs: every combination, some values side by side, some combinations left out, each repeated.

    sweep:
      scheduler: [euler, lms]                            # every key on its own is an axis: all combinations
      zip: {steps: [10, 20], guidance_scale: [5, 7.5]}   # values side by side: one axis of two; several zips as a list
      exclude: [{scheduler: lms, steps: [10]}]           # combinations that are not run
      repeat: 2                                          # each job again with the seeds that follow

It knows nothing of what the values mean; the last axis varies fastest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

SLUG_LENGTH = 80
ZIP, EXCLUDE, REPEAT = "zip", "exclude", "repeat"
Axis = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Spec:
    """A sweep node, read. axes: each key its own axis; zips: each mapping one axis of values side by side."""

    axes: Mapping[str, list[Any]] = field(default_factory=dict)
    zips: tuple[Axis, ...] = ()
    exclude: tuple[Mapping[str, Any], ...] = ()
    repeat: int = 1

    @property
    def keys(self) -> tuple[str, ...]:
        """Every varied key, in the order of the sweep."""
        return (*self.axes, *(key for one in self.zips for key in one))

    @property
    def count(self) -> int:
        """Combinations, those left out included."""
        lengths = [len(values) for values in self.axes.values()]
        lengths += [len(next(iter(one.values()))) for one in self.zips]
        return prod(lengths) * self.repeat if lengths or self.repeat > 1 else 0

    def combinations(self) -> Iterator[tuple[dict[str, Any], int]]:
        """One mapping per job, group or key path → its value there; and which repetition it is, from 0."""
        own = [[{key: value} for value in values] for key, values in self.axes.items()]
        side = [
            [dict(zip(one, values, strict=True)) for values in zip(*one.values(), strict=True)] for one in self.zips
        ]
        for parts in product(*own, *side):
            job = {key: value for part in parts for key, value in part.items()}
            if not any(_matches(job, rule) for rule in self.exclude):
                yield from ((job, number) for number in range(self.repeat))

    def node(self) -> dict[str, Any]:
        """The sweep node that is read as this."""
        node: dict[str, Any] = dict(self.axes)
        if self.zips:
            node[ZIP] = [{key: list(values) for key, values in one.items()} for one in self.zips]
        if self.exclude:
            node[EXCLUDE] = [dict(rule) for rule in self.exclude]
        if self.repeat > 1:
            node[REPEAT] = self.repeat
        return node


def shape_problem(key: str, value: Any) -> str | None:
    """What is wrong with the shape of one entry of a sweep node, in words; the keys it names are not looked at."""
    if key == REPEAT:
        good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000
        return None if good else "repeat is how often each job is run: a whole number from 1 to 10000"
    if key == ZIP:
        if not isinstance(value, list | dict) or not all(isinstance(one, dict) and one for one in as_list(value)):
            return "a zip is keys with lists of values side by side, or a list of such"
        for one in as_list(value):
            lengths = {len(values) if isinstance(values, list) else 0 for values in one.values()}
            if len(lengths) != 1 or 0 in lengths:
                sizes = ", ".join(f"{k}: {len(v) if isinstance(v, list) else 'no list'}" for k, v in one.items())
                return f"values side by side need lists of equal length ({sizes})"
        return None
    if key == EXCLUDE:
        good = isinstance(value, list) and all(isinstance(rule, dict) and rule for rule in value)
        return None if good else "exclude is a list of combinations, such as [{scheduler: lms, steps: 10}]"
    return None if isinstance(value, list) and value else "a sweep needs a list of values, not an empty one"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def label(overrides: Mapping[str, Any]) -> str:
    """`scheduler-euler_seed-2`: what sets a job apart as part of a file's name, at most 80 characters.

    A longer one ends in a hash of the whole.
    """
    parts = [f"{_told_apart(key, overrides)}-{_short(value)}" for key, value in overrides.items()]
    return _slug("_".join(parts), repr(overrides))


def _told_apart(key: str, keys: Iterable[str]) -> str:
    """The end of a key path, as long as it takes to be no other key's."""
    parts, others = key.split("."), [other.split(".") for other in keys if other != key]
    ends = (parts[-length:] for length in range(1, len(parts)))
    return ".".join(next((end for end in ends if all(other[-len(end) :] != end for other in others)), parts))


def _matches(job: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    return all(
        key in job and job[key] in (value if isinstance(value, list) else [value]) for key, value in rule.items()
    )


def _short(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "null" if value is None else str(value)


def _slug(text: str, identity: str) -> str:
    """Letters, digits, '-', '_' and '.' only; never empty, never longer than a file name should be."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-._")
    if len(slug) <= SLUG_LENGTH and slug:
        return slug
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{slug[: SLUG_LENGTH - 9].rstrip('-._')}-{digest}".lstrip("-")
