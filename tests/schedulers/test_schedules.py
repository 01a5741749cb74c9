"""Where a run goes: the spacings in closed form, steps asked are steps run, listed schedules, ends, and refusals."""

from typing import Any

import numpy as np
import pytest
from family import FAMILY, SD, Member
from reference_loop import distance, make_peer, run_peer, run_table

from components.schedulers import (
    AysSchedules,
    EulerDiscreteScheduler,
    OptionProblem,
    SchedulerConfigError,
    find_scheduler,
    spacing,
)
from components.schedulers.published import gits
from components.schedulers.schedule import Schedule
from components.schedulers.spacing import beta, exponential, karras, resample_log_linear, training_timesteps

SIGMA_MIN, SIGMA_MAX = 0.029167158151720, 14.614641229333639
"""Of the SD clock: sqrt((1 - prod(1 - beta)) / prod(1 - beta)) in 40-digit arithmetic, cut to double precision."""

AYS_SD15 = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
AYS_SDXL = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]
"""Align Your Steps, arXiv 2404.14507, table 3."""

SD15_TIMESTEPS = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
SDXL_TIMESTEPS = [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]
"""The same schedules as timesteps of the SD clock."""

members = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)


# ---- spacings ------------------------------------------------------------------------------------------------------


def test_training_spacings_as_the_paper_tabulates_them() -> None:
    """arXiv 2305.08891, table 2, T = 1000, 10 steps; its timesteps count from 1, ours from 0."""
    leading = [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    linspace = [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]
    trailing = [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]
    for kind, expected in {"leading": leading, "linspace": linspace, "trailing": trailing}.items():
        np.testing.assert_array_equal(training_timesteps(kind, 10, 1000) + 1, expected)


def test_leading_offset_shifts_and_never_leaves_the_clock() -> None:
    np.testing.assert_array_equal(training_timesteps("leading", 4, 1000, offset=1), [751, 501, 251, 1])
    assert training_timesteps("leading", 1000, 1000, offset=1).max() == 999


def test_karras() -> None:
    """arXiv 2206.00364, eq. 5, rho = 7: the middle of three levels is the seventh power of the mean of the roots."""
    middle = ((10 ** (1 / 7) + 0.1 ** (1 / 7)) / 2) ** 7
    np.testing.assert_allclose(karras(0.1, 10, 3), [10, middle, 0.1], rtol=1e-14)


def test_exponential() -> None:
    np.testing.assert_allclose(exponential(0.1, 10, 3), [10, 1, 0.1], rtol=1e-14)


def test_beta() -> None:
    """Quantiles of Beta(0.6, 0.6), which is symmetric: ends and middle; the quarter from scipy's own quantile."""
    from scipy.stats import beta as distribution

    np.testing.assert_allclose(beta(0.1, 10, 3), [10, 5.05, 0.1], rtol=1e-12)
    assert beta(0, 1, 5)[3] == pytest.approx(distribution.ppf(0.25, 0.6, 0.6), rel=1e-9)


def test_sigma_range_of_the_sd_clock() -> None:
    levels = find_scheduler("euler")(**SD).tableau(1000).read[:, 1]
    assert levels[0] == pytest.approx(SIGMA_MAX, rel=1e-12)
    assert levels[-1] == pytest.approx(SIGMA_MIN, rel=1e-12)


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_euler_with_karras_visits_karras_levels_and_knows_their_timesteps(steps: int) -> None:
    table = find_scheduler("euler")(**SD, use_karras_sigmas=True).tableau(steps)
    np.testing.assert_allclose(table.read[:, 1], karras(SIGMA_MIN, SIGMA_MAX, steps), rtol=1e-12)
    assert table.timestep[0] == pytest.approx(999) and table.timestep[-1] == pytest.approx(0, abs=1e-9)


@members
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_steps_asked_are_steps_run_for_every_number_of_steps(member: Member, spacing: str) -> None:
    """And each goes down, within the training clock: there is no N at which a timestep repeats, or falls off an end."""
    offset = {"steps_offset": 1} if "steps_offset" in member.cls.options() else {}
    scheduler = member.cls(**SD, **offset)
    for steps in range(1, 1001):
        levels = scheduler.grid(Schedule(steps, spacing=spacing)).levels
        ratio = levels.sigma / levels.alpha
        assert len(ratio) == steps + 1, steps
        assert (np.diff(ratio) < 0).all() or _ends_twice(ratio), steps
        assert levels.timestep.min() >= 0 and levels.timestep.max() <= 999, steps


def _ends_twice(ratio: np.ndarray) -> bool:
    """The SD 1.x convention of PNDM, not to end at alpha = 1: reading at timestep 0 it ends where it is."""
    return bool((np.diff(ratio[:-1]) < 0).all() and ratio[-1] == ratio[-2] == ratio.min())


@members
@pytest.mark.parametrize("spacing", ["karras", "exponential", "beta", "lu"])
def test_steps_asked_are_steps_run_on_sigma_spacings(member: Member, spacing: str) -> None:
    scheduler = member.cls(**SD)
    for steps in (*range(1, 60), 100, 333, 1000):
        levels = scheduler.grid(Schedule(steps, spacing=spacing)).levels
        ratio = levels.sigma / levels.alpha
        assert len(ratio) == steps + 1, steps
        assert (np.diff(ratio[:-1]) < 0).all() and ratio[-1] <= ratio[-2], steps


# ---- listed schedules ----------------------------------------------------------------------------------------------


@members
def test_listed_timesteps_are_the_timesteps_told(member: Member) -> None:
    listed = SD15_TIMESTEPS
    table = member.cls(**SD).tableau(timesteps=listed)
    assert table.steps == len(listed)
    assert set(listed) <= set(table.timestep)  # a method of several stages also reads in between


@members
def test_listed_sigmas_are_the_levels_read_and_the_last_is_the_end(member: Member) -> None:
    table = member.cls(**SD).tableau(sigmas=AYS_SD15)
    ratios = table.read[:, 1] / table.read[:, 0]
    assert table.steps == len(AYS_SD15) - 1
    for sigma in AYS_SD15[:-1]:
        assert np.isclose(ratios, sigma, rtol=1e-12).any()
    assert table.land[-1, 1] / table.land[-1, 0] == pytest.approx(0.029, rel=1e-12)


# fmt: off
RESAMPLED = [
    (SD15_TIMESTEPS, [14.6146, 3.8637, 1.8842, 0.9643, 0.3977]),
    (SD15_TIMESTEPS, [14.6146, 5.6906, 3.2266, 2.0605, 1.3944, 0.8745, 0.5094, 0.1929]),
    (SDXL_TIMESTEPS, [14.6146, 3.7682, 1.3405, 0.5551, 0.2332]),
    (SDXL_TIMESTEPS, [14.6146, 5.5525, 2.8669, 1.5140, 0.8621, 0.5049, 0.2977, 0.1340]),
    (SDXL_TIMESTEPS, [14.6146, 9.6095, 6.3184, 4.8795, 3.7682, 2.8669, 2.1811, 1.7099, 1.3405, 1.0750, 0.8621, 0.6917,
                      0.5551, 0.4592, 0.3799, 0.2977, 0.2332, 0.1612, 0.1114, 0.0570]),
]
# fmt: on


@pytest.mark.parametrize(("timesteps", "expected"), RESAMPLED, ids=lambda values: str(len(values)))
def test_align_your_steps_at_other_step_counts(timesteps: list[float], expected: list[float]) -> None:
    """What ComfyUI's node computes, to the four decimals given; then zero, as there."""
    table = find_scheduler("euler")(**SD).tableau(len(expected), timesteps=timesteps, final_sigma="zero")
    np.testing.assert_allclose(table.read[:, 1], expected, rtol=0, atol=6e-5)
    assert table.land[-1, 1] == 0


def test_align_your_steps_of_the_paper_are_its_timesteps() -> None:
    """The paper rounds its levels to three decimals or so; its timesteps lie within a percent of them."""
    for timesteps, levels in ((SD15_TIMESTEPS, AYS_SD15), (SDXL_TIMESTEPS, AYS_SDXL)):
        read = find_scheduler("euler")(**SD).tableau(timesteps=timesteps).read[:, 1]
        np.testing.assert_allclose(read, levels[:-1], rtol=0.015)


def test_log_linear_resampling() -> None:
    np.testing.assert_allclose(resample_log_linear([16, 4, 1], 4), [16, 8, 4, 2, 1], rtol=1e-14)
    np.testing.assert_allclose(resample_log_linear(AYS_SD15, 10), AYS_SD15, rtol=1e-14)


def test_a_listed_schedule_resampled_to_its_own_length_is_itself() -> None:
    scheduler = find_scheduler("dpmpp_2m")(**SD)
    own, asked = scheduler.tableau(sigmas=AYS_SD15), scheduler.tableau(10, sigmas=AYS_SD15)
    np.testing.assert_array_equal(own.update, asked.update)


# ---- where a run ends ----------------------------------------------------------------------------------------------


@members
@pytest.mark.parametrize(("final_sigma", "expected"), [("zero", 0.0), ("sigma_min", SIGMA_MIN), (0.01, 0.01), (0, 0.0)])
def test_final_sigma(member: Member, final_sigma: Any, expected: float) -> None:
    for schedule in ({"steps": 5}, {"timesteps": [999, 500, 100]}, {"sigmas": [14.0, 1.0, 0.5]}):
        land = member.cls(**SD).tableau(**schedule, final_sigma=final_sigma).land[-1]
        assert land[1] / land[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("ddim", {}, 0.0),
        ("ddim", {"set_alpha_to_one": False}, SIGMA_MIN),
        ("pndm", {}, SIGMA_MIN),
        ("pndm", {"set_alpha_to_one": True}, 0.0),
        ("euler", {}, 0.0),
        ("euler", {"final_sigmas_type": "sigma_min"}, SIGMA_MIN),
        ("dpmpp_2m", {"final_sigmas_type": "sigma_min"}, SIGMA_MIN),
        ("ddpm", {}, 0.0),
    ],
)
def test_where_a_configuration_ends(name: str, config: dict[str, Any], expected: float) -> None:
    land = find_scheduler(name)(**SD, **config).tableau(10).land[-1]
    assert land[1] / land[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)


