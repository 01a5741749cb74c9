"""One recipe file, read as data: its values, what it builds on, and everything in it that a recipe may not contain.

A file is never trusted. Instructions to other programs (hydra nodes, `_target_`, packages, resolvers, defaults outside
the known groups) are refused with a reason and left out, so that composing can go on and find the other problems.
Whether its keys exist and its values are possible is checked later, on the whole composed recipe (values.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.compose.yaml_text import KeyPath, YamlError, YamlText, read
from runner.errors import Problem, nearest
from runner.named_files import leading_here
from runner.registry import GROUPS

REFERENCE = re.compile(r"(?<!\\)\$\{([A-Za-z_]\w*(?:\.\w+)*)\}", re.ASCII)
_ENTRY = re.compile(r"^(?P<override>override\s+)?(?P<slash>/?)(?P<group>\S+)$")
_NAME = re.compile(r"^\w[\w.\-]*$")
_THEIR_NAME = re.compile(r"^\w[\w.\-+, ]{0,99}$")  # of a scheduler or schedule, as other tools write them

EXTENDING = "a recipe builds on another with '- NAME', and chooses a part with '- override /GROUP: NAME'"


@dataclass(frozen=True)
class Document:
    """A vetted file. parents: names in its group that it builds on; chosen: group → option; each with its line.

    named: groups whose option stands in the body, as the name of the part.
    """

    path: Path
    shown: str
    group: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    parents: tuple[tuple[str, int], ...] = ()
    chosen: dict[str, tuple[str, int]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    summary: str = ""
    composes: bool = False
    readable: bool = True
    problems: tuple[Problem, ...] = ()

    def where(self, line: int = 0, keys: KeyPath = ()) -> str:
        """Place of a line and key path, as shown to the user."""
        return f"{self.shown}{f':{line}' if line else ''} {dotted(keys)}".strip()

    def choice(self, group: str) -> str:
        """Place and words of what it chooses in a group."""
        option, line = self.chosen[group]
        words = f"{group}.name" if group in self.named else f"defaults: override /{group}"
        return f"{self.where(line)} {words}: {option}"


def dotted(keys: KeyPath) -> str:
    """('schedule', 'timesteps', 3) → schedule.timesteps[3]"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def shown_path(path: Path, cwd: Path | None = None) -> str:
    """The path as a user at `cwd` would type it."""
    try:
        return str(path.relative_to(cwd or Path.cwd()))
    except ValueError:
        return str(path)


def document(path: Path, group: str, cwd: Path | None = None) -> Document:
    """The vetted file; what is wrong with it is in its problems, also when it cannot be read at all.

    group: a config group, 'config' for the file that names every group, or 'file' for a complete recipe.
    """
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        stamp = 0
    found = _document(path, group, shown_path(path, cwd), stamp)
    section = group if group in GROUPS and group != "recipe" else None
    data = {section: found.data} if section else found.data
    here = leading_here(data, path.parent)
    return found if here is data else replace(found, data=here[section] if section else here)


@lru_cache(maxsize=4096)
def _document(path: Path, group: str, shown: str, _stamp: int) -> Document:
    try:
        text = read(path)
    except YamlError as error:
        empty = Document(path, shown, group)
        problem = Problem(empty.where(error.line), error.what)
        return Document(path, shown, group, readable=False, problems=(problem,))
    return _Vetting(path, shown, group, text).document()


