"""The keys of a recipe as paths: which there are, how each is marked, and where a recipe's data has them.

A key path is dotted: `schedule.spacing`. A mapping whose names are the user's (`Named`) has its keys under every name:
`loras.style.scale` is a key where there is `loras.*.scale`. What keys there are is the schema's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

FREE = "*"
"""What stands in a path for a name that is the user's."""
NAMES = "letters, digits, '-' and '_', at most 64 of them, the first a letter or digit"
_NAME = re.compile(r"(?!hydra$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def key(description: str, *, picture: bool = True, later: bool = False, file: bool = False, **limits: Any) -> Any:
    """A documented field; `picture` says whether changing it may change a pixel.

    `later`: pictures were saved before there was this key, so at its default it is no part of what is saved, nor of
    what a picture's id is made from: both stay what they were. `file`: it may name a file or folder (named_files.py).
    """
    said: dict[str, Any] = {"decides_picture": picture, "later": later, "file": file}
    return Field(description=description, json_schema_extra=said, **limits)


def marks(info: FieldInfo) -> dict[str, Any]:
    """How a field is marked (`key`): decides_picture, later, file."""
    assert isinstance(info.json_schema_extra, dict)
    return dict(info.json_schema_extra)


def is_name(text: str) -> bool:
    """Whether a user may give this name to a value of a mapping: it is a part of key paths, and of file names."""
    return bool(_NAME.fullmatch(text))


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"a name here is {NAMES}")
    return text


def _without_removed(mapping: Any) -> Any:
    """`null` takes a value out, and all of them in place of the mapping."""
    if mapping is None:
        return {}
    if not isinstance(mapping, dict):
        return mapping
    return {name: value for name, value in mapping.items() if value is not None}


V = TypeVar("V")
Named = Annotated[dict[Annotated[str, AfterValidator(_name)], V], BeforeValidator(_without_removed)]
"""A mapping whose names are the user's. Recipes that build on one another merge it name by name."""


@cache
def paths_of(part: type[BaseModel]) -> dict[str, FieldInfo]:
    """Every key by its dotted path, sections included, in the order of the schema; names that are free as FREE."""
    found: dict[str, FieldInfo] = {}
    for name, info in part.model_fields.items():
        found[name] = info
        found |= {f"{name}.{path}": inner for path, inner in _below(info, info.annotation).items()}
    return found


def _below(info: FieldInfo, annotation: Any) -> dict[str, FieldInfo]:
    """What stands below a key of this type. A value of a mapping is described and marked as the mapping is."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _below(info, arguments[0])
    if origin in (Union, UnionType):
        return {path: inner for one in arguments for path, inner in _below(info, one).items()}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dict(paths_of(annotation))
    if origin is not dict or arguments[1] is Any:
        return {}
    names, value = arguments
    found: dict[str, FieldInfo] = {}
    for name in get_args(names) if get_origin(names) is Literal else (FREE,):
        found[name] = Field(description=info.description, json_schema_extra=info.json_schema_extra)
        found[name].annotation = value
        found |= {f"{name}.{path}": inner for path, inner in _below(info, value).items()}
    return found


def find_path(known: Mapping[str, FieldInfo], path: str) -> str | None:
    """The path of a key in `known` (`paths_of`), free names in it as FREE; None where there is no such key."""
    if path in known and FREE not in path:
        return path
    found = ""
    for part in path.split("."):
        exact, free = joined(found, part), joined(found, FREE)
        found = exact if exact in known and part != FREE else free if free in known and is_name(part) else ""
        if not found:
            return None
    return found


def joined(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def holders(data: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every section of a recipe's data that may have the key of this path, with the key's name in it."""
    *sections, name = path.split(".")
    found = [data]
    for section in sections:
        found = [inner for one in found if isinstance(one, dict) for inner in _inner(one, section)]
    for one in found:
        if isinstance(one, dict):
            yield from ((one, each) for each in (list(one) if name == FREE else [name]))


def _inner(section: dict[str, Any], name: str) -> list[Any]:
    return list(section.values()) if name == FREE else [section.get(name)]
