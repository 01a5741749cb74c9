"""A sweep's axes become jobs: every combination, numbered, with a folder name that says what is special about each.

It knows nothing of what the values mean; the last axis varies fastest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

SLUG_LENGTH = 80


def count(axes: Mapping[str, Sequence[Any]]) -> int:
    return prod(len(values) for values in axes.values())


def combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """One mapping per job: group or key path → its value there."""
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def job_folder(number: int, total: int, overrides: Mapping[str, Any]) -> str:
    """`03_scheduler-euler_seed-2`: at most 80 characters after the number; a longer one ends in a hash of the whole."""
    parts = [f"{key.rpartition('.')[2]}-{_short(value)}" for key, value in overrides.items()]
    return f"{number:0{len(str(max(total - 1, 1)))}d}_{_slug('_'.join(parts), repr(overrides))}"


def sweep_folder(axes: Mapping[str, Sequence[Any]], identity: str) -> str:
    """`scheduler-x3_seed-x2_1f3a9c07`: stable, and another one when anything about the jobs (`identity`) differs."""
    parts = "_".join(f"{key.rpartition('.')[2]}-x{len(values)}" for key, values in axes.items())
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{_slug(parts, parts)}_{digest}"


def _short(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "null" if value is None else str(value)


def _slug(text: str, identity: str) -> str:
    """Letters, digits, '-', '_' and '.' only; never empty, never longer than a file name should be."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-._")
    if len(slug) <= SLUG_LENGTH and slug:
        return slug
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{slug[: SLUG_LENGTH - 9].rstrip('-._')}-{digest}".lstrip("-")
