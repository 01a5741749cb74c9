"""Every scheduler of the family is known to solve something or nothing, and its table agrees."""

from __future__ import annotations

from typing import Any

import pytest

from components.schedulers import scheduler_classes
from components.schedulers.base import Scheduler
from components.schedulers.brownian import SHARED

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
WHOLE = {"start": 0, "end": 1000, "value": 1.0}

EXPECTED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("CMStochasticIterativeScheduler", {}, "other"),
    ("CosineDPMSolverMultistepScheduler", {}, "sde"),
    ("DDIMInverseScheduler", {}, "other"),
    ("DDIMParallelScheduler", {}, "ode"),
    ("DDIMParallelScheduler", {"eta": 1.0}, "sde"),
    ("DDIMScheduler", {}, "ode"),
    ("DDIMScheduler", {"eta": 0.5}, "other"),
    ("DDIMScheduler", {"eta": 1.0}, "sde"),
    ("DDPMParallelScheduler", {}, "sde"),
    ("DDPMScheduler", {}, "sde"),
    ("DDPMScheduler", {"variance_type": "fixed_large"}, "other"),
    ("DDPMScheduler", {"variance_type": "learned_range"}, "other"),
    ("DEISMultistepScheduler", {}, "ode"),
    ("DPMSolverMultistepInverseScheduler", {}, "other"),
    ("DPMSolverMultistepScheduler", {}, "ode"),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, "ode"),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "sde"),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}, "other"),
    ("DPMSolverSDEScheduler", {}, "sde"),
    ("DPMSolverSDEScheduler", {"s_noise": 1.1}, "other"),
    ("DPMSolverSinglestepScheduler", {}, "ode"),
    ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "sde"),
    ("EDMDPMSolverMultistepScheduler", {}, "ode"),
    ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "sde"),
    ("EDMEulerScheduler", {}, "ode"),
    ("EDMEulerScheduler", {"s_churn": 5.0}, "other"),
    ("EulerAncestralDiscreteScheduler", {}, "sde"),
    ("EulerDiscreteScheduler", {}, "ode"),
    ("EulerDiscreteScheduler", {"s_churn": 5.0}, "other"),
    ("FlowMatchEulerDiscreteScheduler", {}, "ode"),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, "other"),
    ("FlowMatchHeunDiscreteScheduler", {}, "ode"),
    ("FlowMatchLCMScheduler", {}, "other"),
    ("HeunDiscreteScheduler", {}, "ode"),
    ("IPNDMScheduler", {}, "ode"),
    ("KDPM2AncestralDiscreteScheduler", {}, "sde"),
    ("KDPM2DiscreteScheduler", {}, "ode"),
    ("LCMScheduler", {}, "other"),
    ("LMSDiscreteScheduler", {}, "ode"),
    ("PNDMScheduler", {}, "ode"),
    ("SASolverScheduler", {}, "other"),
    ("SASolverScheduler", {"tau": {**WHOLE, "value": 0.0}}, "ode"),
    ("SASolverScheduler", {"tau": WHOLE}, "sde"),
    ("SASolverScheduler", {"tau": WHOLE, "algorithm_type": "noise_prediction"}, "other"),
    ("TCDScheduler", {}, "other"),
    ("TCDScheduler", {"eta": 0.0}, "other"),
    ("UnCLIPScheduler", {}, "sde"),
    ("UniPCMultistepScheduler", {}, "ode"),
)


def make(name: str, options: dict[str, Any]) -> Any:
    cls = scheduler_classes()[name]
    betas = {} if name == "UnCLIPScheduler" else {key: value for key, value in BETAS.items() if key in cls.options()}
    return cls(**betas, **options)


def test_every_scheduler_is_listed() -> None:
    assert {name for name, _, _ in EXPECTED} == set(scheduler_classes())


@pytest.mark.parametrize(("name", "options", "kind"), EXPECTED)
def test_what_a_scheduler_solves(name: str, options: dict[str, Any], kind: str) -> None:
    found = make(name, options).equation
    assert found.kind == kind
    assert bool(found.reason) == (kind == "other"), "who gets no figure is told why"


@pytest.mark.parametrize(("name", "options", "kind"), [case for case in EXPECTED if case[2] != "other"])
def test_the_table_agrees(name: str, options: dict[str, Any], kind: str) -> None:
    """An ODE's draws nothing; an SDE's draws what the posterior draws, which the shared path proves row by row."""
    scheduler = make(name, options)
    table = scheduler.tableau(10, run=scheduler.with_run(shared_path=True))
    assert table.takes_noise.any() == (kind == "sde")
    assert (table.brownian == SHARED) == (kind == "sde")


def test_a_method_that_does_not_say_gets_no_figure() -> None:
    class Unheard(Scheduler):
        """Says nothing of itself."""

    assert Unheard().equation.kind == "other"
