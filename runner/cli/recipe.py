"""`recipe`: look at, copy, check and replay recipes. Each verb is a module of this package, loaded when called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from runner.cli.guard import guarded
from runner.errors import Problem, RecipeError, nearest, typed

VERBS = ("ls", "cat", "cp", "check", "plan", "schedule", "schedulers", "replay", "report", "export")


def main(argv: Sequence[str] | None = None) -> int:
    """The `recipe` command. Returns its exit code."""
    return guarded("recipe", lambda: _recipe(list(sys.argv[1:] if argv is None else argv)))


def _recipe(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0 if argv else 2
    verb, *words = argv
    if verb not in VERBS:
        raise RecipeError([Problem(typed(verb), f"there is no verb '{verb}'", VERBS, nearest(verb, VERBS))])
    module = _module(verb)
    if "-h" in words or "--help" in words:
        print(module.HELP, end="")
        return 0
    return module.main(words)


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"runner.cli.{verb}")


def _help() -> str:
    lines = ["recipe: look at, copy, check and replay recipes.", ""]
    for verb in VERBS:
        usage, _, what = _module(verb).HELP.splitlines()[0].partition(": ")
        lines.append(f"  {usage:<48} {what}")
    lines += [
        "",
        "`recipe VERB --help` has the details and examples; `run --help` says how recipes are run.",
        "Exit code: 0 done, 1 the work failed or a picture differs, 2 the input or a recipe is wrong.",
    ]
    return "\n".join(lines) + "\n"


def read_words(argv: Sequence[str], flags: Sequence[str] = (), *, verb: str) -> tuple[set[str], list[str]]:
    """The flags given and the other words. Raises RecipeError for a flag the verb does not have."""
    given = {word for word in argv if word in flags}
    known = (*flags, "--help")
    problems = [
        Problem(typed(word), f"recipe {verb} has no option '{word}'", known, nearest(word, known))
        for word in argv
        if word.startswith("-") and word not in flags
    ]
    if problems:
        raise RecipeError(problems)
    return given, [word for word in argv if not word.startswith("-")]


def read_options(
    argv: Sequence[str], options: Sequence[str], flags: Sequence[str] = (), *, verb: str
) -> tuple[dict[str, str], list[str]]:
    """The options with a value (`--to NAME` or `--to=NAME`), flags with none, and the other words.

    Raises RecipeError.
    """
    given: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in options:
            given[option] = value if equals else next(rest, "")
            if not given[option]:
                raise usage_error(verb)
        else:
            words.append(word)
    found, words = read_words(words, flags, verb=verb)
    return given | dict.fromkeys(found, ""), words


def usage_error(verb: str) -> RecipeError:
    """The error of calling a verb with too few or too many words."""
    usage = _module(verb).HELP.splitlines()[0].partition(": ")[0]
    return RecipeError([Problem("command line", f"usage: {usage}", hint=f"examples: recipe {verb} --help")])


if __name__ == "__main__":
    raise SystemExit(main())
