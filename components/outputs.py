"""What networks return: values by name, which scripts also read by index, by key, or as a tuple."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any


class Output:
    """Base of dataclasses: `output.sample`, `output["sample"]` and `output[0]` are the same. Iterating gives names."""

    def __getitem__(self, key: Any) -> Any:
        """Raises KeyError, IndexError."""
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self.keys():
            raise KeyError(f"{type(self).__name__} has no {key!r}; it has {', '.join(self.keys())}")
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        return [field.name for field in fields(self)]  # type: ignore[arg-type]

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.keys())
