"""What steers a network: arrays by the names that the network has for them, and what is done to their rows.

Arrays are a backend's own, or numpy's. Nothing here knows a network: which names there are is the family's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = Any
Named = Mapping[str, Array]
Join = Callable[[Sequence[Array], int], Array]
"""(arrays, an axis) → one array: one behind the other along that axis, as `Backend.join`."""


@dataclass(frozen=True)
class Conditions:
    """Arrays with one row, repeated over the batch, or with a row for each image of it.

    `positive` empty: the network knows no prompt. `negative` None: no guidance; a name that it lacks is the same
    without the prompt as with it.
    """

    positive: Named = field(default_factory=dict)
    negative: Named | None = None

    def calls(self, twice: bool) -> dict[str, list[Array]]:
        """Name → what each call of the network is given: first that without the prompt, where there are two."""
        absent = self.negative or {}
        return {name: [absent.get(name, array), array] if twice else [array] for name, array in self.positive.items()}

    def replaced(self, positive: Named, negative: Named) -> Conditions:
        """With other arrays of these names."""
        return Conditions({**self.positive, **positive}, {**(self.negative or {}), **negative} or self.negative)

    def repeat(self, count: int) -> Conditions:
        """Each row `count` times, side by side; always a copy."""

        def repeated(half: Any) -> Any:
            return half and {name: array[np.repeat(np.arange(len(array)), count)] for name, array in half.items()}

        return Conditions(repeated(self.positive), repeated(self.negative))


def join(given: Sequence[Conditions], arrays: Join) -> Conditions:
    """The rows of several requests, one behind the other; one that all of them share is left as it is."""
    first = given[0]
    if all(one is first for one in given):
        return first

    def joined(halves: Sequence[Any]) -> Any:
        return halves[0] and {name: arrays([half[name] for half in halves], 0) for name in halves[0]}

    return Conditions(joined([one.positive for one in given]), joined([one.negative for one in given]))


def pad(given: Sequence[Conditions], name: str, mask: str, arrays: Join, multiple: int = 1) -> list[Conditions]:
    """Arrays (B, L, …) of this name and differing L brought to the longest L, or the next multiple, with zeros.

    Each half has its mask (B, L), True for what was there, under the name `mask`.
    """
    halves = [half for one in given for half in (one.positive, one.negative) if half is not None]
    length = -(-max(half[name].shape[1] for half in halves) // multiple) * multiple

    def padded(half: Named | None) -> Any:
        if half is None:
            return None
        array = half[name]
        rows, own = array.shape[:2]
        if own < length:
            array = arrays([array, array[:, np.zeros(length - own, int)] * 0], 1)
        return {**half, name: array, mask: np.repeat(np.arange(length)[None] < own, rows, axis=0)}

    return [Conditions(padded(one.positive), padded(one.negative)) for one in given]
