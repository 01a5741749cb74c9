"""Orders, fronts and needs of errors made by hand, whose answers are known; and images gathered into curves."""

from __future__ import annotations

import numpy as np
import pytest

from runner.sweep.compare.analysis import fit_order, nfe_needed, pareto_front
from runner.sweep.compare.series import Score, curve_of, curves, front

NFE = (5, 10, 20, 40)


def power(order: float, factor: float = 1.0) -> list[float]:
    return [factor * n**-order for n in NFE]


def test_a_power_law_has_its_order() -> None:
    fit = fit_order(NFE, power(2.0, 7.0))
    assert fit is not None
    assert (fit.order, fit.factor, fit.points) == (pytest.approx(2), pytest.approx(7), 4)


def test_points_at_the_floor_are_not_fitted() -> None:
    """Order 2 down to a floor of 1e-3: the last points lie on it, and would halve the slope."""
    nfe = (5, 10, 20, 40, 80, 160)
    errors = [max(n**-2.0, 1e-3) for n in nfe]
    fit = fit_order(nfe, errors, floor=5e-4)
    assert fit is not None
    assert fit.points == 3
    assert fit.order == pytest.approx(2)
    everything = fit_order(nfe, errors)
    assert everything is not None
    assert everything.order < 1.7


@pytest.mark.parametrize("errors", [[0.1, 0.05, 1e-3, 1e-3], [float("nan")] * 4])
def test_two_points_make_no_order(errors) -> None:
    assert fit_order(NFE, errors, floor=1e-3) is None


def test_the_same_evaluations_three_times_make_no_order() -> None:
    assert fit_order((5, 5, 5), (0.1, 0.2, 0.3)) is None


def test_need_lies_between_the_points_on_log_axes() -> None:
    """error = nfe^-2 is 0.01 at exactly 10 evaluations, and 1 / 14^2 at 14."""
    assert nfe_needed(NFE, power(2), 1 / 14**2).nfe == pytest.approx(14)
    assert str(nfe_needed(NFE, power(2), 1 / 14**2)) == "about 14"


def test_need_beyond_the_points_is_not_guessed() -> None:
    assert str(nfe_needed(NFE, power(2), 1e-4)) == "more than 40"
    assert str(nfe_needed(NFE, power(2), 0.5)) == "at most 5"


def test_need_below_the_floor_is_unknown() -> None:
    assert str(nfe_needed(NFE, power(2), 1e-3, floor=2e-3)) == "unknown"


def test_need_counts_from_where_the_error_stays_below() -> None:
    """A curve that dips below at 10, and again from 40 on: 10 was luck."""
    need = nfe_needed(NFE, [0.5, 0.01, 0.2, 0.05], 0.1)
    assert need.nfe == pytest.approx(20 * 2 ** (np.log(2) / np.log(4)))


def test_need_does_not_depend_on_the_order_of_the_points() -> None:
    assert nfe_needed(NFE[::-1], power(2)[::-1], 0.004) == nfe_needed(NFE, power(2), 0.004)


def test_an_error_of_zero_is_reached() -> None:
    assert nfe_needed((5, 10), (0.5, 0.0), 0.1).sure == "about"


def test_the_front_has_what_nothing_beats() -> None:
    cost = [5, 5, 10, 10, 20, 20]
    error = [0.9, 0.5, 0.6, 0.3, 0.3, 0.1]
    assert pareto_front(cost, error) == [1, 3, 5], "10 evaluations give 0.3 already, so 20 for 0.3 are no bargain"


def score(kind: str, method: str, nfe: int, error: float, setting: str = "", **metrics: float) -> Score:
    return Score(kind, (setting, method, ""), nfe, nfe, 0.1 * nfe, {"relative_l2": error, "floor": 1e-6, **metrics})  # type: ignore[arg-type]


def test_a_point_is_the_median_over_its_images() -> None:
    (curve,) = curves([score("ode", "ddim", 5, error) for error in (0.1, 0.2, 0.9)], [0.01])
    (point,) = curve.points
    assert (point.error, point.images, point.seconds) == (0.2, 3, 0.5)
    assert (point.quarter, point.three_quarters) == (pytest.approx(0.15), pytest.approx(0.55))


def test_no_kind_is_ranked_against_another() -> None:
    """The SDE's sampler is better in number at every cost, and leaves the ODE's front alone."""
    found = curves([score("ode", "ddim", n, 0.5) for n in NFE] + [score("sde", "euler_a", n, 0.01) for n in NFE], [0.1])
    assert [curve.front for curve in found] == [(5,), (5,)]


def test_another_guidance_is_another_equation_and_another_front() -> None:
    found = curves(
        [score("ode", "ddim", n, 0.1, setting) for setting in ("guidance_scale=1", "guidance_scale=5") for n in NFE], []
    )
    assert [curve.front for curve in found] == [(5,), (5,)]


def test_the_front_runs_over_methods() -> None:
    found = curves(
        [
            *(score("ode", "ddim", n, e) for n, e in zip(NFE, (0.4, 0.3, 0.2, 0.1), strict=True)),
            *(score("ode", "unipc", n, e) for n, e in zip(NFE, (0.5, 0.2, 0.25, 0.01), strict=True)),
        ],
        [],
    )
    assert [(curve.method, nfe) for curve, nfe, _ in front(found)] == [("ddim", 5), ("unipc", 10), ("unipc", 40)]


def test_images_without_a_reference_make_a_curve_of_fidelity_only() -> None:
    (curve,) = curves([Score("other", ("", "lcm", ""), 4, 4, 1.0, {"fidelity": right}) for right in (1.0, 0.0)], [0.1])
    assert (curve.points[0].fidelity, curve.points[0].error) == (0.5, None)
    assert (curve.errors, curve.fit, dict(curve.needs)) == ([], None, {})


@pytest.mark.parametrize(
    ("varied", "expected"),
    [
        ({"scheduler": "euler", "steps": 5, "seed": 3, "prompt": "a"}, ("", "euler", "")),
        ({"scheduler": "ddim", "scheduler.eta": 1.0, "schedule": "karras"}, ("", "ddim, eta=1.0", "karras")),
        ({"guidance_scale": 5, "steps": 5}, ("guidance_scale=5", "dpmpp_2m", "")),
        ({"scheduler.solver_order": 3}, ("", "dpmpp_2m, solver_order=3", "")),
        ({"schedule.spacing": "beta", "checkpoint": "sd15"}, ("checkpoint=sd15", "dpmpp_2m", "spacing=beta")),
    ],
)
def test_what_is_varied_says_which_curve(varied, expected) -> None:
    assert curve_of(varied, "dpmpp_2m") == expected
