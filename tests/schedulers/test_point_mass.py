"""For data of one point c every run ends at c, at every number of steps: the mean is alpha c, the variance sigma^2.

Propagated by `exact`, which knows nothing of a table's own proof: the network is the exact denoiser of {c} at the level
where a row reads, and x is followed as a vector over c, the initial noise and every draw.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from exact import ends_on_a_point
from family import FAMILY, SD, Config, Member
from reference_loop import SHAPE, run_table

from components.schedulers import Tableau

STEPS = (1, 2, 3, 5, 9, 10, 27, 50, 1000)
LISTED_TIMESTEPS = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
LISTED_SIGMAS = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
members = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)


def configurations(member: Member) -> list[Config]:
    """Every configuration of the family but the switches that other tests vary; those a point says nothing of, not."""
    return [c for c in member.configs() if not member.cls(**c).tableau(2).unchecked]


def assert_ends_on_the_point(table: Tableau, prediction_type: str) -> None:
    mean, variance = ends_on_a_point(table, prediction_type)
    alpha, sigma = table.land[-1]
    assert mean == pytest.approx(alpha, abs=1e-8)
    if np.isnan(table.declared).all():
        assert variance == pytest.approx(sigma**2, abs=1e-8)
    else:
        assert 0 <= variance < np.inf  # by design another closed form: see the tests of those below


@members
def test_every_configuration_at_ten_steps(member: Member) -> None:
    for config in configurations(member):
        scheduler = member.cls(**config)
        assert_ends_on_the_point(scheduler.tableau(10), scheduler.prediction_type)


@members
def test_every_number_of_steps(member: Member) -> None:
    for spacing, steps in itertools.product(member.spacings(), STEPS):
        scheduler = member.cls(**SD, **spacing)
        table = scheduler.tableau(steps)
        assert table.steps == steps
        assert_ends_on_the_point(table, scheduler.prediction_type)


@members
@pytest.mark.parametrize("spacing", ["karras", "exponential", "beta", "lu"])
def test_sigma_spacings_for_every_scheduler(member: Member, spacing: str) -> None:
    """Also where the configuration has no flag for it: the schedule is a part of its own."""
    scheduler = member.cls(**SD)
    for steps in STEPS[:-1]:
        table = scheduler.tableau(steps, spacing=spacing)
        assert table.steps == steps
        assert_ends_on_the_point(table, scheduler.prediction_type)


@members
@pytest.mark.parametrize(
    "schedule",
    [
        {"timesteps": LISTED_TIMESTEPS},
        {"timesteps": [999.5 - 100.25 * i for i in range(1, 9)]},
        {"timesteps": [500]},
        {"sigmas": LISTED_SIGMAS},
        {"sigmas": LISTED_SIGMAS, "final_sigma": "zero"},
        {"sigmas": [3.0, 0.1]},
        {"timesteps": LISTED_TIMESTEPS, "steps": 7},
        {"sigmas": LISTED_SIGMAS, "steps": 33},
    ],
    ids=lambda schedule: ",".join(f"{k}={len(v) if isinstance(v, list) else v}" for k, v in schedule.items()),
)
def test_listed_schedules(member: Member, schedule: dict[str, Any]) -> None:
    scheduler = member.cls(**SD)
    table = scheduler.tableau(**schedule)
    listed = schedule.get("timesteps") or schedule["sigmas"][:-1]
    assert table.steps == schedule.get("steps", len(listed))
    assert_ends_on_the_point(table, scheduler.prediction_type)


@members
def test_the_loop_itself_ends_on_the_point(member: Member) -> None:
    """The loop in numbers, with a network that answers for c = 0.7; x starts as in a pipeline, knowing nothing of c."""
    scheduler = member.cls(**SD)
    table = scheduler.tableau(50, final_sigma="zero")
    reads = {
        float(t): (s * a, s * g) for t, s, (a, g) in zip(table.timestep, table.input_scale, table.read, strict=True)
    }

    def knows(x: Any, timestep: float) -> Any:
        alpha, sigma = reads[timestep]
        return (x - 0.7 * alpha) / sigma

    x = run_table(table, knows)
    assert x.shape == SHAPE
    assert float((x - 0.7).abs().max()) < 1e-9


# ---- variances that are not sigma^2, by design: the closed forms of the papers -------------------------------------


def test_ddpm_with_large_variance_keeps_beta() -> None:
    """Ho et al. 2020, section 3.2: v' = (posterior's weight of x)^2 v + beta, row by row; the last row adds none."""
    scheduler = next(m for m in FAMILY if m.name == "DDPMScheduler").cls(**SD, variance_type="fixed_large")
    table = scheduler.tableau(10, final_sigma="sigma_min")
    variance = table.read[0, 1] ** 2
    for (alpha, sigma), (alpha_to, sigma_to), noisy in zip(table.read, table.land, table.takes_noise, strict=True):
        beta = 1 - (alpha / alpha_to) ** 2
        weight = alpha / alpha_to * (sigma_to / sigma) ** 2
        variance = weight**2 * variance + beta * noisy
    mean, got = ends_on_a_point(table)
    assert mean == pytest.approx(table.land[-1, 0], abs=1e-12)
    assert got == pytest.approx(variance, rel=1e-12)
    assert got > 2 * table.land[-1, 1] ** 2  # larger than the marginal's: not a rounding matter


def test_first_order_sde_of_eps_inflates_the_variance() -> None:
    """v' / sigma'^2 = (2 - e^h)^2 v / sigma^2 + e^2h - 1, by Ito's isometry on the SDE with eps frozen."""
    config = {"algorithm_type": "sde-dpmsolver", "solver_order": 1, "final_sigmas_type": "sigma_min"}
    table = next(m for m in FAMILY if m.name == "DPMSolverMultistepScheduler").cls(**SD, **config).tableau(10)
    relative = 1.0
    for (alpha, sigma), (alpha_to, sigma_to) in zip(table.read, table.land, strict=True):
        rise = alpha_to / sigma_to * sigma / alpha  # e^h
        relative = (2 - rise) ** 2 * relative + rise**2 - 1
    mean, got = ends_on_a_point(table)
    assert mean == pytest.approx(table.land[-1, 0], abs=1e-9)
    assert got == pytest.approx(relative * table.land[-1, 1] ** 2, rel=1e-9)


