"""A composed mapping becomes a Recipe: every key known, every value possible, all of it fitting together.

All problems are found at once, each with the file and line (or the command-line word) that set the value. What needs
more than the recipe and small configuration files on this machine's disk is left to the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from runner.compose.documents import Document, dotted, references
from runner.compose.unknown_keys import unknown_key
from runner.compose.yaml_text import KeyPath
from runner.errors import Problem, nearest
from runner.keys import FREE, NAMES
from runner.network_facts import misstated, stated
from runner.on_disk import scheduler_config, source_problem, vae_factor
from runner.registry import find_scheduler
from runner.schema import COMPONENTS, Recipe, children, find_key, key_paths


@dataclass
class Origin:
    """Who set each key last: a document's line, or a word of the command line."""

    name: str
    places: dict[KeyPath, str] = field(default_factory=dict)

    def merge(self, document: Document, prefix: KeyPath, left_out: frozenset[str]) -> None:
        """Record that this document was merged on top, but for the groups left out."""
        for keys, line in document.lines.items():
            if keys[0] in left_out or keys[0] == "defaults":
                continue
            place = (*prefix, *keys)
            if isinstance(keys[-1], str) and not isinstance(value_at(document.data, keys), dict):
                self.clear(place)
            self.places[place] = document.where(line, place)

    def clear(self, keys: KeyPath) -> None:
        for place in [place for place in self.places if place[: len(keys)] == keys]:
            del self.places[place]

    def override(self, keys: KeyPath, said: str) -> None:
        self.clear(keys)
        self.places[keys] = said

    def where(self, keys: KeyPath) -> str:
        """The place that set this key or, if nobody did, the closest thing around it."""
        for end in range(len(keys), 0, -1):
            if place := self.places.get(keys[:end]):
                return place if end == len(keys) or place.startswith("command line") else f"{place}{_rest(keys, end)}"
        return f"{self.name} {dotted(keys)}"

    def without(self, keys: KeyPath) -> str:
        """The place that set this key's section; where nobody did so as a whole, one that set another key in it."""
        section = keys[:-1]
        inside = (place for other, place in self.places.items() if other[: len(section)] == section)
        return next(inside, self.where(keys)) if section and section not in self.places else self.where(keys)

    def said(self, keys: KeyPath) -> bool:
        return keys in self.places


def _rest(keys: KeyPath, end: int) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys[end:])


def value_at(data: Any, keys: KeyPath) -> Any:
    """The value at a key path; None where there is none."""
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


TOGETHER = ("scheduler", "schedule", "steps", "checkpoint", "height", "width")


def check(
    data: dict[str, Any], origin: Origin, doubtful: frozenset[str] = frozenset(), sound: set[str] | None = None
) -> tuple[Recipe | None, list[Problem]]:
    """The Recipe, or None and every problem; both where nothing but files is missing.

    doubtful: groups whose choice is already known to be wrong.

    sound: values that were found to fit together before, as text; a sweep's jobs mostly repeat them.
    """
    problems: list[Problem] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems += _told(error, data, origin)
    together = repr([data.get(name) for name in TOGETHER])
    if recipe is not None and sound is not None and together in sound:
        return recipe, []
    told = {problem.where for problem in problems}
    bad = {keys for keys in origin.places if origin.where(keys) in told} if told else set()
    problems += _scheduler_problems(data, origin, bad, sure="scheduler" not in doubtful)
    if "checkpoint" not in doubtful:
        problems += _source_problems(data, origin) + _size_problems(data, origin, bad)
    if not problems and sound is not None and not doubtful:
        sound.add(together)
    return (recipe if all(problem.missing for problem in problems) else None), list(dict.fromkeys(problems))


# ---- single values ---------------------------------------------------------------------------------------------------

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "finite_number": "a finite number",
}
_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
    "greater_than": ("gt", "above"),
}


def _told(error: ValidationError, data: dict[str, Any], origin: Origin) -> list[Problem]:
    """pydantic's findings in plain words. Alternatives of one value (a number or 'zero') become one problem."""
    problems: dict[KeyPath, Problem] = {}
    for found in error.errors():
        keys = _key_path(found["loc"], data)
        if keys not in problems or not problems[keys].allowed:
            problems[keys] = _problem(found, keys, origin, alternatives=_alternatives(error, keys, data))
        if found["type"] == "missing":
            problems[keys] = replace(problems[keys], nearest=_other_name(keys, data))
    return list(problems.values())


def _key_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """The part of pydantic's location that is in the data; the rest names types."""
    keys: list[str | int] = []
    for part in loc:
        inside = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int))
        if not inside and not (isinstance(data, dict) and part == loc[-1] and part != "[key]"):
            break
        keys.append(part)
        data = value_at(data, (part,))
    return tuple(keys)


