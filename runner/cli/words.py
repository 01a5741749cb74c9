"""The words of the `run` command before composing: its flags, the file it may begin with, and the key=value words.

Flags of Hydra's that would open a door into its own configuration are refused with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import Problem, nearest, typed

FLAGS = ("--help", "--multirun", "--cfg", "--version")
_SHORT = {"-h": "--help", "-m": "--multirun", "-c": "--cfg"}
_CLOSED = {
    "--config-path": "recipes come from ./recipes and from the program itself",
    "--config-dir": "recipes come from ./recipes and from the program itself",
    "--config-name": "what a run is made of is fixed; choose a recipe with recipe=NAME, or run a file: run FILE.yaml",
    "--hydra-help": "Hydra itself cannot be configured here",
    "--experimental-rerun": "a saved run is made again with `recipe replay FOLDER`",
}
_CLOSED_SHORT = {"-cp": "--config-path", "-cd": "--config-dir", "-cn": "--config-name"}


@dataclass
class RunWords:
    help: bool = False
    version: bool = False
    multirun: bool = False
    show: bool = False
    file: str | None = None
    assignments: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_run_words(argv: Sequence[str]) -> RunWords:
    """Sorts the words of a `run` command. Problems are collected, not raised."""
    words = RunWords()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            if words.file is None and not words.assignments and is_recipe_file(word):
                words.file = word
            else:
                words.assignments.append(word)
            continue
        name, _, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name in ("--help", "--version", "--multirun"):
            setattr(words, name.removeprefix("--"), True)
        elif name == "--cfg":
            words.show = True
            value = value or (rest.pop(0) if rest and "=" not in rest[0] and not rest[0].startswith("-") else "")
            if value != "job":
                words.problems.append(
                    Problem(typed(f"{word} {value}".strip()), "only one thing can be shown", ("job",))
                )
        else:
            follows = "=" not in word and rest and "=" not in rest[0] and not rest[0].startswith("-")
            if follows and (name in (*_CLOSED, *_CLOSED_SHORT) or name.startswith("--")):
                value = rest.pop(0)
            words.problems.append(_refused(word, name, value))
    return words


def is_recipe_file(word: str) -> bool:
    """Whether a word names a recipe file rather than setting a key."""
    return word.endswith((".yaml", ".yml")) and ("=" not in word or Path(word).is_file())


def _refused(word: str, name: str, value: str) -> Problem:
    from runner.compose.unknown_keys import without_dashes

    name = _CLOSED_SHORT.get(name, name)
    where = typed(word)
    if name in _CLOSED:
        return Problem(where, f"this option is refused: {_CLOSED[name]}")
    hint = "a negative value is set with its key, as in key=-1" if name[1:2].isdigit() else None
    if name.startswith("--") and not nearest(name, FLAGS):
        hint = without_dashes(where, name, value)
    near = None if hint else nearest(name, FLAGS)
    return Problem(where, f"there is no option '{name}'", () if hint else (*FLAGS, *_SHORT), near, hint)
