"""What a sampler solves, so that it is compared with nothing else: the ODE, the SDE of eta = 1, or neither.

Each method says it of itself, by its class and its options, not by how it does (`Scheduler.equation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ode", "sde", "other"]


@dataclass(frozen=True)
class Equation:
    """ode: the probability-flow ODE, without fresh noise. sde: each row's noise is the posterior's (DDIM's eta = 1).

    `reason` ends the sentence "there is no error figure for it: …" and is empty for the other two.
    """

    kind: Kind
    reason: str = ""


ODE, SDE = Equation("ode"), Equation("sde")


def other(reason: str) -> Equation:
    """Neither, and why."""
    return Equation("other", reason)


INVERTED = other("it runs from a picture to noise")
STUDENT = other("it samples distilled networks, which jump to the picture instead of following an equation")
UNKNOWN = other("what it solves is not known")
