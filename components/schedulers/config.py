"""A scheduler's whole configuration as a value that nobody can change, and where its file is. Knows no scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

CONFIG_NAME = "scheduler_config.json"

UNCHANGED = "a configuration cannot be changed: make another with"


class Config(dict[str, Any]):
    """Options by name, read as items or as attributes; a dict, because scripts ask for one and write it as JSON.

    `defaulted` names those that nobody set: `from_config` of another class then takes its own default for them.
    """

    __slots__ = ("defaulted",)
    defaulted: frozenset[str]

    def __init__(self, values: Mapping[str, Any], defaulted: Iterable[str] = ()) -> None:
        super().__init__(values)
        object.__setattr__(self, "defaulted", frozenset(defaulted))

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"the configuration has no {name!r}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{UNCHANGED} from_config(..., {name}=...)")

    def _unchanged(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"{UNCHANGED} from_config(..., name=value)")

    __setitem__ = __delitem__ = __ior__ = _unchanged  # type: ignore[assignment]
    update = setdefault = pop = popitem = clear = _unchanged  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self), self.defaulted)

    def __repr__(self) -> str:
        return f"Config({dict(self)!r})"


def find_file(repo: str | Path, subfolder: str | None = None, **hub: Any) -> Path:
    """`repo/subfolder/scheduler_config.json` of a folder or hub repository; `repo`, where that is a file.

    Raises CheckpointError where there is none.
    """
    from components.checkpoint import open_checkpoint

    path = Path(repo)
    if path.is_dir():
        inner = path / (subfolder or "") / CONFIG_NAME
        return inner if inner.exists() else path / CONFIG_NAME
    if path.exists():
        return path
    return open_checkpoint(repo, **hub, need_index=False).component("scheduler", subfolder=subfolder).config_path
