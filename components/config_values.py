"""What the configurations of all networks have in common: options with types and ranges, checked, as frozen values.

Which options a network has stands in model_config.py. Nothing here reads a file.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType, NoneType, UnionType
from typing import Any, ClassVar, NoReturn, Self, get_args, get_origin, get_type_hints

from components.errors import did_you_mean

logger = logging.getLogger(__name__)

ACTIVATIONS = ("silu", "swish", "mish", "gelu", "relu")
LARGEST = 2**20  # of a whole number: far above any network's, far below what would tie up a machine
FINITE = sys.float_info.max
LEVELS = 16
DEEPEST = 100  # layers or transformer blocks in a row
LISTED = 20  # unknown keys named in a warning
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}


def only(*values: Any) -> Any:
    """A field that exists in the format but for which only `values` are implemented; the first is the default."""
    return field(default=values[0], metadata={"only": values})


def within(default: Any, least: float, most: float = LARGEST) -> Any:
    """A field whose numbers lie in a range of their own; whole numbers are 1 to LARGEST where nothing is said."""
    return field(default=default, metadata={"range": (least, most)})


def class_named(config: Mapping[str, Any]) -> str:
    """The class that a configuration is of, "" where it does not say.

    Of the old Flax classes the name is their twin's; of code that a repository brings ([module, class]) the class's.
    """
    name = config.get("_class_name") or ""
    return str(name[-1] if isinstance(name, list | tuple) else name).removeprefix("Flax")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Mapping[str, Any]):
    """Base of the configurations: attribute and item access, immutable, `dict` in and out.

    A null in a file is a value of its own, kept as it is, and means what the format's own library makes of it: for a
    switch *off*, whatever its default; elsewhere the option says so. Where that library can make nothing of it, the
    option's type has no None and null is refused.

    `extra` keeps what a file holds besides the options (keys with a leading underscore, options of other libraries), so
    that saving a model again loses nothing.

    Raises:
        ValueError: an option has a value that is not implemented, or options contradict each other.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    described: ClassVar[str]
    """The class whose options these are, as files name it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))
        kinds = get_type_hints(type(self))
        for f in fields(self):
            if f.name == "extra":
                continue
            try:
                value = _read(getattr(self, f.name), kinds[f.name])
            except TypeError:
                self.refuse(f.name, f.metadata.get("only") or _in_words(kinds[f.name]))
            object.__setattr__(self, f.name, value)
            allowed = f.metadata.get("only")
            if allowed is not None:
                if value not in allowed:
                    self.refuse(f.name, allowed)
                continue
            least, most = f.metadata.get("range") or _usual_range(kinds[f.name])
            if not all(least <= number <= most for number in _numbers(value)):
                self.refuse(f.name, "finite numbers" if most == FINITE else f"numbers from {least} to {most}")
        self.check()

    def check(self) -> None:
        """Check options against each other. Overridden by the configurations."""

    def refuse(self, name: str, allowed: tuple[Any, ...] | str) -> NoReturn:
        """Raise the error for an option whose value is not supported."""
        expected = allowed if isinstance(allowed, str) else " or ".join(repr(v) for v in allowed)
        value = shown(getattr(self, name))
        raise ValueError(f"{self.described}: {name}={value} is not supported; expected {expected}.")

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls) if f.name != "extra")

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """From keyword arguments. An unknown name is a TypeError that suggests the nearest one."""
        for name in options:
            if name not in cls.option_names():
                hint = did_you_mean(name, cls.option_names()) or f" Options: {', '.join(cls.option_names())}."
                raise TypeError(f"{cls.__name__} has no option {name!r}.{hint}")
        return cls(**options)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """From the content of a `config.json`: unknown keys are kept in `extra`, with one warning that names them.

        Raises ValueError for the configuration of another class.
        """
        if (found := class_named(config) or cls.described) != cls.described:
            raise ValueError(f"The configuration describes a {found}, not a {cls.described}.")
        known = {k: v for k, v in config.items() if k in cls.option_names()}
        extra = {k: v for k, v in config.items() if k not in known}
        unknown = sorted(k for k in extra if not k.startswith("_"))
        if unknown:
            listed = ", ".join(unknown[:LISTED]) + (f" and {len(unknown) - LISTED} more" if unknown[LISTED:] else "")
            logger.warning("%s: ignored unknown configuration keys %s.", cls.described, listed)
        return cls(**known, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Options and extra keys with JSON-ready values (tuples become lists)."""
        options = {name: getattr(self, name) for name in self.option_names()}
        return {k: _plain(v) for k, v in {**self.extra, **options}.items()}

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __getitem__(self, name: str, /) -> Any:
        return getattr(self, name) if name in self.option_names() else self.extra[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.option_names(), *self.extra))

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def check_blocks(self, allowed_down: tuple[str, ...], allowed_up: tuple[str, ...], *per_block: str) -> None:
        """Block types are known ones, as many as there are widths; options given per block have as many entries."""
        levels = len(self["block_out_channels"])
        if not 1 <= levels <= LEVELS:
            self.refuse("block_out_channels", f"1 to {LEVELS} widths")
        for name in ("down_block_types", "up_block_types", *per_block):
            value = self[name]
            if isinstance(value, tuple) and len(value) != levels:
                raise ValueError(
                    f"{self.described}: {name} has {len(value)} entries and block_out_channels {levels}; "
                    f"must provide the same number of each."
                )
        for name, allowed in (("down_block_types", allowed_down), ("up_block_types", allowed_up)):
            for block in self[name]:
                if block not in allowed:
                    raise ValueError(
                        f"{self.described}: {name} has {shown(block)}, which is not supported; "
                        f"expected {' or '.join(allowed)}."
                    )

    def check_activation(self) -> None:
        if str(self["act_fn"]).lower() not in ACTIVATIONS:
            self.refuse("act_fn", ACTIVATIONS)

    def check_nonzero(self, name: str) -> None:
        if self[name] == 0:
            self.refuse(name, "a number other than 0")

    def check_groups(self, *widths: int) -> None:
        for width in widths:
            if width % self["norm_num_groups"]:
                raise ValueError(
                    f"{self.described}: norm_num_groups={self['norm_num_groups']} does not divide "
                    f"a width of {width} channels (block_out_channels={list(self['block_out_channels'])})."
                )


