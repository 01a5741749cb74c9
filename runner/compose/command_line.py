"""The command line's key=value words: which group or key each one means, and its value, all mistakes at once.

Prompts are prose and taken as typed. Other values follow Hydra's override grammar, and with -m its sweep syntax
(a,b,c; range(1,4); choice(...); glob(eul*) for groups). Adding (+key), deleting (~key), packages and everything of
Hydra's own are refused: every key there is can be set plainly. Whether a value fits its key is checked in values.py.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, get_args, get_origin

from runner.compose.choices import group_of
from runner.compose.documents import reference_problem
from runner.compose.parts import unknown_choice
from runner.compose.unknown_keys import size_hint, unknown_key
from runner.errors import Problem, typed
from runner.registry import GROUPS, Library
from runner.schema import find_key, key_paths, takes_options

MAX_JOBS = 100_000
PROSE = ("prompt", "negative_prompt")
_WORD = re.compile(r"^(?P<sign>\+\+|\+|~)?(?P<key>[^=]*)=(?P<value>.*)$", re.DOTALL)
_CHOICE = re.compile(r"^\w[\w.\-]*$")
_PLAIN_NAME = re.compile(r"^\w[\w.\-+ ]*$")  # "DPM++ 2M Karras", which Hydra's grammar has no place for


@dataclass
class CommandLine:
    """What was asked for. One value: set; several (only with -m): an axis of a sweep.

    choices: group → options; values: key path → values; said: both → what was typed, as a place.
    """

    choices: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[Any]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    def axes(self) -> dict[str, list[Any]]:
        """Group or key path → values, in the order typed, of what has several."""
        several = self.choices | self.values
        return {key: several[key] for key in self.said if key in several and len(several[key]) > 1}

    def single(self, of: dict[str, list[Any]]) -> dict[str, Any]:
        return {key: values[0] for key, values in of.items() if len(values) == 1}


def understand(words: Sequence[str], library: Library, *, multirun: bool = False) -> CommandLine:
    """Read the words after the flags. Never raises; what is wrong is in `.problems`, what is right in the rest."""
    line = CommandLine()
    for index, word in enumerate(words):
        match = _WORD.match(word)
        if match is None:
            if index == 0 or "=" in words[index - 1]:  # the words after it are most likely of the same text
                line.problems.append(_not_a_pair(words, index, library))
            continue
        where = typed(word)
        key, value = match["key"].strip(), match["value"]
        if key.endswith((".name",)) and group_of(key.removesuffix(".name")) in ("scheduler", "backend"):
            key = key.removesuffix(".name")
        if problem := _refused_key(where, match["sign"], key, value, library):
            line.problems.append(problem)
            line.doubtful.add(key.split(".")[0])
            continue
        line.said.pop(key, None)
        line.said[key] = where
        if key in GROUPS:
            _choose(line, key, value, where, library, multirun)
        elif (group := group_of(key)) and value != "null" and not value.startswith("{"):
            _choose(line, group, value, where, library, multirun, key)
        else:
            _set(line, key, value, where, multirun)
    return line


def _not_a_pair(words: Sequence[str], index: int, library: Library) -> Problem:
    stray = list(takewhile(lambda word: "=" not in word, words[index:]))
    before = words[index - 1] if index else ""
    where = typed(" ".join(stray))
    if before.split("=")[0] in PROSE:
        hint = f"a text with spaces is quoted as a whole: '{' '.join([before, *stray])}'"
    elif size := size_hint(" ".join(stray), typed=True):
        hint = size
    elif stray[0] in library.choices("recipe"):
        hint = f"to run this recipe: run recipe={stray[0]}"
    else:
        hint = "values are given as key=value, such as seed=1; a saved recipe by its path, first: run FILE.yaml seed=1"
    return Problem(where, "this is not key=value", hint=hint)


def _refused_key(where: str, sign: str | None, key: str, value: str, library: Library) -> Problem | None:
    root = re.split(r"[./@:]", key)[0]
    if root == "hydra":
        return Problem(where, "Hydra itself cannot be configured here: it would run what it is told to")
    if "@" in key:
        return Problem(where, "a part has one place in a recipe: packages (@) are not used")
    if root == "sweep" and (key != "sweep" or value != "null"):
        return Problem(
            where, "a sweep is not set like a key", hint="give the values: run -m scheduler=euler,lms seed=1,2"
        )
    option = takes_options(key)
    if key not in GROUPS and find_key(key) is None and not option:
        return unknown_key(where, key.split("."), _plain(value), library)
    if sign:
        hint = f"write: {key}={value}" if sign != "~" else f"to undo what a recipe sets, set it: {key}=VALUE"
        return Problem(where, f"'{sign}' is not used: every key there is can be set plainly", hint=hint)
    return None


def _plain(value: str) -> Any:
    """The value as a file would have it: numbers as numbers."""
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else value


def _choose(
    line: CommandLine, group: str, value: str, where: str, library: Library, multirun: bool, key: str | None = None
) -> None:
    """Choices of a group, or of the group's part of a change (`key`), which are values of that key."""
    options = _options(group, value, where, library, multirun)
    if isinstance(options, Problem):
        line.problems.append(options)
        line.doubtful |= set() if key else {group}
        return
    meant = {option: library.canonical(group, option) for option in options}
    line.problems += [unknown_choice(library, group, option, where) for option, name in meant.items() if name is None]
    if None in meant.values():
        line.doubtful |= set() if key else {group}
    if known := [name for name in meant.values() if name is not None]:
        (line.values if key else line.choices)[key or group] = known


