"""References are the solutions: from each sampler's own start to its own end, in each parameterisation and clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.schedulers import Tableau, scheduler_classes
from components.schedulers.brownian import SharedPath
from runner.sweep.compare.reference_tables import ode_reference, reference_key, sde_reference, start_of

SPREAD = 0.7
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NETWORKS: dict[str, Any] = {
    "CosineDPMSolverMultistepScheduler": "edm_v",
    "EDMDPMSolverMultistepScheduler": "edm",
    "EDMEulerScheduler": "edm",
    "FlowMatchEulerDiscreteScheduler": "flow_prediction",
    "FlowMatchHeunDiscreteScheduler": "flow_prediction",
    "IPNDMScheduler": "v_prediction",
}
"""What the network of a class answers, where that is not what its prediction_type says."""


def make(name: str, **options: Any) -> Any:
    cls = scheduler_classes()[name]
    betas = {} if name == "UnCLIPScheduler" else {key: value for key, value in SD.items() if key in cls.options()}
    return cls(**betas, **options)


def solvers(kind: str) -> list[str]:
    return [name for name in scheduler_classes() if make(name).equation.kind == kind]


def run(table: Tableau, scheduler: Any, first: Any = 1.0, draws: Any = None) -> Any:
    """x after the last row from a first draw, for the exact denoiser of N(0, SPREAD²), in float64."""
    answer = NETWORKS.get(type(scheduler).__name__) or scheduler.prediction_type
    zero = np.zeros_like(first)
    state = [table.init_noise_sigma * first, *[zero] * (table.registers - 1)]
    for n in range(table.rows):
        (alpha, sigma), x, scale = table.read[n], state[0], table.input_scale[n]
        x0 = alpha * SPREAD**2 * x / ((alpha * SPREAD) ** 2 + sigma**2)
        eps = (x - alpha * x0) / sigma
        if answer in ("edm", "edm_v"):
            data = scheduler.sigma_data
            output = (x0 - (data * scale) ** 2 * x) / (sigma * data * scale) * (1 if answer == "edm" else -1)
        else:
            a, s = scale * alpha, scale * sigma
            output = {"epsilon": eps, "sample": x0, "v_prediction": a * eps - s * x0, "flow_prediction": eps - x0}[
                answer
            ]
        noise = draws(n) if table.takes_noise[n] else zero
        state = list(np.tensordot(table.update[n], np.stack([*state, output, zero + x0, noise]), 1))
    return state[0]


def deviation(level: Any) -> float:
    return float(np.hypot(level[0] * SPREAD, level[1]))


def solution(table: Tableau, lowest: Any) -> float:
    """Exactly, from the sampler's first x: x / deviation kept to the lowest level, then one straight step in z."""
    alpha, sigma = lowest
    x = float(table.init_noise_sigma) / deviation(table.read[0]) * deviation(lowest)
    x0 = alpha * SPREAD**2 * x / deviation(lowest) ** 2
    eps = (x - alpha * x0) / sigma
    return float(table.land[-1] @ [x0, eps])


@pytest.mark.parametrize("name", solvers("ode"))
def test_the_ode_is_solved_from_each_samplers_start_to_its_end(name: str) -> None:
    """Better than the second order of its first step: eight times the steps, at least thirty times the accuracy."""
    scheduler = make(name)
    table = scheduler.tableau(7)
    errors = {}
    for steps in (100, 800):
        reference = ode_reference(scheduler, table, steps)
        errors[steps] = abs(run(reference, scheduler) / solution(table, reference.read[-1]) - 1)
    assert errors[800] < 2e-7
    assert errors[100] / errors[800] > 30
    assert reference.read[0] == pytest.approx(table.read[0], rel=1e-12)
    assert reference.land[-1] == pytest.approx(table.land[-1], rel=1e-12)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("config", [{}, {"timestep_spacing": "trailing"}, {"use_karras_sigmas": True}])
def test_it_does_not_matter_what_the_network_predicts(prediction_type: str, config: dict[str, Any]) -> None:
    scheduler = make("DPMSolverMultistepScheduler", prediction_type=prediction_type, **config)
    table = scheduler.tableau(10)
    reference = ode_reference(scheduler, table, 300)
    assert run(reference, scheduler) == pytest.approx(solution(table, reference.read[-1]), rel=5e-5)


