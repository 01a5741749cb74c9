"""Every scheduler's constructor with its options by name: for help(), inspect.signature, notebooks and type checkers.

All of it is told from the classes' OPTIONS. `python -m components.schedulers.signatures` writes the stubs (`.pyi`) that
type checkers and editors read; a test holds them to be what it would write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import reduce
from inspect import Parameter, Signature, cleandoc, isfunction, signature, unwrap
from operator import or_
from pathlib import Path
from typing import Any, Literal

from components.schedulers.options import Option

STUBS = {
    "components/schedulers/__init__.pyi": "The family of schedulers, for type checkers and editors.",
    "components/__init__.pyi": "The parts of image diffusion, for type checkers and editors.",
    "runner/__init__.pyi": "Pipelines and parts, for type checkers and editors.",
}
"""File → what its first line says."""
COMMAND = "python -m components.schedulers.signatures"
ROOT = Path(__file__).resolve().parents[2]


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
    kinds = " | ".join(map(repr, option.choices)) if option.choices else _written(option)
    return f"    {option.name} ({kinds}; {option.default!r}): {option.doc}"


def stub(file: str) -> str:
    """What one of the STUBS is to hold."""
    imports, definitions = _CONTENT[file]()
    lines = [f"from {module} import {name} as {name}" for module, name in sorted(imports, key=_as_ruff_sorts)]
    head = [f'"""{STUBS[file]}"""', "", f"# written by {COMMAND}", "", *_TYPES.get(file, ()), *lines]
    return "\n".join([*head, *definitions]) + "\n"


def _constructor(cls: Any) -> Any:
    def __init__(self: Any, **options: Any) -> None:
        super(cls, self).__init__(**options)

    own = Parameter("self", Parameter.POSITIONAL_ONLY)
    __init__.__signature__ = Signature([own, *cls.__signature__.parameters.values()])  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def _written(option: Option) -> str:
    """The type of an option as source code has it."""
    kinds = option.annotation if isinstance(option.annotation, tuple) else (option.annotation,)
    names = [_TYPE_NAMES.get(kind, getattr(kind, "__name__", "None")) for kind in kinds]
    if option.choices:
        known = f"Literal[{', '.join(map(_literal, option.choices))}]"
        names = [known, "None"] if None in kinds else [known]
    return " | ".join(names)


def _literal(value: Any) -> str:
    """A value as source code has it; "..." for what is no plain one."""
    if isinstance(value, str):
        return json.dumps(value)
    plain = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return repr(value) if plain else "..."


def _function(function: Any) -> str:
    """A function as a stub has it; `cache` and the like are seen through."""
    return f"def {function.__name__}{str(signature(function)).replace(chr(39), '')}: ..."


def _as_ruff_sorts(entry: tuple[str, str]) -> tuple[Any, ...]:
    module, name = entry
    return module, not name[0].isupper(), name


def _schedulers_stub() -> tuple[list[tuple[str, str]], list[str]]:
    import components.schedulers as family

    imports = [(f"components.schedulers.{module}", name) for module, names in _PLAIN.items() for name in names]
    values = map(unwrap, vars(family).values())
    functions = [value for value in values if isfunction(value) and value.__module__ == family.__name__]
    lines = ["", *(_function(one) for one in functions if not one.__name__.startswith("_"))]
    for name, cls in family.scheduler_classes().items():
        lines += ["", f"class {name}(Scheduler):", "    def __init__(", "        self,", "        *,"]
        for option in cls.options().values():
            line = f"        {option.name}: {_written(option)} = {_literal(option.default)},"
            if len(line) > 120:  # as ruff breaks it
                line = line.replace("[", "[\n            ", 1).replace("] =", "\n        ] =")
            lines.append(line)
        lines.append("    ) -> None: ...")
    return imports, lines


def _components_stub() -> tuple[list[tuple[str, str]], list[str]]:
    import components
    from components.schedulers import scheduler_classes

    parts = [(module, name) for name, module in vars(components)["_PARTS"].items()]
    return [*parts, *(("components.schedulers", name) for name in scheduler_classes())], []


def _runner_stub() -> tuple[list[tuple[str, str]], list[str]]:
    import runner
    from components.schedulers import scheduler_classes

    imports = [(module, name) for name, module in vars(runner)["_PIPELINES"].items()]
    imports += [("components", name) for name in ("AutoencoderKL", "UNet2DConditionModel", "UNet2DModel")]
    return [*imports, *(("components.schedulers", name) for name in ("AysSchedules", *scheduler_classes()))], []


_TYPE_NAMES = {list: "Sequence[float]", dict: "dict[str, Any]", None: "None"}
_PLAIN = {
    "base": ("RunOptions", "Scheduler"),
    "options": ("Option", "OptionProblem", "SchedulerConfigError"),
    "published": ("AysSchedules",),
    "tableau": ("Clip", "Tableau", "TableauError", "stack", "stackable"),
}
_TYPES = {
    "components/schedulers/__init__.pyi": (
        "from collections.abc import Sequence",
        "from typing import Any, Literal",
        "",
    )
}
_CONTENT = {
    "components/schedulers/__init__.pyi": _schedulers_stub,
    "components/__init__.pyi": _components_stub,
    "runner/__init__.pyi": _runner_stub,
}


def main() -> None:
    """Write the stubs."""
    for file in STUBS:
        (ROOT / file).write_text(stub(file), encoding="utf-8")


if __name__ == "__main__":
    main()
