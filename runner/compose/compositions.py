"""From the words of a command, or a recipe file, to recipes ready to be planned: one, or the jobs of a sweep.

This module knows the order of things: words → parts → Hydra → command-line values → checked Recipe. Each of those is
another module's; every problem of all of them is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.compose import sweep
from runner.compose.choices import Choices, group_of
from runner.compose.command_line import MAX_JOBS, CommandLine, understand
from runner.compose.documents import document, references, shown_path
from runner.compose.levels import LEVELS, from_one_source, with_class, with_our_names, with_value
from runner.compose.parts import Parts, two_schedules, unknown_choice
from runner.compose.taken_out import nothing_in_files, nothing_there
from runner.compose.unknown_keys import unknown_key
from runner.compose.values import Origin, check, reference_problems, value_at
from runner.compose.yaml_text import KeyPath, YamlError, read_text
from runner.errors import Problem, RecipeError, nearest
from runner.registry import GROUPS, PRIMARY, Library
from runner.schema import Recipe, find_key, takes_options


@dataclass(frozen=True)
class Job:
    """One run of a sweep, or the only run. overrides: what sets it apart, by group or key path."""

    recipe: Recipe
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What sets it apart, as part of a file's name."""
        return sweep.label(self.overrides)


@dataclass(frozen=True)
class Composition:
    """What a command asks for. base: the only recipe, or a sweep's first with its axes as `sweep`: saved, it makes the
    same jobs again (sweeps over recipes aside)."""

    recipe_name: str
    jobs: list[Job]
    base: Recipe
    is_sweep: bool = False

    @property
    def folder(self) -> Path:
        """Where a sweep's pictures go: the same for the same recipe, whatever is swept, so that it goes on there."""
        return Path(self.base.output.dir) / self.recipe_name / self.base.output.sweep

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Every varied key with its values, in the order of the sweep."""
        found: dict[str, list[Any]] = {}
        for job in self.jobs:
            for key, value in job.overrides.items():
                values = found.setdefault(key, [])
                if value not in values:
                    values.append(value)
        return found


def compose(
    argv: Sequence[str],
    *,
    multirun: bool = False,
    cwd: Path | None = None,
    library: Library | None = None,
    need_files: bool = True,
) -> Composition:
    """Compose what `argv` (key=value words) asks for, seen from `cwd`. Raises RecipeError with every problem.

    need_files: a checkpoint's folder that is not there is one.
    """
    library = library or Library.at(cwd)
    return _Composing(library, argv, multirun, need_files=need_files).composition()


def load_file(
    path: Path,
    argv: Sequence[str] = (),
    *,
    multirun: bool = False,
    cwd: Path | None = None,
    need_files: bool = True,
) -> Composition:
    """Compose a recipe file given by its path: a complete one as it is, one with `defaults:` on top of what it names.

    In a complete one a group chosen in `argv` replaces the whole node. Raises RecipeError.
    """
    path = path.absolute()
    found = document(path, "file", cwd)
    if not found.readable:
        near = nearest(path.name, (other.name for other in path.parent.glob("*.yaml")))
        raise RecipeError([replace(problem, nearest=near) for problem in found.problems])
    library = replace(Library.at(cwd), file=path)
    complete = not found.composes
    return _Composing(library, argv, multirun, path.stem, complete, need_files=need_files).composition()


class _Composing:
    """One command under way. `problems` grows; nothing is returned while there are any."""

    def __init__(
        self,
        library: Library,
        argv: Sequence[str],
        multirun: bool,
        name: str | None = None,
        complete: bool = False,
        *,
        need_files: bool = True,
    ) -> None:
        self.library, self.complete, self.name, self.need_files = library, complete, name, need_files
        self.line: CommandLine = understand(argv, library, multirun=multirun)
        self.parts = Parts(library)
        self.problems: dict[Problem, None] = dict.fromkeys([*_closed_doors(library), *self.line.problems])
        if name is not None and "recipe" in self.line.choices:
            self.problems[Problem(self.line.said["recipe"], "a recipe given as a file is the recipe")] = None
            del self.line.choices["recipe"]
        self.bases: dict[tuple[tuple[str, str], ...], tuple[dict[str, Any], Origin]] = {}
        self.sound: set[str] = set()
        self.nodes: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.choices = Choices(library, self._node, lambda problem: self.problems.setdefault(problem))
        self.touched: set[str] = set()  # groups in which recipe files set values of their own
        self.first: dict[str, str] = {}  # the choices of the sweep's first job, but for its axes

    def composition(self) -> Composition:
        chosen = self.line.single(self.line.choices)
        recipes = self.line.choices.get("recipe", [])
        if len(recipes) > 1:
            chosen["recipe"] = recipes[0]
        self.first = self._taken_apart(chosen)
        data, origin = self._base(self.first)
        spec = self._spec(data, origin)
        if spec.count > MAX_JOBS:
            self.problems[Problem("the sweep", f"{spec.count} jobs are more than {MAX_JOBS}")] = None
            spec = sweep.Spec()
        if not spec.count:
            recipe = self._recipe(data, origin, {}, keep_sweep=True)
            if self.problems or recipe is None:
                raise RecipeError(in_order(self.problems))
            return Composition(recipe.name, [Job(recipe)], recipe)
        jobs = []
        for overrides, repetition in spec.combinations():
            groups = {key: str(value) for key, value in overrides.items() if key in GROUPS}
            here = self._taken_apart({**chosen, **groups}, origin.where(("sweep", "scheduler")))
            recipe = self._recipe(*self._base(here), overrides)
            if recipe:
                jobs.append(_repeated(Job(recipe, overrides), repetition, spec.repeat))
        if not jobs and not self.problems:
            self.problems[Problem(origin.where(("sweep", sweep.EXCLUDE)), "this leaves out every job")] = None
        if self.problems:
            raise RecipeError(in_order(self.problems))
        base = jobs[0].recipe.model_copy(update={"sweep": None})
        if "recipe" not in spec.axes:
            base = base.model_copy(update={"sweep": spec.node(), **self._unswept(data, origin, spec.keys)})
        names = list(dict.fromkeys(job.recipe.name for job in jobs))
        return Composition("+".join(names)[:100], jobs, base, True)

    def _unswept(self, data: dict[str, Any], origin: Origin, swept: Iterable[str]) -> dict[str, Any]:
        """Scheduler and schedule where they are no axis: in the first job, an axis may have ended their levels."""
        problems = dict(self.problems)
        plain = self._recipe(data, origin, {})
        self.problems = problems
        axes = {key.partition(".")[0] for key in swept}
        return {part: getattr(plain, part) for part in ("scheduler", "schedule") if plain and part not in axes}

    def _taken_apart(self, choices: Mapping[str, str], where: str = "") -> dict[str, str]:
        """The choices, a scheduler that was named with its schedule ("euler_a karras") as two."""
        apart = dict(choices)
        for group, option in choices.items():
            meant = self.library.meaning(group, option) or {}
            if len(meant) > 1 and choices.get("schedule", meant["schedule"]) != meant["schedule"]:
                other = self.line.said.get("schedule", f"schedule={choices['schedule']}")
                self.problems[two_schedules(self.line.said.get(group, where), option, meant, other)] = None
            apart.update(meant)
        return apart

    def _base(self, chosen: Mapping[str, str]) -> tuple[dict[str, Any], Origin]:
        """The composed data for these choices, references unresolved, with who set what."""
        key = tuple(sorted(chosen.items()))
        if key not in self.bases:
            first = self.first if self.first.get("recipe") == chosen.get("recipe") else chosen
            apart = {group: option for group, option in chosen.items() if option != first.get(group)}
            if len(apart) > 1 or (apart and self._alone(first, *apart)):
                self.bases[key] = self._put_together(first, apart)
            else:
                self.bases[key] = self._complete_file(chosen) if self.complete else self._composed(chosen)
            data, origin = self.bases[key]
            data, problems = with_class(data, origin, self.library)
            self.problems.update(dict.fromkeys(problems))
            self.bases[key] = data, origin
        data, origin = self.bases[key]
        return data, Origin(origin.name, dict(origin.places))

    def _alone(self, first: Mapping[str, str], group: str) -> bool:
        """Whether a group's node is its choice and nothing else: no recipe file sets a value in it."""
        self._base(first)
        return not self.complete and group not in self.touched

    def _put_together(self, first: Mapping[str, str], apart: Mapping[str, str]) -> tuple[dict[str, Any], Origin]:
        """Choices of several groups from those of each: a group's node depends on its own choice and the recipe alone.

        A sweep over twelve schedulers and three schedules is composed fifteen times so, and not thirty-six times.
        """
        data, origin = self._base(first)
        for group, option in apart.items():
            if self._alone(first, group) and option in self.library.choices(group):
                data = dict(data)
                self._replace(data, origin, group, option)
                continue
            own, places = self._base({**first, group: option})
            data = {**data, group: own.get(group)}
            origin.clear((group,))
            origin.places.update({keys: place for keys, place in places.places.items() if keys[0] == group})
        return data, origin

    def _composed(self, chosen: Mapping[str, str]) -> tuple[dict[str, Any], Origin]:
        from runner.compose.hydra_source import compose_choices

        if self.name is not None:
            chosen = {**chosen, "recipe": Library.FILE}
        in_force = self._looked_at(lambda: self.parts.follow(chosen))
        composed = self._looked_at(lambda: compose_choices(self.library, chosen, self.parts.stale))
        data = composed.data
        name = self.name or in_force["recipe"]
        path = self.library.choices("recipe").get(in_force["recipe"])
        origin = Origin(shown_path(path) if path else f"recipe {name}")
        for prefix, merged, left_out in composed.order:
            origin.merge(merged, prefix, left_out)
            self.touched |= {group for group in GROUPS if not prefix and group in merged.data}
        self.problems.update(dict.fromkeys(nothing_in_files(composed.order)))
        data = self.choices.of_files(data, origin, [found for _, found, _ in composed.order])
        data.setdefault("name", name)
        return data, origin

    def _looked_at(self, look: Callable[[], Any]) -> Any:
        """Follow the files' defaults, keeping what is found wrong. An error ends it, told with all that was found."""
        try:
            return look()
        except RecipeError as error:
            raise RecipeError(dict.fromkeys([*self.problems, *error.problems])) from error
        finally:
            self.problems.update(self.parts.problems)

    def _complete_file(self, chosen: Mapping[str, str]) -> tuple[dict[str, Any], Origin]:
        assert self.library.file is not None
        found = document(self.library.file, "file")
        self.problems.update(dict.fromkeys(found.problems))
        origin = Origin(found.shown)
        origin.merge(found, (), frozenset())
        data = {"name": self.name, **found.data}
        data = self.choices.of_files(data, origin, [found])
        for group, option in chosen.items():
            if option in self.library.choices(group):
                self._replace(data, origin, group, option)
        return data, origin

    def _node(self, group: str, option: str) -> Mapping[str, Any]:
        """The node that a choice stands for."""
        from runner.compose.hydra_source import compose_group

        if (group, option) not in self.nodes:
            self._looked_at(lambda: self.parts.visit(group, option))
            composed = self._looked_at(lambda: compose_group(self.library, group, option))
            self.nodes[group, option] = composed.data.get(group) or {}
        return self.nodes[group, option]

    def _replace(self, data: dict[str, Any], origin: Origin, group: str, option: str) -> None:
        """Put a choice in the place of a complete recipe's whole node."""
        from runner.compose.hydra_source import compose_group

        self._looked_at(lambda: self.parts.visit(group, option))
        composed = self._looked_at(lambda: compose_group(self.library, group, option))
        data[group] = composed.data.get(group) or {}
        origin.clear((group,))
        for prefix, merged, _ in composed.order:
            origin.merge(merged, prefix or (group,), frozenset())

    def _spec(self, data: dict[str, Any], origin: Origin) -> sweep.Spec:
        """The recipe's sweep node, where the command line does not say otherwise, and the command line's own axes."""
        node = data.get("sweep")
        if self.line.values.get("sweep") == [None] or not isinstance(node, dict):
            return sweep.Spec(self.line.axes())
        node = with_our_names(node, self.library)
        known = [self._sound_entry(key, value, origin) for key, value in node.items()]
        if not all(known):
            return sweep.Spec()
        said = {*self.line.choices, *self.line.values}
        axes = {key: v for key, v in node.items() if key not in (*said, sweep.ZIP, sweep.EXCLUDE, sweep.REPEAT)}
        zips = tuple(dict(one) for one in sweep.as_list(node.get(sweep.ZIP, [])))
        for key in [key for one in zips for key in one if key in said]:
            hint = "set neither or both: leave the zip out with sweep=null, or edit the recipe"
            self.problems[Problem(self.line.said[key], f"'{key}' goes side by side with others here", hint=hint)] = None
        spec = sweep.Spec(axes | self.line.axes(), zips, tuple(node.get(sweep.EXCLUDE, ())), node.get(sweep.REPEAT, 1))
        for key in [key for rule in spec.exclude for key in rule if key not in spec.keys and key not in said]:
            where = origin.where(("sweep", sweep.EXCLUDE))
            self.problems[Problem(where, f"'{key}' is not swept, so nothing can be left out by it", spec.keys)] = None
        return spec

    def _sound_entry(self, key: str, value: Any, origin: Origin) -> bool:
        """Whether an entry of a sweep node can be used; what is wrong is kept. Values are checked job by job."""
        keys: KeyPath = ("sweep", key)
        if what := sweep.shape_problem(key, value):
            self.problems[
                Problem(origin.where(keys), what, hint=f"such as {key}: [A, B]" if "list" in what else None)
            ] = None
            return False
        if key == sweep.REPEAT:
            return True
        named = {key: value} if key not in (sweep.ZIP, sweep.EXCLUDE) else {}
        for one in [] if named else sweep.as_list(value):
            for name, values in one.items():
                named[name] = [*named.get(name, []), *sweep.as_list(values)]
        sound = True
        for name, values in named.items():
            if problem := _axis_problem(name, values, origin.where(keys), self.library):
                self.problems[problem] = None
                sound = False
            group = group_of(name) if name not in {*self.line.choices, *self.line.values} else None
            for index, option in enumerate(values):
                if group is None or (option is None and name not in GROUPS):
                    continue
                if self.library.meaning(group, str(option)) is None:
                    where = origin.where((*keys, index) if name == key else keys)
                    self.problems[unknown_choice(self.library, group, str(option), where)] = None
                    sound = False
        return sound

    def _recipe(
        self, data: dict[str, Any], origin: Origin, overrides: Mapping[str, Any], keep_sweep: bool = False
    ) -> Recipe | None:
        """The data with the command line's values and a job's own ones, resolved and checked."""
        data = data if keep_sweep else {key: value for key, value in data.items() if key != "sweep"}
        said_here = {**self.line.single(self.line.values), **overrides}
        for key in sorted(said_here, key=lambda one: group_of(one) is None):  # choices first, then what is set in them
            value = said_here[key]
            if key in GROUPS:
                continue
            keys = tuple(key.split("."))
            said = self.line.said.get(key) or f"{origin.where(('sweep', key))}={value!s:.80}"
            if value is None and key not in overrides:
                self.problems.update(dict.fromkeys(nothing_there(data, keys, said)))
            if group_of(key) and isinstance(value, str):
                data = self.choices.put(data, keys, value, said)
            else:
                data = with_value(data, keys, value)
            origin.override(keys, said)
            for other in self._replaced(keys, value, overrides):
                if value_at(data, other) is not None:
                    data = with_value(data, other, None)
                    origin.override(other, said)
        data = from_one_source(data, {*self.line.choices, *self.line.values, *overrides})
        problems = reference_problems(data, origin)
        if not problems and any(references(data)):
            data = _resolved(data)
        recipe, more = check(data, origin, frozenset(self.line.doubtful | self.parts.doubtful), self.sound)
        problems += [problem for problem in more if self.need_files or not problem.missing]
        self.problems.update(dict.fromkeys(problems))
        return recipe

    def _replaced(self, keys: KeyPath, value: Any, overrides: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What files say of the noise levels ends where the command line or a sweep's axis says it in another way."""
        from components.schedulers.options import SIGMA_FLAGS

        flag = keys[0] == "scheduler" and value is True and keys[-1] in SIGMA_FLAGS
        if value is None or not (flag or keys in LEVELS) or {"schedule"} & {*self.line.choices, *overrides}:
            return []  # a schedule that was chosen with it was meant, and does not go with it
        said = {*self.line.values, *overrides}
        return [other for other in LEVELS if other != keys and ".".join(other) not in said]


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems file by file, in the order of the lines; files and the command line as they first come up."""
    places: dict[str, int] = {}
    keyed = []
    for problem in problems:
        file, _, rest = problem.where.partition(":")
        line = re.match(r"\d+", rest)
        keyed.append((places.setdefault(file, len(places)), int(line[0]) if line else 0, problem))
    return [problem for _, _, problem in sorted(keyed, key=lambda one: one[:2])]


def _closed_doors(library: Library) -> list[Problem]:
    own = library.users_folder
    file = own / f"{PRIMARY}.yaml" if own else None
    # A checkout of this program beside an installed copy holds the very file that is in charge anyway.
    if own is None or file is None or not file.exists() or _same_text(file, library.primary):
        return []
    what = "this file would be in charge of every run, so it is not read, and nothing runs while it is there"
    hint = f"what you want to change for a run belongs in a recipe: {own.name}/recipe/NAME.yaml"
    return [Problem(shown_path(file), what, hint=hint)]


def _same_text(file: Path, other: Path) -> bool:
    try:
        return read_text(file) == read_text(other)
    except YamlError:  # whatever it is, it is not that file
        return False


def _repeated(job: Job, number: int, repeat: int) -> Job:
    """Repetition `number` of a job: the same with the seeds that follow those of the one before."""
    if repeat == 1:
        return job
    seed = job.recipe.seed + number * job.recipe.num_images
    return Job(job.recipe.model_copy(update={"seed": seed}), {**job.overrides, sweep.REPEAT: number + 1})


def _axis_problem(key: str, values: Any, where: str, library: Library) -> Problem | None:
    known = key in GROUPS[1:] or (find_key(key) is not None and key not in (*GROUPS, "sweep", "name", "format"))
    option = takes_options(key) and key != "scheduler.name"
    if key == "recipe":
        return Problem(
            where, "a recipe cannot sweep over recipes", hint="on the command line it can: run -m recipe=a,b"
        )
    if known or option:
        return None
    return unknown_key(where, key.split("."), values, library, to=" to sweep over")


def _resolved(data: dict[str, Any]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    resolved = OmegaConf.to_container(OmegaConf.create(data), resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}
