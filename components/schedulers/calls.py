"""How old scripts call a scheduler: the names and the order of arguments of a class, and what a call returns."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class _Named:
    """A tuple whose values can be asked for by name, as items too."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)  # type: ignore[misc]

    def keys(self) -> tuple[str, ...]:
        return self._fields  # type: ignore[attr-defined]

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self)  # type: ignore[arg-type]


class StepOutput(_Named, namedtuple("StepOutput", "prev_sample pred_original_sample")):
    """What `step` returns: x at the next level, and the x0 that this row predicts."""

    __slots__ = ()


class LCMStepOutput(_Named, namedtuple("LCMStepOutput", "prev_sample denoised")):
    """x at the next level, and x0 through the student's boundary condition."""

    __slots__ = ()


class TCDStepOutput(_Named, namedtuple("TCDStepOutput", "prev_sample pred_noised_sample")):
    """x at the next level, and x at the level s below it, before fresh noise."""

    __slots__ = ()


CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")
STEP = ("model_output", "timestep", "sample")


def called(
    name: str,
    method: Callable[..., Any],
    first: tuple[str, ...],
    then: tuple[str, ...],
    rest: Iterable[str],
    defaults: Mapping[str, Any],
) -> Any:
    """`method`, which takes everything by keyword, as a method `name` that takes `first` and `then` in this order too.

    Its signature names them, `first` as required, and `rest`: scripts look up there what they may hand over.
    """
    defaults = {"return_dict": True, **defaults}
    names = (*first, *then)

    def call(self: Any, /, *args: Any, **options: Any) -> Any:
        if len(args) > len(names):
            raise TypeError(f"{name}() takes {len(names)} arguments by place, but {len(args)} were given")
        return method(self, **dict(zip(names, args, strict=False)), **options)

    places, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [inspect.Parameter(n, places) for n in first]
    parameters += [inspect.Parameter(n, places, default=defaults.get(n)) for n in then]
    parameters += [inspect.Parameter(n, named, default=defaults.get(n)) for n in dict.fromkeys(rest) if n not in names]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__name__, call.__doc__, call.__module__ = name, method.__doc__, method.__module__
    call.__qualname__ = f"Scheduler.{name}"
    return call
