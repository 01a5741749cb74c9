"""Stubs (`.pyi`) of the packages whose names are loaded when asked for: what type checkers and editors read.

`python tests/stubs.py` writes them from the classes' OPTIONS; a test holds them to be what it would write.
"""

from __future__ import annotations

from inspect import isfunction, signature, unwrap
from pathlib import Path
from typing import Any

import components
import components.schedulers.family as family
import runner
from components.schedulers.signatures import literal, written

STUBS = {
    "components/schedulers/__init__.pyi": "The family of schedulers, for type checkers and editors.",
    "components/__init__.pyi": "The parts of image diffusion, for type checkers and editors.",
    "runner/__init__.pyi": "Pipelines and parts, for type checkers and editors.",
}
"""File → what its first line says."""
COMMAND = "python tests/stubs.py"
ROOT = Path(__file__).resolve().parents[1]


def stub(file: str) -> str:
    """What one of the STUBS is to hold."""
    imports, definitions = _CONTENT[file]()
    lines = [f"from {module} import {name} as {name}" for module, name in sorted(imports, key=_as_ruff_sorts)]
    head = [f'"""{STUBS[file]}"""', "", f"# written by {COMMAND}", "", *_TYPES.get(file, ()), *lines]
    return "\n".join([*head, *definitions]) + "\n"


def _function(function: Any) -> str:
    """A function as a stub has it; `cache` and the like are seen through."""
    return f"def {function.__name__}{str(signature(function)).replace(chr(39), '')}: ..."


def _as_ruff_sorts(entry: tuple[str, str]) -> tuple[Any, ...]:
    module, name = entry
    return module, not name[0].isupper(), name


def _schedulers_stub() -> tuple[list[tuple[str, str]], list[str]]:
    imports = [(f"components.schedulers.{module}", name) for module, names in _PLAIN.items() for name in names]
    values = map(unwrap, vars(family).values())
    functions = [value for value in values if isfunction(value) and value.__module__ == family.__name__]
    lines = ["", *(_function(one) for one in functions if not one.__name__.startswith("_"))]
    for name, cls in family.scheduler_classes().items():
        lines += ["", f"class {name}(Scheduler):", "    def __init__(", "        self,", "        *,"]
        for option in cls.options().values():
            line = f"        {option.name}: {written(option)} = {literal(option.default)},"
            if len(line) > 120:  # as ruff breaks it
                line = line.replace("[", "[\n            ", 1).replace("] =", "\n        ] =")
            lines.append(line)
        lines.append("    ) -> None: ...")
    return imports, lines


def _components_stub() -> tuple[list[tuple[str, str]], list[str]]:
    parts = [(module, name) for name, module in vars(components)["_PARTS"].items()]
    return [*parts, *(("components.schedulers", name) for name in family.scheduler_classes())], []


def _runner_stub() -> tuple[list[tuple[str, str]], list[str]]:
    imports = [(module, name) for name, module in vars(runner)["_PIPELINES"].items()]
    imports += [("components", name) for name in ("AutoencoderKL", "UNet2DConditionModel", "UNet2DModel")]
    return [*imports, *(("components.schedulers", name) for name in ("AysSchedules", *family.scheduler_classes()))], []


_PLAIN = {
    "base": ("Scheduler",),
    "run_options": ("RunOptions",),
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