def _read(value: Any, kind: Any) -> Any:
    """A value as an annotated type has it: a list as a tuple, 2.0 as the whole number that it is, 0 and 1 as switches.

    Raises TypeError for a value of another type. Types are int, float, bool, str, None, unions and tuples of them.
    """
    if get_origin(kind) is UnionType:
        for option in get_args(kind):
            try:
                return _read(value, option)
            except TypeError:
                continue
    elif get_origin(kind) is tuple:
        inner = get_args(kind)
        if isinstance(value, tuple | list) and (inner[-1] is Ellipsis or len(value) == len(inner)):
            return tuple(_read(entry, inner[0]) for entry in value)
    elif kind is bool and value in (0, 1) and isinstance(value, bool | int):
        return bool(value)
    elif kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool):
        return value
    raise TypeError


def _in_words(kind: Any) -> str:
    """What values an annotated type has, for a message."""
    if get_origin(kind) is UnionType:
        return " or ".join(map(_in_words, get_args(kind)))
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return f"a list of {'' if inner[-1] is Ellipsis else f'{len(inner)} times '}{_in_words(inner[0])}"
    return WORDS[kind]


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in an option's value."""
    if isinstance(value, tuple):
        for entry in value:
            yield from _numbers(entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _usual_range(kind: Any) -> tuple[float, float]:
    """Whole numbers count something; of the others it is only asked that they are finite."""
    return (-FINITE, FINITE) if float in _leaves(kind) else (1, LARGEST)


def _leaves(kind: Any) -> tuple[Any, ...]:
    """The types that an annotated type is put together from."""
    return tuple(leaf for inner in get_args(kind) for leaf in _leaves(inner)) or (kind,)


def shown(value: Any) -> str:
    """A value as a message shows it: cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value