def test_churn_that_the_network_does_not_see() -> None:
    """x^ = x + noise of variance s^2 - sigma^2 (s the raised sigma), then a step along the eps of x before it."""
    scheduler = next(m for m in FAMILY if m.name == "EulerDiscreteScheduler").cls(**SD, s_churn=4.0)
    table = scheduler.tableau(10, final_sigma="sigma_min")
    variance = table.read[0, 1] ** 2
    for (_, sigma), (_, to) in zip(table.read, table.land, strict=True):
        raised = sigma * (1 + min(4.0 / 10, 2**0.5 - 1))
        variance = ((sigma + to - raised) / sigma) ** 2 * variance + raised**2 - sigma**2
    mean, got = ends_on_a_point(table)
    assert mean == pytest.approx(1, abs=1e-9)
    assert got == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("formula", ["midpoint", "heun"])
def test_sde_of_eps_keeps_the_mean_at_every_order(order: int, formula: str) -> None:
    """The mean of eps is 0 on a point, so differences of it move none; of the variance no closed form is declared."""
    config = {"algorithm_type": "sde-dpmsolver", "solver_order": order, "solver_type": formula}
    scheduler = next(m for m in FAMILY if m.name == "DPMSolverMultistepScheduler").cls(**SD, **config)
    for steps in STEPS[:-1]:
        table = scheduler.tableau(steps, final_sigma="sigma_min")
        mean, variance = ends_on_a_point(table)
        assert mean == pytest.approx(table.land[-1, 0], abs=1e-9)
        assert 0 < variance < np.inf
