"""Which files a set of choices leads to, and whether each of them exists and is sound: the pass before Hydra.

Hydra stops at the first name it does not know. Here every entry of every defaults list is followed, and all that is
wrong is collected; what is found is then composed by Hydra (hydra_source.py). Values are checked later (values.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.compose.documents import Document, document
from runner.errors import Problem, RecipeError, nearest
from runner.registry import GROUPS, Library, scheduler_options

SWAPPED = ("scheduler", "schedule")


class Parts:
    """Follows the defaults of a library's files, collecting `problems`; a cycle raises RecipeError at once.

    `doubtful`: groups for which a file chose what does not exist, so that what is composed for them was not meant.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.primary = document(library.primary, "config")
        self.problems: dict[Problem, None] = dict.fromkeys(self.primary.problems)
        self.doubtful: set[str] = set()

    def base(self, group: str) -> str | None:
        """The choice of a group when nobody says anything; None where there is none then."""
        return self.primary.chosen.get(group, (None, 0))[0]

    def follow(self, choices: Mapping[str, str]) -> dict[str, str]:
        """Visit everything these choices lead to; the choice in force for each group, whether or not it exists."""
        recipe = choices.get("recipe") or self.primary.chosen["recipe"][0]
        self.visit("recipe", recipe)
        in_force = {"recipe": recipe}
        for group in GROUPS[1:]:
            if option := choices.get(group) or self.choice_of(recipe, group):
                in_force[group] = option
                self.visit(group, option)
        return in_force

    def choice_of(self, recipe: str, group: str) -> str | None:
        """The choice in force for a group when this recipe is run as it is."""
        return self._made_by(recipe, group) or self.base(group)

    def _made_by(self, recipe: str, group: str) -> str | None:
        """The choice a recipe makes: its own, else that of what it builds on, where the last one wins (as in Hydra)."""
        path = self.library.choices("recipe").get(recipe)
        if path is None:
            return None
        found = document(path, "recipe")
        option = self.library.chosen(found.chosen).get(group, ("", 0))[0]
        if option in self.library.choices(group):
            return option
        made = (self._made_by(parent, group) for parent, _ in reversed(found.parents))
        return next((choice for choice in made if choice), None)

    def stale(self, found: Document, in_force: Mapping[str, str]) -> frozenset[str]:
        """Groups whose values in this recipe file were meant for another choice than the one in force."""
        if found.group != "recipe":
            return frozenset()
        name = next(name for name, path in self.library.choices("recipe").items() if path == found.path)
        return frozenset(
            group for group in GROUPS[1:] if group in found.data and self.choice_of(name, group) != in_force.get(group)
        )

    def visit(self, group: str, name: str, trail: tuple[str, ...] = ()) -> None:
        """Look at a choice and at everything it builds on."""
        path = self.library.choices(group).get(name)
        if path is None:
            return  # the line that named it has been reported by its owner
        found = document(path, group)
        self.problems.update(dict.fromkeys(found.problems))
        for name_there, line in found.parents:
            where = f"{found.where(line)} defaults: {name_there}"
            parent = self.library.parent(group, name_there)
            if parent is None:
                self.problems[unknown_choice(self.library, group, name_there, where)] = None
                continue
            if parent in (*trail, name):
                circle = " → ".join((*trail, name, parent))
                what = f"this {group} builds on itself: {circle}"
                self.problems[Problem(where, what)] = None
                raise RecipeError(self.problems)
            self.visit(group, parent, (*trail, name))
        for chosen, (option, _) in found.chosen.items():
            where = found.choice(chosen)
            meant = self.library.meaning(chosen, option)
            if meant is None:
                self.doubtful.add(chosen)
                self.problems[unknown_choice(self.library, chosen, option, where)] = None
            elif "schedule" in meant and chosen != "schedule" and "schedule" in found.chosen:
                other = self.library.meaning("schedule", found.chosen["schedule"][0])
                if other != {"schedule": meant["schedule"]}:
                    self.problems[two_schedules(where, option, meant, found.choice("schedule"))] = None


def two_schedules(where: str, name: str, meant: Mapping[str, str], other: str) -> Problem:
    """The problem of a name that holds a schedule ("Euler a Karras") beside another schedule, chosen at `other`."""
    what = f"'{name}' holds the schedule {meant['schedule']}, and another is chosen beside it"
    return Problem(where, what, hint=f"keep one of them: write scheduler={meant['scheduler']}, or leave out {other}")


def unknown_choice(library: Library, group: str, name: str, where: str) -> Problem:
    """The problem of naming a choice that a group does not have, with whatever was probably meant."""
    theirs = library.names.sentence(group, name)
    if theirs is None and group == "scheduler":
        theirs = library.names.sentence("schedule", name)
    if theirs:
        return Problem(where, f"there is no {group} '{name}' yet", hint=theirs)
    what, names = f"there is no {group} '{name}'", tuple(library.choices(group))
    hint = _hint(library, group, name)
    return Problem(where, what, hint=hint) if hint else Problem(where, what, names, nearest(name, names))


def _hint(library: Library, group: str, name: str) -> str | None:
    for other in GROUPS:
        if other != group and (meant := library.meaning(other, name)):
            words = " ".join(f"{one}={choice}" for one, choice in meant.items())
            theirs = "; what others call scheduler is the schedule here" if (group, other) == SWAPPED else ""
            return f"'{name}' is a {other}: {words}{theirs}"
    if group == "recipe" and name.endswith((".yaml", ".yml")):
        return f"a file is run by its path alone: run {name}"
    own = library.folders[0] if len(library.folders) > 1 else None
    if own and group == "recipe" and (own / f"{name}.yaml").is_file():
        return f"there is {own.name}/{name}.yaml: move it to {own.name}/recipe/{name}.yaml, or run it by its path"
    if own and (own / group / f"{name}.yml").is_file():
        return f"there is {own.name}/{group}/{name}.yml: its name must end in .yaml"
    if group == "checkpoint" and ("/" in name or name.startswith((".", "~"))):
        return f"a repository or folder is given as checkpoint.repo={name}"
    if name.startswith(("{", "[")):
        return f"a choice is one name; its keys are set one by one: {group}.KEY=value"
    if group == "scheduler" and name in scheduler_options():
        return f"'{name}' is an option of schedulers: scheduler.{name}=VALUE"
    return None
