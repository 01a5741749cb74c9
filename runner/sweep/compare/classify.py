"""What a scheduler solves, so that it is compared with nothing else: the ODE, the SDE of eta = 1, or neither.

Decided by what it is, its class and its options, not by how it does. A class that is not named here solves nothing
that is known of, and gets no figure; a test asks for every class of the family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from components import schedulers as family

Kind = Literal["ode", "sde", "other"]


@dataclass(frozen=True)
class Classification:
    """ode: the probability-flow ODE, without fresh noise. sde: each row's noise is the posterior's (DDIM's eta = 1).

    `reason` ends the sentence "there is no error figure for it: …" and is empty for the other two.
    """

    kind: Kind
    reason: str = ""


ODE, SDE = Classification("ode"), Classification("sde")


def _other(reason: str) -> Classification:
    return Classification("other", reason)


def classify(scheduler: Any) -> Classification:
    """What this scheduler, with its options and those of its run, solves."""
    if scheduler.ascending:
        return _other("it runs from a picture to noise")
    for name, rule in RULES.items():
        if isinstance(scheduler, getattr(family, name)):
            return rule(scheduler)
    return _other(f"what {type(scheduler).__name__} solves is not known")


def _student(scheduler: Any) -> Classification:
    return _other("it samples distilled networks, which jump to the picture instead of following an equation")


def _ddpm(scheduler: Any) -> Classification:
    small = scheduler.variance_type.startswith("fixed_small")
    return SDE if small else _other(f"its noise has the variance '{scheduler.variance_type}', not the SDE's")


def _ddim(scheduler: Any) -> Classification:
    eta = scheduler.run.eta
    return {0.0: ODE, 1.0: SDE}.get(float(eta), _other(f"eta is {eta:g}: neither the ODE (0) nor the SDE (1)"))


def _churn(scheduler: Any) -> Classification:
    return ODE if scheduler.run.s_churn == 0 else _other("churn adds noise of its own to the ODE")


def _brownian(scheduler: Any) -> Classification:
    return SDE if scheduler.run.s_noise == 1 else _other("s_noise scales the SDE's noise")


def _sa(scheduler: Any) -> Classification:
    tau = scheduler.tau
    if tau["value"] == 0:
        return ODE
    whole = tau["start"] <= 0 and tau["end"] >= scheduler.num_train_timesteps - 1
    if tau["value"] == 1 and whole and scheduler.algorithm_type == "data_prediction":
        return SDE
    return _other("tau mixes the ODE and the SDE, or it takes the noise through eps")


def _flow_euler(scheduler: Any) -> Classification:
    return _other("it noises its estimate anew at every step") if scheduler.stochastic_sampling else ODE


def _exponential(scheduler: Any) -> Classification:
    form = scheduler.integrator
    if not form.sde:
        return ODE
    return SDE if form.x0 else _other("its eps form draws noise that no shared path fits exactly")


def _ode(scheduler: Any) -> Classification:
    return ODE


def _sde(scheduler: Any) -> Classification:
    return SDE


RULES: dict[str, Callable[[Any], Classification]] = {
    "LCMScheduler": _student,  # and TCD
    "FlowMatchLCMScheduler": _student,
    "CMStochasticIterativeScheduler": _student,
    "DDPMScheduler": _ddpm,  # and UnCLIP
    "DDIMScheduler": _ddim,
    "EulerAncestralDiscreteScheduler": _sde,
    "KDPM2AncestralDiscreteScheduler": _sde,
    "DPMSolverSDEScheduler": _brownian,
    "SASolverScheduler": _sa,
    "DPMSolverMultistepScheduler": _exponential,  # and singlestep, DEIS, UniPC, EDM's, cosine's
    "FlowMatchEulerDiscreteScheduler": _flow_euler,
    "EulerDiscreteScheduler": _churn,  # and EDM's
    "HeunDiscreteScheduler": _ode,
    "KDPM2DiscreteScheduler": _ode,
    "LMSDiscreteScheduler": _ode,
    "PNDMScheduler": _ode,
    "IPNDMScheduler": _ode,
    "FlowMatchHeunDiscreteScheduler": _ode,
}
"""Class → rule. The first that fits a scheduler holds, so descendants with a rule of their own come first."""