@pytest.mark.parametrize(
    ("name", "config", "lowest", "end"),
    [
        ("DDIMScheduler", {}, 0.02916717, 0.0),
        ("DDIMScheduler", {"set_alpha_to_one": False}, 0.02916717, 0.02916717),
        ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}, 0.02916717, 0.02916717),
        ("EDMEulerScheduler", {}, 0.002, 0.0),
        ("EDMEulerScheduler", {"sigma_min": 0.02}, 0.02, 0.0),
    ],
)
def test_the_equation_is_followed_as_far_as_the_network_was_trained(name, config, lowest, end) -> None:
    scheduler = make(name, **config)
    reference = ode_reference(scheduler, scheduler.tableau(10), 20)
    assert reference.read[-1, 1] / reference.read[-1, 0] == pytest.approx(lowest, rel=1e-5)
    assert reference.land[-1, 1] / reference.land[-1, 0] == pytest.approx(end, rel=1e-5)


def test_a_listed_end_between_is_reached_on_the_straight_line() -> None:
    scheduler = make("EulerDiscreteScheduler")
    table = scheduler.tableau(10, final_sigma=0.01)
    reference = ode_reference(scheduler, table, 400)
    assert reference.land[-1, 1] == pytest.approx(0.01)
    assert run(reference, scheduler) == pytest.approx(solution(table, reference.read[-1]), rel=2e-5)


def test_samplers_that_stop_early_are_not_compared_beyond() -> None:
    scheduler = make("EulerDiscreteScheduler")
    table = scheduler.tableau(sigmas=[10.0, 5.0, 2.0, 0.5])
    reference = ode_reference(scheduler, table, 400)
    assert reference.read[-1, 1] == pytest.approx(0.5)
    assert run(reference, scheduler) == pytest.approx(solution(table, reference.read[-1]), rel=2e-5)


def test_the_network_is_told_fractional_times_also_by_who_rounds_them() -> None:
    rounding, fractional = (make(name) for name in ("DPMSolverMultistepScheduler", "EulerDiscreteScheduler"))
    told, wanted = (ode_reference(s, s.tableau(10), 20).timestep for s in (rounding, fractional))
    assert told == pytest.approx(wanted)
    assert (told != np.round(told)).any()


def test_one_course_has_one_key_whatever_the_scale() -> None:
    """Euler's x is x0 + sigma eps, DPM-Solver's alpha x0 + sigma eps. 'leading' adds the data's spread."""
    config = {"timestep_spacing": "leading"}
    ddim, euler, dpm = (
        make(name, **config) for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
    )
    keys = [reference_key(ode_reference(s, s.tableau(12), 20)) for s in (ddim, euler, dpm)]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2], "DPM-Solver leaves out the last of 13 points, so it begins at another level"


def test_who_takes_x_for_pure_noise_starts_elsewhere() -> None:
    """With 'linspace' both begin at the last timestep, one with the spread of data and noise, one with the noise's."""
    dpm, euler = make("DPMSolverMultistepScheduler"), make("EulerDiscreteScheduler")
    (tau, both), (same, noise) = (start_of(s.tableau(10)) for s in (dpm, euler))
    ratio = tau / (1 - tau)
    assert tau == pytest.approx(same)
    assert both / noise == pytest.approx(np.hypot(1, ratio) / ratio)
    assert reference_key(ode_reference(dpm, dpm.tableau(10), 20)) != reference_key(
        ode_reference(euler, euler.tableau(10), 20)
    )


@pytest.mark.parametrize("name", solvers("sde"))
def test_the_sde_is_solved_on_the_images_path(name: str) -> None:
    """Of strong order 1, over 40 paths at once: against many more steps, four times the steps err four times less."""
    scheduler = make(name)
    table = scheduler.tableau(10, run=scheduler.with_run(shared_path=True))
    found = {}
    for steps in (30, 120, 960):
        reference, path = sde_reference(scheduler, table, steps), SharedPath(0, (40,))
        found[steps] = run(reference, scheduler, np.ones(40), lambda n, r=reference, p=path: p.unit(r.noise_span[n]))
    few, many = (np.abs(found[steps] - found[960]).mean() for steps in (30, 120))
    assert many < 0.1 * SPREAD
    assert few / many == pytest.approx(4.4, rel=0.35), "the longest run is itself an eighth as far as that of 120 steps"
    assert np.std(found[960]) == pytest.approx(SPREAD, rel=0.5)
