"""What a scheduler makes of a configuration that was another's, or an old file's: which of its values it takes.

Who said a thing decides what becomes of it: what the user sets is followed or refused, what a file says is followed,
dropped for the class's default, or damage. Knows no scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.schedulers.options import OF_THE_NETWORK, SIGMA_FLAGS, Option, OptionProblem, misfit

KARRAS, LU = "use_karras_sigmas", "use_lu_lambdas"
UNDOES = {name: (*(other for other in SIGMA_FLAGS if other != name),) for name in SIGMA_FLAGS}
UNDOES |= {"clip_sample": ("thresholding",)}
UNDOES |= dict.fromkeys(("beta_start", "beta_end", "beta_schedule"), ("trained_betas",))
"""An option, and those that keep it from having its way where they are set."""

LENT = ("solver_type", "variance_type")
"""Options of which a class's own files may carry another class's value, by a change of class in the reference library,
which then takes its default or never reads the value."""


@dataclass(frozen=True)
class Inheritance:
    """What a class makes of a file's values of its own options: those it takes, those it drops, what is wrong."""

    taken: dict[str, Any]
    dropped: dict[str, Any]
    problems: list[OptionProblem]


def inherit(
    options: Mapping[str, Option],
    values: Mapping[str, Any],
    kin: Mapping[str, Sequence[Option]],
    user: Mapping[str, Any],
    *,
    own: bool,
) -> Inheritance:
    """A file's `values` under a class's `options`, beside what the user set (`user`); `own`: the file is this class's.

    A value that means something to another class alone (`kin`: every class's option of that name) is dropped for the
    default, and so is what would undo something the user set. What says how the network was trained is never
    dropped, and what means nothing to any class is damage: both are problems.
    """
    taken, dropped, problems = {}, {}, []
    for name, said in values.items():
        option, value = options[name], _as_meant(options[name], said)
        what = option.problem(value)
        if what is None:
            taken[name] = value
        elif value is None and name not in OF_THE_NETWORK:
            continue  # no value at all: DPM-Solver saves variance_type: null, which DDPM has no meaning for
        elif all(other.problem(value) for other in kin[name]) or (own and name not in LENT):
            problems.append(misfit(option, value, what, file=""))
        elif name in OF_THE_NETWORK:
            problems.append(misfit(option, value, what))
        else:
            dropped[name] = said
    set_by_user = [name for name in UNDOES if not (user.get(name) is None or user[name] is False)]
    undone = {other for name in set_by_user for other in UNDOES[name]}
    flags = [name for name in SIGMA_FLAGS if taken.get(name)]
    if len(flags) == 2 and LU in flags:  # the one pair that a file may have: the reference library takes the first
        undone |= {LU} if flags[0] == KARRAS else set(flags) - {LU}
    dropped |= {name: taken.pop(name) for name in sorted(undone) if taken.get(name)}
    flags = [name for name in flags if name in taken]
    if len(flags) > 1:
        problems.append(OptionProblem(flags[1], f"cannot be true together with {flags[0]}", file=""))
    return Inheritance(taken, dropped, problems)


def _as_meant(option: Option, value: Any) -> Any:
    """A file's value in the option's own type: files write 0, 1 and null for false and true, and 2.0 for 2."""
    if option.annotation is bool and (value is None or (type(value) in (int, float) and value in (0, 1))):
        return bool(value)
    kinds = option.annotation if isinstance(option.annotation, tuple) else (option.annotation,)
    if int in kinds and float not in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def class_in(config: Mapping[str, Any]) -> str | None:
    """The class a configuration says it is of, Flax's names included; None where it says nothing of the kind.

    A pair [module, class], as files of custom code have it, names its class.
    """
    name = config.get("_class_name")
    name = name[-1] if isinstance(name, list | tuple) and name else name
    return name.removeprefix("Flax") if isinstance(name, str) else None
