"""Every deterministic solver of `wider` converges at its declared order, within 0.1: the set-up of test_order."""

import numpy as np
import pytest
from exact import Answer
from family import SD, Config
from test_order import drift
from wider import FLOW, edm

from components.schedulers import find_scheduler

DPM: Config = {"lower_order_final": False, "final_sigmas_type": "sigma_min"}
NOT_LOWERED: Config = {"lower_order_final": False}
ODE: Config = SD | NOT_LOWERED | {"tau": {"start": 0, "end": 0, "value": 0.0}}
CORRECTED: Config = {"solver_order": 3, "corrected_third_order": True}
NOISE: Config = {"algorithm_type": "noise_prediction"}


def pair(predictor: int, corrector: int) -> Config:
    return ODE | {"predictor_order": predictor, "corrector_order": corrector}


ORDERS: tuple[tuple[str, Config, Answer, float], ...] = (
    *(("SASolverScheduler", pair(n, 0) | kind, "epsilon", n) for n in (1, 2, 3, 4) for kind in ({}, NOISE)),
    *(("SASolverScheduler", pair(n - 1, n) | kind, "epsilon", n) for n in (2, 3, 4) for kind in ({}, NOISE)),
    ("SASolverScheduler", pair(1, 1), "epsilon", 1),
    ("SASolverScheduler", pair(2, 2), "epsilon", 2),
    ("EDMEulerScheduler", {}, edm(0.5), 1),
    ("EDMDPMSolverMultistepScheduler", DPM | {"solver_order": 1}, edm(0.5), 1),
    ("EDMDPMSolverMultistepScheduler", DPM, edm(0.5), 2),
    ("EDMDPMSolverMultistepScheduler", DPM | {"solver_type": "heun"}, edm(0.5), 2),
    ("EDMDPMSolverMultistepScheduler", DPM | {"solver_order": 3}, edm(0.5), 2),  # as published
    ("EDMDPMSolverMultistepScheduler", DPM | CORRECTED, edm(0.5), 3),
    ("DDIMInverseScheduler", SD | {"clip_sample": False}, "epsilon", 1),
    ("DPMSolverMultistepInverseScheduler", SD | NOT_LOWERED | {"solver_order": 1}, "epsilon", 1),
    ("DPMSolverMultistepInverseScheduler", SD | NOT_LOWERED, "epsilon", 2),
    ("DPMSolverMultistepInverseScheduler", SD | NOT_LOWERED | {"solver_order": 3}, "epsilon", 2),
    ("DPMSolverMultistepInverseScheduler", SD | NOT_LOWERED | CORRECTED, "epsilon", 3),
    ("TCDScheduler", {"eta": 0.0}, "epsilon", 1),
    ("IPNDMScheduler", {}, "v_prediction", 2),  # of order 4 in an autonomous clock, as PNDM
    ("FlowMatchEulerDiscreteScheduler", {}, "flow_prediction", 1),
    ("FlowMatchHeunDiscreteScheduler", {}, "flow_prediction", 2),
    ("DPMSolverMultistepScheduler", FLOW | DPM, "flow_prediction", 2),
    ("DPMSolverMultistepScheduler", FLOW | DPM | CORRECTED, "flow_prediction", 3),
    ("DPMSolverSinglestepScheduler", FLOW | DPM, "flow_prediction", 2),
    ("DEISMultistepScheduler", FLOW | NOT_LOWERED, "flow_prediction", 2),
    ("DEISMultistepScheduler", FLOW | NOT_LOWERED | {"solver_order": 3}, "flow_prediction", 3),
    ("UniPCMultistepScheduler", FLOW | DPM, "flow_prediction", 3),
)


@pytest.mark.parametrize(("name", "config", "answer", "order"), ORDERS)
def test_order(name: str, config: Config, answer: Answer, order: float) -> None:
    """On even steps of lambda: the levels of a flow are sigma / (1 + sigma) of the others'."""
    scheduler = find_scheduler(name)(**config)

    def error(steps: int) -> float:
        sigmas = np.geomspace(3.0, 0.1, steps + 1)
        sigmas = sigmas / (1 + sigmas) if scheduler.fits == "flow" else sigmas
        sigmas = sigmas[::-1] if scheduler.ascending else sigmas
        return drift(scheduler.tableau(sigmas=sigmas.tolist()), answer)

    assert np.log2(error(768) / error(1536)) == pytest.approx(order, abs=0.1)
    assert scheduler.convergence == order