# ---- refusals ------------------------------------------------------------------------------------------------------


@members
@pytest.mark.parametrize(
    ("schedule", "option", "what"),
    [
        ({"timesteps": [999, 1], "sigmas": [14.0, 1.0]}, "sigmas", "cannot be given together with timesteps"),
        ({"timesteps": [999, 1], "spacing": "karras"}, "spacing", "cannot be given together with timesteps"),
        ({"timesteps": []}, "timesteps", "is empty"),
        ({"sigmas": []}, "sigmas", "is empty"),
        ({"sigmas": [14.0]}, "sigmas", "needs at least 2 values: where to start and where to end"),
        ({"timesteps": [1, 500, 999]}, "timesteps", "descend, from much noise to little, but 1 is followed by 500"),
        ({"timesteps": [999, 500, 500]}, "timesteps", "but 500 is followed by 500"),
        ({"sigmas": [0.1, 14.0]}, "sigmas", "descend, from much noise to little, but 0.1 is followed by 14"),
        ({"sigmas": [14.0, -1.0]}, "sigmas", "none below 0"),
        ({"sigmas": [float("nan"), 1.0]}, "sigmas", "must be finite numbers"),
        ({"timesteps": [1000, 1]}, "timesteps", "starts at 1000, but this checkpoint's training clock ends at 999"),
        ({"steps": 0}, "steps", "is 0, but must be between 1 and 1000"),
        ({"steps": 1001}, "steps", "is 1001, but must be between 1 and 1000"),
        ({"spacing": "karas"}, "spacing", "is 'karas', which is not a spacing"),
        ({"final_sigma": "none"}, "final_sigma", "is 'none'"),
        ({"final_sigma": -1.0}, "final_sigma", "is -1.0"),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_is_refused_by_key(
    member: Member, schedule: dict[str, Any], option: str, what: str
) -> None:
    scheduler = member.cls(**SD)
    [problem] = scheduler.check_schedule(Schedule(**schedule))
    assert problem.option == option and what in problem.what
    with pytest.raises(SchedulerConfigError, match=member.name) as error:
        scheduler.tableau(**schedule)
    assert what in str(error.value)


def test_a_misspelt_spacing_is_told_the_nearest() -> None:
    [problem] = find_scheduler("euler")(**SD).check_schedule(Schedule(10, spacing="karas"))
    assert problem.nearest == "karras" and "exponential" in problem.allowed


@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"])
@pytest.mark.parametrize("key", ["timesteps", "sigmas", "spacing"])
def test_a_configured_sigma_spacing_does_not_go_with_a_listed_schedule(flag: str, key: str) -> None:
    """The list would silently be transformed a second time, or the flag silently ignored."""
    schedule = {"timesteps": [999, 1], "sigmas": [14.0, 1.0], "spacing": "kl_optimal"}[key]
    [problem] = find_scheduler("euler")(**SD, **{flag: True}).check_schedule(Schedule(**{key: schedule}))  # pyright: ignore
    assert problem == OptionProblem(key, f"cannot be given together with the scheduler's {flag}")


@pytest.mark.parametrize("spacing", ["karras", "exponential", "beta"])
def test_a_spacing_said_twice_is_the_spacing_said_once(spacing: str) -> None:
    flagged = find_scheduler("euler")(**SD, **{f"use_{spacing}_sigmas": True})
    assert flagged.check_schedule(Schedule(9, spacing=spacing)) == []
    np.testing.assert_array_equal(flagged.tableau(9, spacing=spacing).read, flagged.tableau(9).read)


def test_everything_wrong_is_said_at_once() -> None:
    problems = find_scheduler("euler")(**SD).check_schedule(Schedule(0, timesteps=[1, 2], sigmas=[], final_sigma="end"))
    assert [problem.option for problem in problems] == ["sigmas", "steps", "timesteps", "sigmas", "final_sigma"]


@members
def test_a_good_schedule_has_no_problems(member: Member) -> None:
    scheduler = member.cls(**SD)
    assert scheduler.check_schedule(Schedule(50)) == []
    assert scheduler.check_schedule(Schedule(timesteps=[999, 1], final_sigma="zero")) == []
    assert scheduler.check_schedule(Schedule(12, sigmas=AYS_SD15)) == []


def test_published_lists_are_the_papers_and_their_other_names() -> None:
    assert AysSchedules["StableDiffusionTimesteps"] == [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
    assert AysSchedules["StableDiffusionXLSigmas"][:3] == [14.615, 6.315, 3.771]
    assert all(values[-1] == 0 for name, values in AysSchedules.items() if name.endswith("Sigmas"))
    assert len(gits(10)) == 11 and gits(4)[0] == 14.61464119
    with pytest.raises(ValueError, match="4, 5, 6, 8, 10 steps, not for 7"):
        gits(7)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_sigma_spacings_go_from_the_largest_level_to_the_smallest(steps: int) -> None:
    for name, spread in spacing.SIGMA_SPACINGS.items():
        levels = spread(0.03, 14.6, steps)
        assert len(levels) == steps and levels[0] == pytest.approx(14.6), name
        if steps > 1:
            assert levels[-1] == pytest.approx(0.03) and (np.diff(levels) < 0).all(), name


def test_atan_and_parabola_have_their_closed_forms() -> None:
    middle = np.tan((np.arctan(0.03) + np.arctan(14.6)) / 2)
    assert spacing.kl_optimal(0.03, 14.6, 3)[1] == pytest.approx(middle)
    assert np.log(spacing.polyexponential(0.01, 1.0, 3)[1]) == pytest.approx(0.75 * np.log(0.01))


@pytest.mark.parametrize("steps", [1, 10, 400, 1000])
def test_beta_quantiles_of_the_clock_are_that_many_timesteps(steps: int) -> None:
    t = EulerDiscreteScheduler().tableau(steps, spacing="beta_timesteps").timestep
    assert len(t) == steps and t[0] == 999 and (np.diff(t) < 0).all()


def test_a_schedule_can_lose_its_last_level_but_one_or_be_cut_in_two() -> None:
    levels = [8.0, 4.0, 2.0, 1.0, 0.0]
    assert spacing.discard_penultimate(levels).tolist() == [8, 4, 2, 0]
    base, refiner = spacing.slice_levels(levels, stop=0.5), spacing.slice_levels(levels, start=0.5)
    assert base.tolist() == [8, 4, 2] and refiner.tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="nothing is left"):
        spacing.slice_levels(levels, start=1.0)


# ---- beyond the clock ----------------------------------------------------------------------------------------------


def test_levels_beyond_the_training_are_told_the_nearest_timestep_and_remarked_on() -> None:
    scheduler = find_scheduler("euler")(**SD)
    table = scheduler.tableau(sigmas=[160.0, 80.0, 5.0, 1.0, 0.02, 0.0])
    np.testing.assert_allclose(table.timestep[[0, 1, 4]], [999, 999, 0])
    np.testing.assert_allclose(table.read[:, 1], [160.0, 80.0, 5.0, 1.0, 0.02])
    said = "2 of 5 rows read at a sigma / alpha above 14.61, where this network's training ended"
    assert scheduler.remarks(table) == [f"{said}: it is told its last timestep."]


@pytest.mark.parametrize("name", ["euler", "ddim", "dpmpp_2m", "dpm2_a", "lms_karras", "flow_euler"])
def test_ordinary_schedules_and_rounded_published_ones_need_no_remark(name: str) -> None:
    config = {"use_karras_sigmas": True} if name.endswith("karras") else {}
    scheduler = find_scheduler(name.removesuffix("_karras"))(**(SD | config if name != "flow_euler" else {}))
    assert scheduler.remarks(scheduler.tableau(10)) == []
    if name not in ("flow_euler", "lms_karras"):
        assert scheduler.remarks(scheduler.tableau(sigmas=AYS_SD15)) == []


def test_a_network_that_is_told_the_noise_level_itself_knows_every_level() -> None:
    continuous = {"timestep_type": "continuous", "prediction_type": "v_prediction"}
    scheduler = find_scheduler("euler")(**SD, **continuous)
    table = scheduler.tableau(sigmas=[700.0, 54.5, 0.002, 0.0])
    np.testing.assert_allclose(table.timestep, np.log([700.0, 54.5, 0.002]) / 4)
    assert scheduler.remarks(table) == []


def test_there_is_no_flow_beyond_one() -> None:
    with pytest.raises(SchedulerConfigError, match=r"sigmas goes up to 1\.2, but a flow's sigma ends at 1"):
        find_scheduler("flow_euler")().tableau(sigmas=[1.2, 0.5, 0.0])


def test_tcd_goes_to_whole_timesteps_also_where_their_share_is_one_already() -> None:
    """s = floor((1 - eta) t'): 490 for 0.7 of 700, whose product in float64 is a hair less."""
    timesteps = [900, 700, 500, 300, 100]
    peer = run_peer(make_peer("TCDScheduler", SD, timesteps=timesteps), eta=0.3)
    ours = run_table(find_scheduler("tcd")(**SD, eta=0.3).tableau(timesteps=timesteps))
    assert distance(ours, peer) < 1e-5