def _options(group: str, value: str, where: str, library: Library, multirun: bool) -> list[str] | Problem:
    names = [name.strip() for name in value.split(",")]
    if not multirun and len(names) > 1 and all(library.meaning(group, name) for name in names):
        command = f"run -m {shlex.quote(f'{group}={value}')}"
        return Problem(where, f"several {group}s are a sweep", hint=f"add -m to run each of them: {command}")
    if not multirun or _CHOICE.match(value):
        if value in ("", "null"):
            return Problem(where, f"there is always one {group}", tuple(library.choices(group)))
        return [value]
    if all(_PLAIN_NAME.match(name) for name in names):
        return names
    read = _read(value)
    if isinstance(read, str):
        return Problem(where, read)
    if read.glob is None:
        return [str(item) for item in read.values]
    found = read.glob.filter(list(library.choices(group)))
    return found or Problem(where, f"no {group} fits this pattern", tuple(library.choices(group)))


def _set(line: CommandLine, key: str, value: str, where: str, multirun: bool) -> None:
    if what := reference_problem(value):
        line.problems.append(Problem(where, what))
        return
    read = _prose if key.rpartition(".")[2] in PROSE else _text if _is_text(key) else _grammar
    values = read(key, value, multirun)
    if isinstance(values, str):
        line.problems.append(Problem(where, values))
        return
    problems = [what for item in values for text in _texts(item) if (what := reference_problem(text))]
    line.problems += [Problem(where, what) for what in problems]
    if not problems:
        line.values[key] = values


def _prose(key: str, value: str, multirun: bool) -> list[Any] | str:
    """As typed. A list of quoted texts is a sweep; it is no prompt anyone means."""
    if value == "null" and key == "negative_prompt":
        return [None]
    items = _list_of_texts(value)
    if items is None:
        listed = multirun and value.startswith("[") and value.endswith("]")
        return 'to sweep over texts, quote each of them: ["a cat", "a dog"]' if listed else [value]
    return items if multirun else f"several {key}s are a sweep: add -m to run each of them"


def _list_of_texts(value: str) -> list[str] | None:
    if not (value.startswith("[") and value.endswith("]")):
        return None
    try:
        items = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    fitting = isinstance(items, list) and items and all(isinstance(item, str) for item in items)
    return items if fitting else None


def _text(key: str, value: str, multirun: bool) -> list[Any] | str:
    """Names, paths and revisions: as typed (1e5 stays a revision), commas separate values of a sweep."""
    parts = value.split(",") if multirun else [value]
    return [None if part == "null" else part for part in parts]


def _grammar(key: str, value: str, multirun: bool) -> list[Any] | str:
    read = _read(value)
    if isinstance(read, str):
        return read
    if read.swept and not multirun:
        return "several values are a sweep: add -m to run each of them"
    return "glob(...) chooses among the files of a group; this is a key" if read.glob else read.values


@dataclass
class _Read:
    values: list[Any]
    swept: bool = False
    glob: Any = None


def _read(value: str) -> _Read | str:
    """A value by Hydra's grammar, or what is wrong with it in words."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"key={value}")
        if isinstance(override.value(), Glob):
            return _Read([], swept=True, glob=override.value())
        if not override.is_sweep_override():
            return _Read([override.value()])
        values = list(islice(override.sweep_iterator(), MAX_JOBS + 1))
    except (HydraException, ValueError, RecursionError):
        return (
            f"the value '{value[:80]}' cannot be read: numbers, true, false, null, names, [lists] or \"quoted texts\""
        )
    return _Read(values, swept=True) if len(values) <= MAX_JOBS else f"this is a sweep over more than {MAX_JOBS} values"


def _is_text(key: str) -> bool:
    """Whether a key holds one word or text and nothing else (null aside)."""
    path = find_key(key)
    kind = key_paths()[path].annotation if path else None
    return kind is not None and get_origin(kind) is not dict and all(map(_texty, get_args(kind) or (kind,)))


def _texty(annotation: Any) -> bool:
    if annotation in (str, type(None)) or isinstance(annotation, str):
        return True
    inner = get_args(annotation)
    return bool(inner) and _texty(inner[0])


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
