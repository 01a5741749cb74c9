"""The schedulers of `wider`: whole trajectories, runs on data of one point, and schedules in their own clocks.

As test_parity, test_point_mass and test_schedules do for the schedulers of SD's kind.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from exact import ends_on_a_point
from family import SD, Config, label
from peer_differs import DIFFERS, NAN, RAISES, Cell, Difference
from reference_loop import distance, make_peer, run_peer, run_table, smooth_path, stand_in
from wider import FLOW, WIDER, Wider
from wider_differs import WIDER_DIFFERS

from components.schedulers import find_scheduler
from components.schedulers.schedule import Schedule

TOLERANCE = 1e-5


def name_of(value: object) -> str | None:
    if isinstance(value, Wider):
        return value.name.removesuffix("Scheduler") + ("-flow" if "use_flow_sigmas" in value.base else "")
    return (label(value) or "defaults") if isinstance(value, dict) else None


CASES = [(member, config) for member in WIDER for config in member.configs()]
members = pytest.mark.parametrize("member", WIDER, ids=name_of)


@pytest.fixture(autouse=True)
def _smooth() -> Iterator[None]:
    with smooth_path():
        yield


def difference_in(cell: Cell) -> Difference | None:
    return next((entry for entry in WIDER_DIFFERS if entry.covers(cell)), None)


# ---- parity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "config"), CASES, ids=name_of)
def test_trajectory(member: Wider, config: Config) -> None:
    problems = []
    for steps in member.steps:
        cell = Cell(member, config, steps)
        ours, entry = cell.run(), difference_in(cell)
        assert torch.isfinite(ours).all()
        try:
            off = distance(ours, cell.run_peer())
        except Exception as error:
            if entry is None or entry.peer != RAISES:
                problems.append(f"{steps} steps: the peer raises {error!r}")
            continue
        if entry is None:
            wrong = not off <= TOLERANCE
        elif entry.peer == DIFFERS:
            agrees = off <= TOLERANCE and entry.witness is None
            wrong = agrees or (entry.remedy is not None and not entry.remedy(cell) <= TOLERANCE)
        else:
            wrong = entry.peer != NAN or not np.isnan(off)
        if wrong:
            problems.append(f"{steps} steps: {off:.1e} away, where the list says: {entry and entry.why}")
    assert not problems


def test_no_entry_of_the_list_is_idle() -> None:
    met = {id(difference_in(Cell(m, config, steps))) for m, config in CASES for steps in m.steps}
    assert [entry.why for entry in WIDER_DIFFERS if id(entry) not in met] == []


@pytest.mark.parametrize("entry", [e for e in WIDER_DIFFERS if e.witness], ids=lambda e: e.why)
def test_where_digits_are_lost_some_cell_shows_it(entry: Difference) -> None:
    config, steps = entry.witness  # pyright: ignore
    cells = [Cell(m, m.base | config, steps) for m in WIDER if m.name in entry.schedulers]
    assert max(distance(c.run(), c.run_peer()) for c in cells if entry.covers(c)) > TOLERANCE


# ---- data of one point ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "config"), CASES, ids=name_of)
def test_on_data_of_one_point_every_run_ends_at_it(member: Wider, config: Config) -> None:
    for steps in member.steps:
        scheduler = member.cls(**config)
        table = scheduler.tableau(steps)
        assert table.steps == steps
        if table.unchecked:
            continue
        mean, variance = ends_on_a_point(table, member.answer_of(config))
        alpha, sigma = table.land[-1]
        if np.isnan(table.declared[:, 0]).all():
            assert mean == pytest.approx(alpha, abs=1e-7)
        if np.isnan(table.declared).all():
            assert variance == pytest.approx(sigma**2, abs=1e-7)


# ---- schedules -----------------------------------------------------------------------------------------------------


@members
def test_steps_asked_are_steps_run(member: Wider) -> None:
    """And every level is visited once, in the sampler's direction."""
    scheduler = member.cls(**member.base)
    for steps in range(1, 1 + max(member.steps) if member.name.startswith("CM") else 201):
        levels = scheduler.grid(Schedule(steps)).levels
        with np.errstate(divide="ignore"):
            ratio = levels.sigma / levels.alpha
        assert len(ratio) == steps + 1
        assert (np.diff(ratio[:-1]) * (1 if scheduler.ascending else -1) > 0).all()


