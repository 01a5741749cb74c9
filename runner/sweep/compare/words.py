"""What a comparison's numbers mean and what they do not, in sentences for the report and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.schedulers.equation import Kind
from runner.schema import Compare
from runner.sweep.compare.references import SDE_STEPS
from runner.sweep.compare.series import Curve

MEANS: Mapping[Kind, str] = {
    "ode": (
        "Error of ODE samplers: |x − reference| / |reference| of the final latents, the median over prompts and seeds. "
        "The reference is the probability-flow ODE of the same network, prompt and guidance, solved with many steps "
        "from the same initial noise, from the level and amplitude at which the sampler itself starts to where it ends."
    ),
    "sde": (
        "Error of SDE samplers (eta 1): the same distance from a many-step run of the SDE on the image's own Brownian "
        "path, which all of them share. They are compared among themselves: their error is not that of the ODE, whose "
        "samplers draw no noise. A path can lie near a fork, where another number of steps leads to another picture: "
        "few images make a jagged curve."
    ),
}
MEANS_NOT = (
    "It says how well a sampler solves its equation, not how good a picture is: a sampler far from the reference may "
    "draw an equally good, different picture, and a network's own faults are in the reference as well."
)


def notes(
    curves: Sequence[Curve],
    settings: Compare,
    floors: Mapping[Kind, tuple[float, float]],
    left_out: Mapping[str, str],
    remarks: Sequence[str],
) -> list[str]:
    """The sentences, what is meant before what was found. floors: kind → (median, largest); left_out: who → why."""
    said: list[str] = []
    for kind, (median, largest) in floors.items():
        steps = settings.reference_steps * (SDE_STEPS if kind == "sde" else 1)
        said.append(MEANS[kind])
        said.append(
            f"Floor ({kind.upper()}): references of {steps} and {2 * steps} steps agree within {median:.1e} (median; "
            f"at worst {largest:.1e}). Errors near it say nothing."
        )
    if floors:
        said.append(MEANS_NOT)
    said += [found for kind in floors for found in _found(curves, kind, settings)]
    said += [f"No error figure for {who}: {why}." for who, why in left_out.items()]
    return [*said, *remarks]


def _found(curves: Sequence[Curve], kind: Kind, settings: Compare) -> list[str]:
    """For each setting and error: who needs the fewest evaluations."""
    said = []
    for setting in dict.fromkeys(curve.setting for curve in curves):
        mine = [curve for curve in curves if (curve.kind, curve.setting) == (kind, setting) and curve.needs]
        for error in settings.below if mine else ():
            reached = [(curve.needs[error].nfe or 0.0, curve) for curve in mine if _reached(curve, error)]
            best = sorted(reached, key=lambda pair: pair[0])[:3]
            unknown = all(curve.needs[error].sure == "unknown" for curve in mine)
            none = "cannot be told, as the references' floor is higher" if unknown else "reached by none"
            names = "; ".join(f"{curve.name}: {curve.needs[error]}" for _, curve in best) or none
            missed = len(mine) - len(reached)
            rest = f" ({missed} of {len(mine)} curves do not get there)" if best and missed else ""
            where = f", {setting}" if setting else ""
            said.append(f"Evaluations for an error below {error:g} ({kind.upper()}{where}): {names}{rest}.")
    return said


def _reached(curve: Curve, error: float) -> bool:
    return curve.needs[error].sure in ("about", "at most")
