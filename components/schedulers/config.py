"""A scheduler's whole configuration as a value that nobody can change. Knows no scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class Config(Mapping[str, Any]):
    """Options by name, read as items or as attributes.

    `defaulted` names those that nobody set: `from_config` of another class then takes its own default for them.
    """

    __slots__ = ("_values", "defaulted")

    def __init__(self, values: Mapping[str, Any], defaulted: Iterable[str] = ()) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "defaulted", frozenset(defaulted))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name in Config.__slots__ or name not in self._values:
            raise AttributeError(f"the configuration has no {name!r}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a configuration cannot be changed: make another with from_config(..., {name}=...)")

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (self._values, self.defaulted)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"