@members
def test_listed_timesteps(member: Wider) -> None:
    scheduler, listed = member.cls(**member.base), list(member.timesteps)
    table = scheduler.tableau(timesteps=listed)
    assert table.steps == len(listed)
    if member.name.startswith("CM"):  # places on its curve, told as 250 log(sigma)
        places = np.array(listed[::-1]) / 39
        root = 80 ** (1 / 7) + places * (0.002 ** (1 / 7) - 80 ** (1 / 7))
        np.testing.assert_allclose(table.timestep, 250 * 7 * np.log(root), rtol=1e-9)
    else:  # a method of several stages also reads in between; those trained on whole timesteps are told them
        told = np.abs(table.timestep[:, None] - np.array(listed)).min(0)
        assert told.max() < 1e-9


@members
def test_listed_sigmas(member: Wider) -> None:
    scheduler, listed = member.cls(**member.base), list(member.sigmas)
    table = scheduler.tableau(sigmas=listed)
    assert table.steps == len(listed) - 1
    levels = np.vstack([table.read, table.land[-1:]])
    visited = levels[:, 1] if scheduler.fits == "flow" else levels[:, 1] / levels[:, 0]
    for sigma in listed:
        assert np.isclose(visited, sigma, rtol=2e-6, atol=1e-12).any(), sigma


@members
def test_a_listed_schedule_at_another_number_of_steps(member: Wider) -> None:
    if member.cls.ascending:
        return
    for steps in (3, 17):
        assert member.cls(**member.base).tableau(steps, sigmas=list(member.sigmas)).steps == steps
        assert member.cls(**member.base).tableau(steps, timesteps=list(member.timesteps)).steps == steps


@members
def test_final_sigma_is_where_the_run_ends(member: Wider) -> None:
    scheduler = member.cls(**member.base)
    if scheduler.ascending:
        return
    last = scheduler.grid(Schedule(9)).levels[-2]
    for share in (0.5, 0.9):
        end = share * float(last.sigma if scheduler.fits == "flow" else last.sigma / last.alpha)
        table = scheduler.tableau(9, final_sigma=end)
        alpha, sigma = table.land[-1]
        assert (sigma if scheduler.fits == "flow" else sigma / alpha) == pytest.approx(end)


# ---- what a pipeline hands over ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.3, 1.15])
@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("FlowMatchEulerDiscreteScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", {"time_shift_type": "linear"}),
        ("FlowMatchLCMScheduler", {}),
        ("UniPCMultistepScheduler", FLOW),
        ("DPMSolverMultistepScheduler", FLOW),
        ("DEISMultistepScheduler", FLOW),
    ],
)
def test_levels_of_dynamic_shifting(name: str, base: Config, mu: float) -> None:
    """Arxiv 2403.03206, eq. 23, with exp(mu) for the shift; as the peer's `sigmas` and no nearer than its float32."""
    peer = make_peer(name, base | {"use_dynamic_shifting": True}, 9, mu=mu)
    grid = find_scheduler(name)(**base, use_dynamic_shifting=True, mu=mu).grid(Schedule(9))
    np.testing.assert_allclose(grid.levels.sigma[:-1], peer.sigmas[:9], atol=2e-6)


@pytest.mark.parametrize(
    ("name", "strength"), [(n, s) for n in ("LCMScheduler", "TCDScheduler") for s in (0.3, 0.5, 0.9)]
)
def test_strength_of_a_students_run(name: str, strength: float) -> None:
    peer = make_peer(name, {}, 4, strength=strength)
    table = find_scheduler(name)(strength=strength).tableau(4)
    np.testing.assert_array_equal(table.timestep, peer.timesteps)


def test_ipndm_at_sigmas_of_its_configuration() -> None:
    sigmas = [0.95, 0.8, 0.5, 0.3, 0.1, 0.0]
    peer = run_peer(make_peer("IPNDMScheduler", {"trained_betas": sigmas}, 5))
    ours = run_table(find_scheduler("ipndm")(trained_betas=sigmas).tableau(5))
    assert distance(ours, peer) <= TOLERANCE


