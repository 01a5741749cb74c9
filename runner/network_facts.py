"""What a recipe says that a checkpoint's network is, over what the checkpoint's files say of it or leave out.

It holds for every scheduler on a training clock, whichever is chosen. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from runner.schema import NETWORK_FACTS, Prediction

if TYPE_CHECKING:
    from components.schedulers.base import Scheduler

TRAINING_CLOCK = "training clock"


@dataclass(frozen=True)
class Misstated:
    """A fact that does not go with the scheduler: its key under `checkpoint`; `other`: the option it contradicts."""

    key: str
    what: str
    other: str | None = None


def stated(checkpoint: Any) -> dict[str, Any]:
    """The facts a recipe's checkpoint states, as the scheduler options they stand for."""
    found = {option: checkpoint.get(key) for key, option in NETWORK_FACTS.items()} if checkpoint else {}
    return {
        option: value for option, value in found.items() if isinstance(value, bool) or value in get_args(Prediction)
    }


def misstated(kind: str, cls: type[Scheduler], checkpoint: Any, options: Mapping[str, Any]) -> Iterator[Misstated]:
    """What of the facts does not go with a scheduler for this `kind` of network, and these options of the user's."""
    facts = stated(checkpoint)
    for key, option in NETWORK_FACTS.items():
        if option not in facts:
            continue
        value = facts[option]
        if kind != TRAINING_CLOCK:
            yield Misstated(
                key, f"is of networks on a clock of betas, but {cls.__name__} samples those of the kind '{kind}'"
            )
        elif option not in cls.options() and value:
            yield Misstated(key, f"cannot be honoured by {cls.__name__}, which has betas of its own")
        elif options.get(option, value) != value:
            yield Misstated(key, f"is {_said(value)}, but scheduler.{option} is {_said(options[option])}", option)


def remarks(checkpoint: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on every fact that a recipe states, and on what the scheduler's file, `config`, says instead."""
    facts = stated(checkpoint)
    for key, option in NETWORK_FACTS.items():
        if option in facts:
            said = f"say {_said(config[option])}" if option in config else "do not say"
            yield f"checkpoint.{key} is {_said(facts[option])}, by the recipe; the checkpoint's files {said}."


def _said(value: Any) -> str:
    from components.schedulers.options import as_yaml

    return as_yaml(value)