def _other_name(keys: KeyPath, data: Any) -> str | None:
    """A key at which the value that lacks one stands under a name much like the one it has, by a slip perhaps."""
    for end in range(len(keys) - 1, 1, -1):
        others = value_at(data, keys[: end - 1])
        if (find_key(dotted(keys[:end])) or "").endswith(f".{FREE}") and isinstance(others, dict):
            close = nearest(str(keys[end - 1]), (name for name in others if name != keys[end - 1]))
            return close and dotted((*keys[: end - 1], close, *keys[end:]))
    return None


def _alternatives(error: ValidationError, keys: KeyPath, data: Any) -> bool:
    return sum(_key_path(found["loc"], data) == keys for found in error.errors()) > 1


def _problem(found: Any, keys: KeyPath, origin: Origin, *, alternatives: bool) -> Problem:
    where, value, kind, context = origin.where(keys), found["input"], found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(where, [str(key) for key in keys], value)
    if kind == "missing":
        path = find_key(dotted(keys))
        where = origin.without(keys)
        return Problem(where, f"'{dotted(keys)}' is missing", hint=key_paths()[path].description if path else None)
    if found["loc"][-1] == "[key]" and kind == "value_error":
        return Problem(where, f"'{keys[-1]}' cannot be a name", hint=f"a name here is {NAMES}")
    if found["loc"][-1] == "[key]":
        return Problem(where, f"there is no component '{keys[-1]}'", COMPONENTS, nearest(str(keys[-1]), COMPONENTS))
    if kind == "literal_error":
        allowed = tuple(part.strip("' ") for part in context["expected"].replace(" or ", ", ").split(", "))
        allowed += ("a number",) if alternatives else ()
        return Problem(where, f"{_said(value)} is not possible here", allowed, nearest(str(value), allowed))
    if kind in ("model_type", "dict_type"):
        section = dotted(keys)
        own = tuple(f"{section}.{name}" for name in children(section))
        return Problem(where, f"this has keys of its own and cannot be {_said(value)}", own)
    if kind in _KINDS:
        return Problem(where, f"{_said(value)} is not {_KINDS[kind]}", hint=_quoting(kind, value))
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return Problem(where, f"{_said(value)} is out of range: it must be {words} {context[name]}")
    if kind == "too_short":
        return Problem(where, "the list is empty" if isinstance(value, list) else "this is empty")
    if kind == "string_too_short":
        return Problem(where, "this is empty")
    if kind == "string_pattern_mismatch":
        return Problem(
            where, f"{_said(value)} is not possible here", ("auto", "cpu", "cuda", "cuda:0", "cuda:1 ...", "mps")
        )
    return Problem(where, str(context.get("error") or found["msg"]))


