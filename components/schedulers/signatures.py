"""Every scheduler's constructor with its options by name: for help(), inspect.signature, notebooks and type checkers.

All of it is told from the classes' OPTIONS. Type checkers and editors read stubs (`.pyi`), which tests/stubs.py writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import reduce
from inspect import Parameter, Signature, cleandoc
from operator import or_
from typing import Any, Literal

from components.schedulers.options import Option


def describe(cls: Any) -> None:
    """Give a scheduler class the signature of its options, and a docstring that lists them with their meaning."""
    options = cls.options().values()
    cls.__signature__ = Signature(parameters(options))
    cls.__doc__ = f"{cleandoc(cls.__doc__ or '')}\n\nOptions:\n" + "\n".join(map(told, options))
    if "__init__" not in vars(cls):
        cls.__init__ = _constructor(cls)


def parameters(options: Iterable[Option]) -> list[Parameter]:
    """Keyword parameters of these names, defaults and types."""
    return [
        Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation(option))
        for option in options
    ]


def annotation(option: Option) -> Any:
    """The type of an option: its values where they are few, else the union of its types."""
    kinds = option.annotation if isinstance(option.annotation, tuple) else (option.annotation,)
    known = [Literal[option.choices]] if option.choices else [kind for kind in kinds if kind is not None]
    return reduce(or_, [*known, None] if None in kinds else known)


def told(option: Option) -> str:
    """One line about an option."""
    kinds = " | ".join(map(repr, option.choices)) if option.choices else written(option)
    return f"    {option.name} ({kinds}; {option.default!r}): {option.doc}"


def _constructor(cls: Any) -> Any:
    def __init__(self: Any, **options: Any) -> None:
        super(cls, self).__init__(**options)

    own = Parameter("self", Parameter.POSITIONAL_ONLY)
    __init__.__signature__ = Signature([own, *cls.__signature__.parameters.values()])  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def written(option: Option) -> str:
    """The type of an option as source code has it."""
    kinds = option.annotation if isinstance(option.annotation, tuple) else (option.annotation,)
    names = [_TYPE_NAMES.get(kind, getattr(kind, "__name__", "None")) for kind in kinds]
    if option.choices:
        known = f"Literal[{', '.join(map(literal, option.choices))}]"
        names = [known, "None"] if None in kinds else [known]
    return " | ".join(names)


_TYPE_NAMES = {list: "Sequence[float]", dict: "dict[str, Any]", None: "None"}


def literal(value: Any) -> str:
    """A value as source code has it; "..." for what is no plain one."""
    if isinstance(value, str):
        return json.dumps(value)
    plain = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return repr(value) if plain else "..."
