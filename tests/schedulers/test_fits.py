"""A scheduler knows which networks it samples, and which others could take its place."""

from typing import Any

import pytest

from components.schedulers import find_scheduler, scheduler_classes

KINDS = {
    "EDMEulerScheduler": "edm",
    "EDMDPMSolverMultistepScheduler": "edm",
    "FlowMatchEulerDiscreteScheduler": "flow",
    "FlowMatchHeunDiscreteScheduler": "flow",
    "FlowMatchLCMScheduler": "flow",
    "CMStochasticIterativeScheduler": "consistency",
    "IPNDMScheduler": "v-diffusion",
    "CosineDPMSolverMultistepScheduler": "v-diffusion",
}


@pytest.mark.parametrize("name", scheduler_classes())
def test_kinds(name: str) -> None:
    assert scheduler_classes()[name]().fits == KINDS.get(name, "training clock")


def test_solvers_of_flows_are_those_that_can_be_told_to() -> None:
    scheduler = find_scheduler("unipc")(use_flow_sigmas=True)
    assert scheduler.fits == "flow"
    names = {cls.__name__ for cls in scheduler.compatibles}
    assert names > {"FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler", "SASolverScheduler"}
    assert "EulerDiscreteScheduler" not in names
    assert "IPNDMScheduler" not in {cls.__name__ for cls in find_scheduler("euler")().compatibles}


@pytest.mark.parametrize(
    ("name", "options", "file", "hint"),
    [
        ("flow_euler", {}, {"_class_name": "PNDMScheduler"}, None),
        ("euler", {}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, None),
        ("unipc", {}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "set use_flow_sigmas to true"),
        (
            "unipc",
            {},
            {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True},
            "set use_flow_sigmas to true",
        ),
        ("cm", {}, {"_class_name": "EDMEulerScheduler"}, None),
    ],
)
def test_another_kind_of_network_is_a_mistake(name: str, options: Any, file: Any, hint: str | None) -> None:
    made = find_scheduler(name)(**options)
    problem = made.mismatch(file)
    assert problem is not None and problem.option == "name" and problem.hint == hint
    assert f"is {type(made).__name__}, for networks of the kind" in problem.what
    assert type(made).__name__ not in problem.allowed or hint


def test_the_same_kind_and_the_unknown_are_none() -> None:
    assert find_scheduler("euler")().mismatch({"_class_name": "PNDMScheduler"}) is None
    assert find_scheduler("unipc")(use_flow_sigmas=True).mismatch({"_class_name": "FlowMatchLCMScheduler"}) is None
    assert find_scheduler("euler")().mismatch({"_class_name": "SomeoneElsesScheduler"}) is None
