"""`recipe ls`: what there is to choose from, with one line about each choice."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from runner.cli.recipe import read_words
from runner.compose.documents import document, shown_path
from runner.errors import Problem, RecipeError, nearest, typed
from runner.registry import GROUPS, Library

HELP = """\
recipe ls [GROUP]: recipes, checkpoints, schedulers, schedules and backends
  recipe ls                everything
  recipe ls scheduler      the schedulers
A line's text is the first comment of the choice's file. Your own files in ./recipes/GROUP/ are listed with their path
and win over packaged ones of the same name.
"""


def main(argv: Sequence[str]) -> int:
    _, names = read_words(argv, verb="ls")
    groups = [name.removesuffix("s") if name not in GROUPS else name for name in names]
    problems = [
        Problem(typed(name), f"there is no group '{name}'", GROUPS, nearest(name, GROUPS))
        for name, group in zip(names, groups, strict=True)
        if group not in GROUPS
    ]
    if problems:
        raise RecipeError(problems)
    library = Library.at()
    width = max(len(name) for group in GROUPS for name in library.choices(group))
    print("\n\n".join(_listing(library, group, width) for group in groups or GROUPS))
    return 0


def _listing(library: Library, group: str, width: int) -> str:
    lines = [f"{group}s   {'run ' if group == 'recipe' else ''}{group}=NAME"]
    for name, path in library.choices(group).items():
        found = document(path, group)
        own = library.users_folder is not None and library.users_folder in path.parents
        text = found.summary or "(no comment in its first lines)"
        text += f"  [{shown_path(path)}]" if own else ""
        text += "  (has problems: recipe check)" if found.problems else ""
        lines.append(
            textwrap.fill(text, 118, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
        )
    return "\n".join(lines)
