"""Whole trajectories equal those of the reference library, in float64, to 1e-5 of their norm.

Every configuration of `family` at every number of steps there, the numbers cut short by no warm-up. Where the peer is
not the measure, `peer_differs` says why, and this test sees to it that it says no more than is true.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from exact import ends_on_a_point
from family import FAMILY, MEMBERS, SD, STEPS, Config, Member, label
from peer_differs import DIFFERS, NAN, PEER_DIFFERS, RAISES, Cell, Difference, all_in_float64, difference_in
from reference_loop import Network, distance, make_peer, peer_in_float64, run_peer, run_table
from wider import WIDER

from components.schedulers import scheduler_classes

TOLERANCE = 1e-5
CASES = [
    pytest.param(member, config, id=f"{member.name.removesuffix('Scheduler')}-{label(config)}")
    for member in FAMILY
    for config in member.configs()
]


def tried(member: Member, config: Config) -> tuple[int, ...]:
    return STEPS if config == SD else member.steps


def test_every_scheduler_is_in_the_family() -> None:
    assert set(scheduler_classes()) == set(MEMBERS) | {member.name for member in WIDER}


@pytest.mark.parametrize(("member", "config"), CASES)
def test_trajectory(member: Member, config: Config) -> None:
    problems = []
    for steps in tried(member, config):
        cell = Cell(member, config, steps)
        entry = difference_in(cell)
        problem = _agrees(cell) if entry is None else _differs_as_said(cell, entry)
        if problem:
            problems.append(f"{steps} steps: {problem}")
    assert not problems


def _agrees(cell: Cell) -> str | None:
    off = in_float32 = distance(cell.run(), cell.run_peer())
    if not off <= TOLERANCE:  # of numbers the peer keeps in float32, the last digit differs with the processor
        with peer_in_float64():
            off = distance(cell.run(), cell.run_peer())
    return None if off <= TOLERANCE else f"{in_float32:.1e} from the peer, {off:.1e} with its numbers in float64"


def _differs_as_said(cell: Cell, entry: Difference) -> str | None:
    """None, or in what the list is wrong about this cell."""
    ours = cell.run()
    assert torch.isfinite(ours).all()
    _ends_where_it_should(cell)
    try:
        peer = cell.run_peer()
    except Exception as error:
        return None if entry.peer == RAISES else f"the peer raises {error!r}, but the list says it {entry.peer}"
    off = distance(ours, peer)
    if entry.peer == NAN:
        return None if np.isnan(off) else f"the list says that the peer gives nan, but it is {off:.1e} away"
    if entry.peer == RAISES:
        return f"the list says that the peer raises, but it is {off:.1e} away"
    if entry.witness is None and off <= TOLERANCE:
        return f"the list says that the peer differs, but it is {off:.1e} away"
    if entry.remedy is not None and not (left := entry.remedy(cell)) <= TOLERANCE:
        return f"{off:.1e} from the peer, and still {left:.1e} where {entry.remedy.__name__}"
    return None


def _ends_where_it_should(cell: Cell) -> None:
    """On a data set of one point our table ends at alpha c, with variance sigma^2 unless it declares another."""
    table = cell.table()
    if not table.unchecked:
        mean, variance = ends_on_a_point(table, cell.effective["prediction_type"])
        alpha, sigma = table.land[-1]
        assert mean == pytest.approx(alpha, abs=1e-7)
        if np.isnan(table.declared).all():
            assert variance == pytest.approx(sigma**2, abs=1e-7)


@pytest.mark.parametrize("entry", [e for e in PEER_DIFFERS if e.witness], ids=lambda e: e.why)
def test_where_digits_are_lost_some_cell_shows_it(entry: Difference) -> None:
    config, steps = entry.witness  # pyright: ignore
    cells = [Cell(MEMBERS[name], config, steps) for name in entry.schedulers]
    for cell in cells:
        assert difference_in(cell) is entry
    assert any(distance(cell.run(), cell.run_peer()) > TOLERANCE for cell in cells)


def test_no_entry_of_the_list_is_idle() -> None:
    cells = (Cell(member, c, n) for member in FAMILY for c in member.configs() for n in tried(member, c))
    met = {id(difference_in(cell)) for cell in cells}
    assert [entry.why for entry in PEER_DIFFERS if id(entry) not in met] == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DDPMScheduler", {"timestep_spacing": "leading"}),
        ("DDIMScheduler", {"timestep_spacing": "leading"}),
        ("PNDMScheduler", {"timestep_spacing": "leading", "skip_prk_steps": True}),
        ("EulerDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing"}),
        ("DPMSolverMultistepScheduler", {"timestep_spacing": "trailing", "algorithm_type": "sde-dpmsolver++"}),
    ],
)
def test_a_thousand_steps(name: str, config: Config) -> None:
    """With the peer in float64: over a thousand steps its float32 coefficients alone come to more than 1e-5."""
    assert all_in_float64(Cell(MEMBERS[name], SD | config, 1000)) <= TOLERANCE


ALIGN_YOUR_STEPS = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
"""arXiv 2404.14507, table 3, as timesteps of SD 1.5."""


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DDPMScheduler", {}),
        ("EulerDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ],
)
def test_listed_timesteps(name: str, config: Config) -> None:
    member = MEMBERS[name]
    peer = run_peer(make_peer(name, SD | config, timesteps=ALIGN_YOUR_STEPS))
    table = member.cls(**SD, **config).tableau(timesteps=ALIGN_YOUR_STEPS)
    noise = torch.float32 if member.float32_noise else torch.float64
    assert distance(run_table(table, noise_dtype=noise), peer) <= TOLERANCE


def test_listed_sigmas() -> None:
    """Euler is the one peer that takes them for these checkpoints."""
    sigmas = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0]
    peer = run_peer(make_peer("EulerDiscreteScheduler", SD, sigmas=sigmas))
    ours = run_table(MEMBERS["EulerDiscreteScheduler"].cls(**SD).tableau(sigmas=sigmas))
    assert distance(ours, peer) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "config", "steps"),
    [
        ("DDIMScheduler", {"timestep_spacing": "linspace", "clip_sample": False}, 10),
        ("DDIMScheduler", {"timestep_spacing": "trailing", "clip_sample": False}, 27),
        ("PNDMScheduler", {"timestep_spacing": "linspace", "skip_prk_steps": True}, 10),
        ("PNDMScheduler", {"timestep_spacing": "trailing", "skip_prk_steps": True}, 27),
        ("PNDMScheduler", {"timestep_spacing": "leading"}, 9),
    ],
)
def test_a_row_that_lands_elsewhere_than_the_next_one_reads_leaves_the_solution(
    name: str, config: Config, steps: int
) -> None:
    """Data of one point, c = 0.7, has the solution x = alpha c + sigma eps with one eps; ours never leaves it."""
    cell = Cell(MEMBERS[name], SD | config, steps)
    entry = difference_in(cell)
    assert entry is not None and entry.peer == DIFFERS
    betas = np.linspace(SD["beta_start"] ** 0.5, SD["beta_end"] ** 0.5, 1000) ** 2
    alphas = np.sqrt(np.cumprod(1 - betas))

    def largest_miss(run: Callable[[Network], object]) -> float:
        implied = []

        def knows(x: torch.Tensor, timestep: float) -> torch.Tensor:
            assert timestep == int(timestep)
            alpha = alphas[int(timestep)]
            implied.append((x - 0.7 * alpha) / np.sqrt(1 - alpha**2))
            return implied[-1]

        run(knows)
        return max(float((eps - implied[0]).abs().max()) for eps in implied)

    assert largest_miss(lambda network: run_table(cell.table(), network)) < 1e-11
    assert largest_miss(lambda network: run_peer(cell.peer(), network)) > 1e-3


def test_ddpm_fixed_large_log_is_fixed_large() -> None:
    """Storing a variance as its logarithm changes nothing of the variance."""
    log, plain = (MEMBERS["DDPMScheduler"].cls(variance_type=v).tableau(10) for v in ("fixed_large_log", "fixed_large"))
    np.testing.assert_array_equal(log.update, plain.update)


def test_third_order_sde_looks_back_less_and_less_as_steps_shrink() -> None:
    """A multistep method with small steps is x' = x + O(h): what is left of the earlier outputs vanishes with h."""
    scheduler = MEMBERS["DPMSolverMultistepScheduler"].cls(solver_order=3, algorithm_type="sde-dpmsolver++")
    back = [
        np.abs(scheduler.tableau(sigmas=np.geomspace(3, 3 * np.exp(-20 * h), 21).tolist()).update[:, 0, 1:3]).max()
        for h in (0.005, 0.0025, 0.00125)
    ]
    np.testing.assert_allclose([back[0] / back[1], back[1] / back[2]], 2, rtol=0.1)
