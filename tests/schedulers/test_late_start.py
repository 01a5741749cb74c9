"""A run that begins in the middle is a run of its own on the rest of the levels: lower order first, no history.

Expected values: the reference library begun at the same row; for LMS and PNDM, where it takes outputs that never were
for history, the loops of the papers, written out here.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from family import FAMILY, SD, Config, label
from late_start import CASES, after_rows, configured, network, peer_after_rows, start_of
from numpy.polynomial import Polynomial
from torch import Tensor
from wider import WIDER

from components.schedulers import SchedulerConfigError, Tableau, find_scheduler

ALPHA_BAR = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
BY_HAND = {"lms", "pndm"}
COMPARED = [(name, config) for name, config in CASES if name not in BY_HAND]
NAMES = [f"{name}-{label(config)}" for name, config in COMPARED]


def assert_begins_as_the_reference(name: str, config: Config, steps: int, begin: int) -> None:
    cls, options = configured(name, config)
    whole, late = cls(**options).tableau(steps), cls(**options).tableau(steps, begin=begin)
    expected, told = peer_after_rows(name, config, steps, int((whole.step == begin).argmax()), start_of(late))
    assert np.abs(late.timestep - told).max() < 1  # some are told whole timesteps there
    for ours, theirs in zip(after_rows(replace(late, timestep=np.array(told))), expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-6 * max(1, theirs.abs().max())


@pytest.mark.parametrize(("name", "config"), COMPARED, ids=NAMES)
def test_every_row_of_a_late_run_is_the_references(name: str, config: Config) -> None:
    assert_begins_as_the_reference(name, config, 12, 5)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [20, 12, 7])
@pytest.mark.parametrize(("name", "config"), COMPARED, ids=NAMES)
def test_it_may_begin_anywhere(name: str, config: Config, steps: int) -> None:
    for begin in {1, steps // 2, steps - 1}:
        assert_begins_as_the_reference(name, config, steps, begin)


# ---- the papers' loops ---------------------------------------------------------------------------------------------


def level(timestep: float) -> tuple[float, float]:
    """(alpha, sigma) of a whole timestep; below 0 the checkpoint's last alpha, that of timestep 0."""
    alpha_bar = ALPHA_BAR[max(round(timestep), 0)]
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


def transferred(x: Tensor, eps: Tensor, t: float, to: float) -> Tensor:
    """PNDM, eq. 11."""
    (alpha, sigma), (alpha_to, sigma_to) = level(t), level(to)
    return alpha_to / alpha * (x - sigma * eps) + sigma_to * eps