def _said(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _quoting(kind: str, value: Any) -> str | None:
    if kind == "string_type" and isinstance(value, int | float):
        return f'in a file, text that looks like something else is quoted: "{_said(value)}"'
    return None


# ---- values that must fit together -----------------------------------------------------------------------------------


def _scheduler_problems(data: Mapping[str, Any], origin: Origin, bad: set[KeyPath], *, sure: bool) -> list[Problem]:
    """What is wrong with the scheduler's options and the schedule. Not sure which scheduler: what is wrong with any."""
    from components.schedulers import EulerDiscreteScheduler, SchedulerConfigError

    if not sure:
        found = _schedule_problems(EulerDiscreteScheduler(), data, origin, bad)
        return [problem for problem in found if " together " in problem.what]
    node = data.get("scheduler")
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        return []
    options = {option: value for option, value in node.items() if option != "name"}
    try:
        cls = find_scheduler(node["name"])
    except SchedulerConfigError as error:
        what = f"there is no scheduler class '{node['name']}'"
        [found] = error.problems
        return [Problem(origin.where(("scheduler", "name")), what, found.allowed, found.nearest)]
    found = cls.check_options(options)
    problems = [_option_problem(problem, cls.__name__, origin) for problem in found]
    wrong = {problem.option for problem in found}
    checkpoint = data.get("checkpoint")
    fitting = {option: value for option, value in options.items() if option not in wrong}
    if told := _misstated(cls.fits, cls, checkpoint, fitting, origin):
        return problems + told
    try:
        scheduler = cls.from_config(scheduler_config(checkpoint) | stated(checkpoint), **fitting)
    except SchedulerConfigError:  # the checkpoint's configuration is at fault, which the plan tells
        scheduler = cls.from_config({}, **fitting)
    except ValueError as error:
        return [*problems, Problem(origin.where(("scheduler",)), " ".join(str(error).split()).removesuffix("."))]
    told = _misstated(scheduler.fits, cls, checkpoint, fitting, origin)
    return problems + told + _schedule_problems(scheduler, data, origin, bad)


def _misstated(kind: str, cls: Any, checkpoint: Any, options: Mapping[str, Any], origin: Origin) -> list[Problem]:
    """What the recipe says of the network that does not go with the scheduler, or with an option that is set."""
    return [
        Problem(origin.where(("checkpoint", one.key)), f"this {one.what}", hint=_set_here(one.other, origin))
        for one in misstated(kind, cls, checkpoint, options)
    ]


def _set_here(option: str | None, origin: Origin) -> str | None:
    """Where an option of the scheduler was set, if it was."""
    place = ("scheduler", option or "")
    return f"{dotted(place)} is set here: {origin.where(place)}" if origin.said(place) else None


def _option_problem(found: Any, scheduler: str, origin: Origin) -> Problem:
    where = origin.where(("scheduler", found.option))
    what = f"this {found.what}".replace("is not an option here", f"is not an option of {scheduler}")
    start, together, other = what.rpartition(" together with ")
    if not together:
        return Problem(where, what, found.allowed, found.nearest, found.hint)
    return Problem(where, f"{start}{together}scheduler.{other}", hint=_set_here(other, origin))


def _schedule_problems(scheduler: Any, data: Mapping[str, Any], origin: Origin, bad: set[KeyPath]) -> list[Problem]:
    """The scheduler's own findings about the schedule, each under the key that caused it."""
    from components.schedulers.schedule import Schedule

    listed = ("timesteps", "sigmas", "spacing", "final_sigma")
    node = data.get("schedule") or {}
    places: dict[str, KeyPath] = {"steps": ("steps",)}
    places.update((name, ("schedule", name)) for name in listed)
    given = {name: node.get(name) if name in listed else data.get(name) for name in places}
    usable = {
        name: value
        for name, value in given.items()
        if value is not None and value != [] and not any(keys[: len(places[name])] == places[name] for keys in bad)
    }
    problems = []
    for found in scheduler.check_schedule(Schedule(**usable)):
        keys = places.get(found.option, ("scheduler", found.option))
        what, other = _named_in_full(found.what, places)
        hint = f"{dotted(other)} is set here: {origin.where(other)}" if other and origin.said(other) else found.hint
        problems.append(Problem(origin.where(keys), what, tuple(found.allowed), found.nearest, hint))
    return problems


def _named_in_full(what: str, places: Mapping[str, KeyPath]) -> tuple[str, KeyPath | None]:
    """A finding with the other key it names, if any, in full; and that key."""
    words = what.replace("the scheduler's ", "scheduler.").split(" ")
    if "together" not in words:
        return f"this {what}", None
    name = words[-1].removeprefix("scheduler.")
    other = places.get(name, ("scheduler", name))
    return f"this {' '.join([*words[:-1], dotted(other)])}", other


def _source_problems(data: Mapping[str, Any], origin: Origin) -> list[Problem]:
    """The checkpoint, and each component that is taken from elsewhere, where it cannot be found."""
    keys: list[KeyPath] = [("checkpoint",)]
    components = value_at(data, ("checkpoint", "components"))
    keys += [("checkpoint", "components", name) for name in components] if isinstance(components, dict) else []
    found = (source_problem(value_at(data, at), origin.where((*at, "repo"))) for at in keys)
    return [problem for problem in found if problem]


def _size_problems(data: Mapping[str, Any], origin: Origin, bad: set[KeyPath]) -> list[Problem]:
    factor = vae_factor(data.get("checkpoint"))
    if factor is None:
        return []
    problems = []
    for name in ("height", "width"):
        value = data.get(name)
        if (name,) not in bad and isinstance(value, int) and value % factor:
            below = value // factor * factor
            near = f"{below} or {below + factor}" if below else f"{factor}"
            what = f"{value} is not divisible by {factor}, the factor of the checkpoint's autoencoder (VAE)"
            problems.append(Problem(origin.where((name,)), what, hint=f"near it: {near}"))
    return problems


def reference_problems(data: dict[str, Any], origin: Origin) -> list[Problem]:
    """References that lead nowhere, or to another reference (which could unfold without end)."""
    problems = []
    for keys, _, path in references(data):
        target = value_at(data, tuple(path.split(".")))
        if target is None and find_key(path) is None:
            what = f"the reference ${{{path}}} leads nowhere"
            problems.append(Problem(origin.where(keys), what, nearest=nearest(path, key_paths())))
        elif target is None or isinstance(target, dict | list):
            what = f"the reference ${{{path}}} leads to no single value"
            problems.append(Problem(origin.where(keys), what))
        elif any(references(target)):
            problems.append(Problem(origin.where(keys), f"the reference ${{{path}}} leads to another reference"))
    return problems
