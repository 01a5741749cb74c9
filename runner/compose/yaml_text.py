"""YAML as recipes use it: plain data with a line number for every key, read and written by the same rules.

Nothing else YAML can do is accepted: no tags, anchors, merge keys or second document. Numbers and words follow YAML 1.2
(`1e-3` is a number; `yes`, `12:30` and `2024-01-01` are text), so that a recipe says what its reader thinks it says.
What a key may be called or hold is not this module's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.regular_files import RECIPE, IrregularError, read_bytes

MAX_DEPTH = 20
KeyPath = tuple[str | int, ...]

_SCALARS = (
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", list("tf")),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf))$|^\.nan$",
        list("-+0123456789."),
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - the base class declares it so


if TYPE_CHECKING:
    _BaseDumper = yaml.SafeDumper
else:
    _BaseDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's is ten times faster, where it is built in


class _Dumper(_BaseDumper):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in _SCALARS:
    for _cls in (_Loader, _Dumper):
        _cls.add_implicit_resolver(_tag, re.compile(_pattern), _first)

_CONVERT = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "tag:yaml.org,2002:str": str,
}


class YamlError(ValueError):
    """The text is not a YAML file that recipes can use; `line` counts from 1 (0: the file as a whole)."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.what, self.line = what, line


@dataclass
class YamlText:
    """data: a mapping; lines: key path → line (from 1) of that key or list item; header: leading comment lines."""

    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    header: list[tuple[int, str]] = field(default_factory=list)


def read(path: Path) -> YamlText:
    """Read a file. Raises YamlError for anything but a plain mapping in at most 256 KiB of UTF-8."""
    return parse(read_text(path))


def read_text(path: Path) -> str:
    """The text of a recipe file, unread. Raises YamlError where it is no regular file of UTF-8 and of that size."""
    raw = b""
    try:
        raw = read_bytes(path, RECIPE)
        return raw.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise YamlError("there is no such file") from error
    except IrregularError as error:
        raise YamlError(f"this {error.what}") from error
    except OSError as error:
        raise YamlError(f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise YamlError("the file is not UTF-8 text", raw[: error.start].count(b"\n") + 1) from error


def parse(text: str) -> YamlText:
    """Parse a text. Raises YamlError."""
    try:
        _refuse_references(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"this is not valid YAML: {what}", mark.line + 1 if mark else 0) from error
    except yaml.YAMLError as error:
        raise YamlError(f"this is not valid YAML: {error}") from error
    result = YamlText({}, header=_header(text))
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        return result
    if not isinstance(root, yaml.MappingNode):
        raise YamlError("the file must hold keys and values (key: value)", root.start_mark.line + 1)
    result.data = _plain(root, (), result.lines)
    return result


def dump(data: dict[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back equal; lists of plain values stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _refuse_references(text: str) -> None:
    """Anchors and aliases let a small file unfold into a huge one; no recipe needs them, nor deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YamlError("lists or mappings are nested too deeply", event.start_mark.line + 1)
        if getattr(event, "anchor", None) is not None:
            kind = "aliases (*name)" if isinstance(event, yaml.AliasEvent) else "anchors (&name)"
            raise YamlError(f"YAML {kind} are not used in recipes", event.start_mark.line + 1)


def _plain(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        _refuse_tag(node, "tag:yaml.org,2002:map", line)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _plain(key_node, path, {})
            if not isinstance(key, str) or key == "<<":
                raise YamlError(f"{key!r} cannot be a key: keys are plain names", key_line)
            if key in mapping:
                raise YamlError(f"the key '{key}' is there twice", key_line)
            lines[(*path, key)] = key_line
            mapping[key] = _plain(value_node, (*path, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        _refuse_tag(node, "tag:yaml.org,2002:seq", line)
        items = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            items.append(_plain(item, (*path, index), lines))
        return items
    assert isinstance(node, yaml.ScalarNode)
    if node.tag not in _CONVERT or (node.tag != "tag:yaml.org,2002:str" and node.style):
        raise YamlError(f"YAML tags such as '{node.tag}' are not used in recipes", line)
    try:
        return _CONVERT[node.tag](node.value)
    except ValueError as error:
        raise YamlError(f"'{node.value[:40]}' is not a value that can be read", line) from error


def _refuse_tag(node: yaml.Node, plain: str, line: int) -> None:
    if node.tag != plain:
        raise YamlError(f"YAML tags such as '{node.tag}' are not used in recipes", line)


def _header(text: str) -> list[tuple[int, str]]:
    header = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        if stripped:
            header.append((number, stripped.lstrip("#").strip()))
    return header


def _flow_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    plain = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    breaks = any(character in text for character in "\x85\u2028\u2029")  # line breaks to YAML 1.1, lost unless escaped
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if breaks else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _flow_list)