def pndm(x: Tensor, timesteps: list[float], below: float, runge_kutta: bool) -> list[Tensor]:
    """x after every evaluation: eq. 12, started by eq. 13 or by one trapezoid."""
    ends, seen, past = [*timesteps[1:], timesteps[-1] - below], [], []
    for n, (t, to) in enumerate(zip(timesteps, ends, strict=True)):
        if runge_kutta and n < min(3, len(timesteps) - 1):
            middle = to + (t - to) // 2
            e1 = network(x, t)
            x1 = transferred(x, e1, t, middle)
            e2 = network(x1, middle)
            x2 = transferred(x, e2, t, middle)
            e3 = network(x2, middle)
            x3 = transferred(x, e3, t, to)
            mean = (e1 + 2 * e2 + 2 * e3 + network(x3, to)) / 6
            x, past = transferred(x, mean, t, to), [e1, *past]
            seen += [x1, x2, x3, x]
        elif not runge_kutta and n == 0 and len(timesteps) > 1:
            past = [network(x, t)]
            seen.append(transferred(x, past[0], t, to))
            x = transferred(x, (past[0] + network(seen[0], to)) / 2, t, to)
            seen.append(x)
        else:
            past = [network(x, t), *past][:4]
            weights = [[1], [1.5, -0.5], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
            mean = torch.stack([w * e for w, e in zip(weights[len(past) - 1], past, strict=True)]).sum(0)
            x = transferred(x, mean, t, to)
            seen.append(x)
    return seen


def lms(x: Tensor, sigmas: np.ndarray, timesteps: np.ndarray) -> list[Tensor]:
    """x after every evaluation: Adams-Bashforth on uneven steps, of as many outputs as there have been, up to four."""
    seen, past = [], []
    for n, t in enumerate(timesteps):
        past = [network(x / np.hypot(1, sigmas[n]), t), *past][:4]
        for j, eps in enumerate(past):
            curve = Polynomial([1.0])
            for other in {*range(len(past))} - {j}:
                curve *= Polynomial([-sigmas[n - other], 1]) / (sigmas[n - j] - sigmas[n - other])
            x = x + float(curve.integ()(sigmas[n + 1]) - curve.integ()(sigmas[n])) * eps
        seen.append(x)
    return seen


@pytest.mark.parametrize("steps", [20, 12, 7])
@pytest.mark.parametrize("plms", [True, False])
def test_pndm_starts_anew_where_it_begins(plms: bool, steps: int) -> None:
    scheduler = find_scheduler("pndm")(**SD, skip_prk_steps=plms, steps_offset=1)
    timesteps = [float(t) for t in np.arange(steps)[::-1] * (1000 // steps) + 1]
    for begin in (1, steps // 2, steps - 1):
        table = scheduler.tableau(steps, begin=begin)
        expected = pndm(start_of(table), timesteps[begin:], 1000 // steps, not plms)
        assert torch.allclose(torch.stack(after_rows(table)), torch.stack(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [20, 12, 7])
def test_lms_takes_no_outputs_that_never_were(steps: int) -> None:
    scheduler = find_scheduler("lms")(**SD)
    timesteps = np.linspace(999, 0, steps)
    sigmas = np.append(np.interp(timesteps, np.arange(1000), ((1 - ALPHA_BAR) / ALPHA_BAR) ** 0.5), 0)
    for begin in (1, steps // 2, steps - 1):
        table = scheduler.tableau(steps, begin=begin)
        expected = lms(start_of(table), sigmas[begin:], timesteps[begin:])
        assert torch.allclose(torch.stack(after_rows(table)), torch.stack(expected), rtol=0, atol=1e-9)


# ---- published values: beginning at step 8 of 20, components 0 and 1 after one row, after two and at the end -------

LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
OF_2M = (0.564985, -1.367366)
VALUES: tuple[tuple[str, Config, int, float, tuple[float, ...]], ...] = (
    (
        "ddim",
        {**LEADING, "set_alpha_to_one": False},
        12,
        551,
        (0.615143, -1.340064, 0.603211, -1.466321, 0.384457, -1.837090),
    ),
    ("ddim", {"timestep_spacing": "trailing"}, 12, 599, (*OF_2M, 0.537879, -1.528378, 0.272465, -1.933407)),
    ("ddpm", {}, 12, 550, (0.978358, -1.117652, 0.850061, -1.572657, 0.185907, -1.604496)),
    ("euler", {}, 12, 578.37, (1.185585, -2.768148, 1.005782, -2.711967, 0.311655, -1.892383)),
    ("euler", LEADING, 12, 551, (1.173034, -2.555407, 1.026144, -2.494413, 0.366138, -1.828277)),
    ("euler", {"use_karras_sigmas": True}, 12, 560.98, (1.045518, -2.594593, 0.836035, -2.479023, 0.330484, -1.869602)),
    ("euler_a", {}, 12, 578.37, (1.942979, -2.302893, 1.441035, -2.927499, 0.127900, -1.682278)),
    ("dpmpp_2m", {}, 12, 599, (*OF_2M, 0.542740, -1.524547, 0.282261, -1.923492)),
    ("dpmpp_2m", {"use_karras_sigmas": True}, 12, 561, (0.584461, -1.450450, 0.586766, -1.660698, 0.361790, -1.845740)),
    ("dpmpp_2m", {"solver_order": 3}, 12, 599, (*OF_2M, 0.542740, -1.524547, 0.280005, -1.926923)),
    (
        "dpmpp_2m",
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        12,
        599,
        (*OF_2M, 0.542740, -1.524547, 0.285879, -1.970558),
    ),
    (
        "dpmpp_2m",
        {"algorithm_type": "sde-dpmsolver++"},
        12,
        599,
        (0.939833, -1.139683, 0.848149, -1.610430, 0.017800, -1.651587),
    ),
    ("dpmpp_2s", {}, 12, 599, (*OF_2M, 0.546062, -1.524078, 0.287333, -1.921429)),
    ("dpmpp_2s", {"solver_order": 3}, 12, 599, (*OF_2M, 0.538465, -1.525150, 0.284737, -1.918988)),
    ("unipc", {}, 12, 599, (*OF_2M, 0.546770, -1.523978, 0.282289, -1.926022)),
    ("unipc", {"solver_order": 3}, 12, 599, (*OF_2M, 0.546770, -1.523978, 0.281364, -1.926813)),
    ("deis", {}, 12, 599, (*OF_2M, 0.542622, -1.524563, 0.290534, -1.960583)),
    ("deis", {"solver_order": 3}, 12, 599, (*OF_2M, 0.542622, -1.524563, 0.342641, -1.928489)),
    (
        "pndm",
        {"skip_prk_steps": True, "steps_offset": 1},
        13,
        551,
        (0.615143, -1.340064, 0.621989, -1.336528, 0.399529, -1.832639),
    ),
    ("pndm", {"steps_offset": 1}, 21, 551, (0.625726, -1.273237, 0.628837, -1.272033, 0.398695, -1.831986)),
    ("lms", {}, 12, 578.37, (1.185585, -2.768148, 1.014703, -2.708598, 0.325888, -1.888966)),
    ("heun", {}, 23, 578.37, (1.185585, -2.768148, 1.199177, -2.763016, 0.334081, -1.888875)),
    ("dpm2", {}, 23, 578.37, (1.304500, -2.796349, 1.197162, -2.766666, 0.333921, -1.893415)),
    ("dpm2_a", {}, 23, 578.37, (1.185585, -2.768148, 1.992838, -2.284066, 0.202201, -1.643783)),
    ("sa_solver", {}, 12, 599, (0.939833, -1.139683, 0.928293, -1.559793, 0.359322, -1.615559)),
    ("ipndm", {}, 12, 0.4542, (0.727482, -1.074072, 0.658759, -1.054711, 0.306866, -0.926768)),
    ("edm_euler", {}, 12, 0.3989, (1.594466, -3.857477, 1.139364, -2.470397, 0.652423, -0.613304)),
    ("edm_dpmpp_2m", {}, 12, 0.3989, (1.594466, -3.857477, 1.143890, -2.476707, 0.714068, -0.716535)),
    ("lcm", {}, 12, 599, (0.811498, -0.817724, 0.028756, -1.384447, -0.114934, -0.014320)),
    ("tcd", {}, 12, 599, (1.021422, -0.963997, 0.713951, -1.606332, 0.025992, -1.253983)),
    ("flow_euler", {}, 12, 579.37, (0.474541, -0.830185, 0.443412, -0.808712, 0.270797, -0.532549)),
    ("flow_heun", {}, 23, 579.37, (0.474541, -0.830185, 0.476864, -0.828166, 0.272250, -0.533016)),
)


@pytest.mark.parametrize(
    ("name", "config", "rows", "told", "values"), VALUES, ids=[f"{v[0]}-{label(v[1])}" for v in VALUES]
)
def test_begun_at_step_8_of_20(name: str, config: Config, rows: int, told: float, values: tuple[float, ...]) -> None:
    cls, options = configured(name, config)
    table = cls(**options).tableau(20, begin=8)
    seen = after_rows(table)
    found = torch.cat([x.flatten()[:2] for x in (seen[0], seen[1], seen[-1])])
    assert len(seen) == rows
    assert table.timestep[0] == pytest.approx(told, abs=6e-3)
    assert found.tolist() == pytest.approx(values, abs=2e-5)


# ---- what a late run keeps of the whole one ------------------------------------------------------------------------


def proofs() -> list[tuple[type, Config]]:
    return [(member.cls, config) for member in (*FAMILY, *WIDER) for config in member.configs()]


@pytest.mark.slow
def test_every_late_table_proves_itself() -> None:
    for cls, config in proofs():
        for begin in (1, 4, 8):
            late, whole = cls(**config).tableau(9, begin=begin), cls(**config).tableau(9)
            assert late.steps == 9 - begin
            np.testing.assert_array_equal(late.read[0], whole.read[int((whole.step == begin).argmax())])
            np.testing.assert_array_equal(late.land[-1], whole.land[-1])


@pytest.mark.parametrize("name", ["dpmpp_sde", "cosine_dpmpp_2m_sde"])
def test_a_brownian_path_spans_the_whole_schedule(name: str) -> None:
    scheduler = find_scheduler(name)()
    assert scheduler.tableau(10, begin=6).brownian == scheduler.tableau(10).brownian


def test_the_shared_path_goes_on_where_the_whole_run_would() -> None:
    scheduler = find_scheduler("dpmpp_sde")(**SD)
    run: Any = scheduler.with_run(shared_path=True)
    whole, late = scheduler.tableau(10, run=run), scheduler.tableau(10, begin=4, run=run)
    np.testing.assert_array_equal(late.noise_span, whole.noise_span[-late.rows :])


def test_what_is_left_out_comes_from_lists_too() -> None:
    scheduler = find_scheduler("euler")(**SD)
    table: Tableau = scheduler.tableau(timesteps=[999, 500, 100, 7], begin=2)
    assert table.timestep.tolist() == [100, 7]


@pytest.mark.parametrize(("begin", "schedule"), [(10, {"steps": 10}), (-1, {"steps": 10}), (2, {"timesteps": [9, 1]})])
def test_one_step_at_least_must_be_left(begin: int, schedule: dict[str, Any]) -> None:
    with pytest.raises(SchedulerConfigError, match=f"begin is {begin}, but of .* steps one at least must be left"):
        find_scheduler("heun")(**SD).tableau(**schedule, begin=begin)