def test_places_of_a_consistency_model_mean_what_they_do_there() -> None:
    peer = run_peer(make_peer("CMStochasticIterativeScheduler", {}, timesteps=[22, 0]))
    ours = run_table(find_scheduler("cm")().tableau(timesteps=[22, 0]))
    assert distance(ours, peer) <= TOLERANCE


# ---- tau -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.4, 1.5])
@pytest.mark.parametrize("kind", ["data_prediction", "noise_prediction"])
def test_tau_is_the_peers_function_of_the_timestep(value: float, kind: str) -> None:
    config = SD | {"algorithm_type": kind}
    peer = make_peer("SASolverScheduler", config | {"tau_func": lambda t: value if 300 <= t <= 700 else 0}, 10)
    tau = {"start": 300, "end": 700, "value": value}
    ours = run_table(find_scheduler("sa_solver")(**config, tau=tau).tableau(10))
    assert distance(ours, run_peer(peer)) <= TOLERANCE


# ---- learned variance ----------------------------------------------------------------------------------------------


def predicts_a_variance(x: torch.Tensor, timestep: float) -> torch.Tensor:
    return torch.cat([stand_in(x, timestep), torch.tanh(x + timestep / 1000)], 1)


@pytest.mark.parametrize("name", ["DDPMScheduler", "UnCLIPScheduler"])
@pytest.mark.parametrize("steps", [2, 9, 10])
def test_learned_range(name: str, steps: int) -> None:
    """Nichol & Dhariwal 2021, eq. 15; UnCLIP's float32 alphas leave 6e-4, as they do with its fixed variance."""
    config = {"variance_type": "learned_range"} | (SD if name == "DDPMScheduler" else {})
    table = find_scheduler(name)(**config).tableau(steps)
    off = distance(run_table(table, predicts_a_variance), run_peer(make_peer(name, config, steps), predicts_a_variance))
    assert off <= (TOLERANCE if name == "DDPMScheduler" else 6e-4)


def test_learned_variance_is_the_logarithm_itself() -> None:
    """The paper's free parameterisation: at an output of log(posterior variance) it is fixed_small."""
    fixed = find_scheduler("ddpm")(**SD).tableau(10)
    variances = np.log(np.maximum(fixed.update[:, 0, -1] ** 2, 1e-300))
    free = find_scheduler("ddpm")(**SD, variance_type="learned").tableau(10)
    rows = iter(variances)

    def network(x: torch.Tensor, timestep: float) -> torch.Tensor:
        return torch.cat([stand_in(x, timestep), torch.full_like(x, float(next(rows)))], 1)

    assert distance(run_table(free, network), run_table(fixed)) < 1e-12


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "SASolverScheduler"])
def test_solvers_of_the_ode_drop_a_predicted_variance(name: str) -> None:
    plain = find_scheduler(name)(**SD).tableau(5)
    told = find_scheduler(name)(**SD, variance_type="learned_range").tableau(5)
    assert torch.equal(run_table(told, predicts_a_variance), run_table(plain))


def test_a_run_that_would_end_above_its_last_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"final_sigma is 0\.5, above the last level that is read, 0\.029"):
        find_scheduler("ddpm")(**SD).tableau(10, final_sigma=0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DPMSolverMultistepInverseScheduler", {"timestep_spacing": "leading", "solver_order": 2}),
        ("DPMSolverMultistepInverseScheduler", {"timestep_spacing": "leading", "solver_order": 3}),
        ("SASolverScheduler", {"timestep_spacing": "trailing", "lambda_min_clipped": -2.0}),
    ],
)
def test_no_method_looks_back_over_a_step_of_no_size(name: str, options: Config) -> None:
    """There are such steps where as many are asked for as there are timesteps, or more than the cut clock has."""
    table = find_scheduler(name)(**SD, **options).tableau(1000)
    assert table.steps == 1000
    mean, variance = ends_on_a_point(table, "epsilon")
    assert mean == pytest.approx(table.land[-1, 0], abs=1e-7)
    assert variance == pytest.approx(table.land[-1, 1] ** 2, abs=1e-7)