class _Vetting:
    def __init__(self, path: Path, shown: str, group: str, text: YamlText) -> None:
        self.text, self.group = text, group
        self.base = Document(path, shown, group)
        self.problems: list[Problem] = []
        self.parents: list[tuple[str, int]] = []
        self.chosen: dict[str, tuple[str, int]] = {}
        self.named: set[str] = set()

    def document(self) -> Document:
        self._header()
        data = dict(self.text.data)
        composes = "defaults" in data
        self._defaults(data.pop("defaults", []))
        data = self._mapping(data, ())
        if self.group in ("recipe", "config", "file"):
            data = self._sections(data)
        comments = [text for _, text in self.text.header if not text.startswith(("@", "run "))]
        return Document(
            self.base.path,
            self.base.shown,
            self.group,
            data,
            self.text.lines,
            tuple(self.parents),
            self.chosen,
            frozenset(self.named),
            summary=comments[0] if comments else "",
            composes=composes,
            problems=tuple(self.problems),
        )

    def _refuse(self, keys: KeyPath, what: str, line: int | None = None, **more: Any) -> None:
        at = self.text.lines.get(keys, 0) if line is None else line
        self.problems.append(Problem(self.base.where(at, keys), what, **more))

    def _header(self) -> None:
        fitting = self.group if self.group in GROUPS and self.group != "recipe" else "_global_"
        for line, text in self.text.header:
            if text.startswith("@") and text.split() not in (["@package", fitting], ["@package", "_group_"]):
                self._refuse((), f"the header '{text}' is refused: this file is about '{fitting}' only", line)

    def _mapping(self, mapping: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        kept = {}
        for key, value in mapping.items():
            keys = (*path, key)
            if key == "hydra":
                self._refuse(keys, "a recipe is data: it cannot configure Hydra, which runs what it finds there")
            elif key.startswith("_"):
                self._refuse(
                    keys, f"a recipe is data: '{key}' is an instruction to other programs, which recipes cannot give"
                )
            else:
                kept[key] = self._value(value, keys)
        return kept

    def _value(self, value: Any, keys: KeyPath) -> Any:
        if isinstance(value, dict):
            if self._holds_one_value(keys):  # Hydra cannot merge a mapping with a list, and stops there
                self._refuse(keys, "this is one value and has no keys of its own")
                return None
            return self._mapping(value, keys)
        if isinstance(value, list):
            return [self._value(item, (*keys, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and (what := reference_problem(value)):
            self._refuse(keys, what)
            return ""
        if value == "???":  # to Hydra a value that is still missing, which would silently not be set
            self._refuse(keys, "'???' cannot be a whole value", hint="leave the key out, or say more")
        return value

    def _holds_one_value(self, keys: KeyPath) -> bool:
        from runner.schema import find_key, key_paths

        prefix = (self.group,) if self.group in GROUPS and self.group != "recipe" else ()
        path = find_key(dotted((*prefix, *keys)))
        return path not in (None, "sweep") and not any(other.startswith(f"{path}.") for other in key_paths())

    def _sections(self, data: dict[str, Any]) -> dict[str, Any]:
        """`scheduler: euler` in the body would replace a whole part by a word. A name there chooses the part."""
        kept = dict(data)
        for group in ("scheduler", "backend") if self.group == "recipe" else ():
            node = data.get(group)
            if isinstance(node, dict) and "name" in node:
                kept[group] = {key: value for key, value in node.items() if key != "name"}
                self._names(group, node["name"])
        for group in GROUPS:
            if group not in data or isinstance(data[group], dict):
                continue
            del kept[group]
            value = data[group]
            hint = EXTENDING if group == "recipe" else f"to choose one: defaults: [override /{group}: {value}]"
            self._refuse((group,), f"'{group}' holds keys and values here, not {value!r}", hint=hint)
        return kept

    def _names(self, group: str, name: Any) -> None:
        line = self.text.lines.get((group, "name"), 0)
        refuse = functools.partial(self._refuse, (group, "name"))
        if not isinstance(name, str) or not _any_name(group).match(name):
            refuse(f"the name of a {group} is one name, not {name!r}")
        elif group in self.chosen and self.chosen[group][0] != name:
            refuse(f"the defaults choose the {group} {self.chosen[group][0]}", hint="keep one of the two")
        elif group not in self.chosen:
            self.chosen[group] = (name, line)
            self.named.add(group)

    def _defaults(self, entries: Any) -> None:
        if not isinstance(entries, list):
            self._refuse(("defaults",), "the defaults must be a list", hint=EXTENDING)
            return
        for index, entry in enumerate(entries):
            keys: KeyPath = ("defaults", index)
            line = self.text.lines.get(keys, 0)
            words = entry if isinstance(entry, str) else next(iter(entry), "") if isinstance(entry, dict) else ""
            said = f"{words}: {next(iter(entry.values()))}" if isinstance(entry, dict) and entry else str(entry)
            refuse = _refuser(self, line, said)
            if reason := _hostile(said):
                refuse(reason)
            elif isinstance(entry, str):
                self._builds_on(entry, line, refuse)
            elif isinstance(entry, dict) and len(entry) == 1:
                self._chooses(words, entry[words], line, refuse)
            else:
                refuse("an entry of the defaults is a name or one 'override /GROUP: NAME'", hint=EXTENDING)

    def _builds_on(self, name: str, line: int, refuse: Callable[..., None]) -> None:
        if name == "_self_":
            return
        if self.group == "config" or not _any_name(self.group).match(name):
            refuse(f"'{name}' is not the name of a {self.group}", hint=EXTENDING)
        else:
            self.parents.append((name, line))

    def _chooses(self, words: str, option: Any, line: int, refuse: Callable[..., None]) -> None:
        match = _ENTRY.match(words)
        group, slash, override = (match["group"], match["slash"], match["override"]) if match else (words, "", "")
        entry = f"- override /{group}: {option}"
        if group not in GROUPS:
            refuse(f"there is no group '{group}'", allowed=GROUPS, nearest=nearest(group, GROUPS))
        elif not isinstance(option, str) or not (_THEIR_NAME if group in ("scheduler", "schedule") else _NAME).match(
            option
        ):
            refuse(f"the choice for '{group}' must be one name, not {option!r}")
        elif self.group == "config":
            self.chosen[group] = (option, line)
        elif self.group != "recipe":
            refuse(f"a {self.group} file builds on others of its own group only", hint=f"such as '- {option}'")
        elif group == "recipe":
            refuse("a recipe builds on another by its name alone", hint=f"write: - {option}")
        elif not override or not slash:
            refuse("this entry does not choose anything", hint=f"write: {entry}")
        elif group in self.chosen:
            refuse(f"'{group}' is chosen twice in these defaults")
        else:
            self.chosen[group] = (option, line)


def _any_name(group: str) -> re.Pattern[str]:
    return _THEIR_NAME if group in ("scheduler", "schedule") else _NAME


def _refuser(vetting: _Vetting, line: int, said: str) -> Callable[..., None]:
    def refuse(what: str, **more: Any) -> None:
        vetting.problems.append(Problem(f"{vetting.base.where(line)} defaults: {said[:80]}", what, **more))

    return refuse


def _hostile(entry: str) -> str | None:
    if re.search(r"(^|[\s/@])hydra($|[\s/@:])", entry):
        return "a recipe is data: it cannot choose or configure parts of Hydra"
    if "@" in entry:
        return "a part has one place in a recipe: packages (@) are not used"
    if "${" in entry:
        return "a choice is a plain name: references (${...}) are not used in defaults"
    if "optional" in entry.split():
        return "'optional' would hide a misspelt name, and is not used"
    return None


def reference_problem(text: str) -> str | None:
    """What is wrong with the ${...} in a text, if anything. Only ${key.path} is a reference; no resolver exists."""
    rest = REFERENCE.sub(" ", text)
    if "${" not in rest:
        return None
    after = rest[rest.index("${") + 2 :].split("}")[0]
    if ":" in after:
        resolver = after.split(":")[0].strip() or "?"
        return (
            f"the resolver '{resolver[:40]}' is refused: a recipe cannot read the environment or run anything, "
            "only refer to its own keys, as in ${seed}"
        )
    return "'${' begins a reference to a key, as in ${seed}; anything else with it is refused"


def references(value: Any, keys: KeyPath = ()) -> Iterator[tuple[KeyPath, str, str]]:
    """Every reference in composed data, at any depth: (key path, the text it is in, the path it refers to)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, (*keys, index))
    elif isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield keys, value, match[1]
