"""`recipe check`: whether recipes are sound, without building anything: all problems of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from runner.cli.guard import BAD_INPUT
from runner.cli.named import composed
from runner.cli.recipe import read_words, usage_error
from runner.errors import RecipeError
from runner.needs import everything
from runner.registry import GROUPS, Library

HELP = """\
recipe check NAME|FILE ... | --all: say whether recipes are sound, and everything that is wrong with them
  recipe check ays_sdxl
  recipe check mine.yaml other.yaml
  recipe check scheduler/my_euler     a choice of another group, in the default recipe
  recipe check --all                  every recipe, and every file of yours in ./recipes
Nothing is downloaded or built: keys, values, choices, schedules, and sizes where the checkpoint is on this machine.
A sound recipe that needs packages which are not installed here is ok; what it needs is said.
"""


def main(argv: Sequence[str]) -> int:
    flags, names = read_words(argv, ("--all",), verb="check")
    library = Library.at()
    if "--all" in flags:
        names = [*names, *_everything(library)]
    if not names:
        raise usage_error("check")
    width, wrong = max(map(len, names)), 0
    for name in names:
        try:
            jobs = composed(name, library=library).jobs
        except RecipeError as error:
            wrong += 1
            print(f"{name}: {error}")
        else:
            print(f"{name:<{width}}  ok" + (f", a sweep of {len(jobs)} jobs" if len(jobs) > 1 else ""))
            for lack in everything(job.recipe for job in jobs):
                print(f"{'':<{width}}  but {lack.what} here; {lack.hint}")
    if wrong:
        print(f"{wrong} of {len(names)} have problems")
    return BAD_INPUT if wrong else 0


def _everything(library: Library) -> list[str]:
    names = list(library.choices("recipe"))
    own = library.users_folder
    for group in GROUPS[1:] if own else ():
        names += [f"{group}/{name}" for name, path in library.choices(group).items() if own in path.parents]
    return names
