"""What the verbs' NAME means: a recipe of the library, a file by its path, or GROUP/NAME for any other choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.words import is_recipe_file
from runner.compose.parts import unknown_choice
from runner.errors import Problem, RecipeError, nearest, typed
from runner.registry import GROUPS, Library

if TYPE_CHECKING:
    from runner.compose import Composition


def composed(
    name: str,
    words: Sequence[str] = (),
    library: Library | None = None,
    *,
    multirun: bool = False,
    need_files: bool = True,
) -> Composition:
    """The composition of a name. Raises RecipeError."""
    from runner.compose import compose, load_file

    if is_recipe_file(name):
        return load_file(Path(name), words, multirun=multirun, need_files=need_files)
    library = library or Library.at()
    group, option = named(name, library)
    return compose([f"{group}={option}", *words], library=library, multirun=multirun, need_files=need_files)


def find(name: str, library: Library) -> tuple[str, str, Path]:
    """(group, choice, file) of a library name. Raises RecipeError when there is none."""
    group, option = named(name, library)
    if path := library.choices(group).get(option):
        return group, option, path
    files = " and ".join("/".join(pair) for pair in (library.meaning(group, option) or {}).items())
    raise RecipeError([Problem(typed(name), f"this is two files: {files}")])


def named(name: str, library: Library) -> tuple[str, str]:
    """(group, choice) of a name, and of one that other tools have for it. Raises RecipeError when there is none."""
    where = typed(name)
    group, _, option = name.rpartition("/")
    group = group or "recipe"
    if group not in GROUPS:
        hint = "a file is named with its ending, such as mine.yaml"
        raise RecipeError([Problem(where, f"there is no group '{group}'", GROUPS, nearest(group, GROUPS), hint)])
    choice = library.canonical(group, option)
    if choice is None:
        raise RecipeError([unknown_choice(library, group, option, where)])
    return group, choice
