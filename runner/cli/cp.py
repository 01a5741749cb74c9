"""`recipe cp`: start a recipe of your own from an existing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from runner.cli.named import find
from runner.cli.recipe import read_words, usage_error
from runner.compose.documents import shown_path
from runner.compose.yaml_text import YamlError, read_text
from runner.errors import Problem, RecipeError, typed
from runner.registry import Library

HELP = """\
recipe cp [--force] NAME FILE: copy a recipe, to start your own
  recipe cp shapes recipes/recipe/mine.yaml          then: run recipe=mine
  recipe cp ays_sdxl mine.yaml                       then: run mine.yaml
  recipe cp scheduler/euler recipes/scheduler/my_euler.yaml    then: run scheduler=my_euler
An existing file is kept unless --force is given.
"""


def main(argv: Sequence[str]) -> int:
    flags, words = read_words(argv, ("--force",), verb="cp")
    if len(words) != 2:
        raise usage_error("cp")
    library = Library.at()
    group, _, source = find(words[0], library)
    target = Path(words[1])
    if target.is_dir():
        target = target / source.name
    if problem := _target_problem(target, force="--force" in flags):
        raise RecipeError([problem])
    command = _command(target, group)
    try:
        text = re.sub(r"^# run \S.*$", f"# {command}", read_text(source), count=1, flags=re.MULTILINE)
    except YamlError as error:
        raise RecipeError([Problem(shown_path(source), error.what)]) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target} is yours to edit. Check it: {_check(target, group)}. Run it: {command}")
    return 0


def _target_problem(target: Path, *, force: bool) -> Problem | None:
    where = typed(str(target))
    if target.suffix != ".yaml":
        return Problem(where, "a recipe file's name ends in .yaml", hint=f"such as {target.with_suffix('.yaml')}")
    if (target.exists() or target.is_symlink()) and not target.is_file():  # a link may lead nowhere, or to itself
        return Problem(where, "there is something here that is not a file")
    if target.exists() and not force:
        return Problem(where, "this file exists and is kept", hint="choose another name, or add --force to replace it")
    return None


def _served(target: Path, group: str) -> bool:
    return target.resolve().parent == (Path.cwd() / "recipes" / group).resolve()


def _command(target: Path, group: str) -> str:
    if _served(target, group):
        return f"run {group}={target.stem}"
    return f"run {target}" if group == "recipe" else f"(move it to recipes/{group}/ first) run {group}={target.stem}"


def _check(target: Path, group: str) -> str:
    name = target.stem if group == "recipe" else f"{group}/{target.stem}"
    return f"recipe check {name if _served(target, group) else target}"
