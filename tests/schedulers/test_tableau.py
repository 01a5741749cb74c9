"""A table stands for its own mathematics: wrong ones are refused, several run as one, a formula gives its matrix."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from family import FAMILY, SD, Config, Member, label
from reference_loop import run_table, stand_in
from wider import WIDER

from components.schedulers import Clip, Tableau, TableauError, scheduler_classes, stack, stackable
from components.schedulers.tableau import Level, Rows, State, trace
from runner.backends.torch_engine import compile_table, run, start
from runner.backends.torch_noise import BrownianNoise, IndependentNoise

CONFIGS = [
    pytest.param(member, config, id=f"{member.name}-{label(config)}")
    for member in FAMILY
    for config in (SD, SD | {"prediction_type": "v_prediction"}, *(SD | extra for extra in member.extra))
    if not member.cls(**config).tableau(2).unchecked
]
WIDER_CONFIGS = [
    pytest.param(member, config, id=f"{member.name}-{label(config)}")
    for member in WIDER
    for config in (member.base, *(member.base | extra for extra in member.extra))
    if not member.cls(**config).tableau(2).unchecked
]
STOCHASTIC = [
    pytest.param(next(m for m in FAMILY if m.name == name), SD | config, id=f"{name}-{label(config)}")
    for name, config in (
        ("DDIMScheduler", {"eta": 0.5}),
        ("DDIMScheduler", {"eta": 1.0, "use_clipped_model_output": True}),
        ("EulerDiscreteScheduler", {"s_churn": 4.0}),
        ("DDPMScheduler", {"variance_type": "fixed_large"}),
    )
]


def live(table: Tableau) -> np.ndarray:
    """(N, R, R + 3): the coefficients on which some x depends.

    The others multiply a register that is still all zero, or fill one that no later row reads.
    """
    registers = table.registers
    used = np.abs(table.update) > 1e-12  # below: the weights of a last step of no size
    filled, full = np.arange(registers) == 0, np.ones((table.rows, registers + 3), bool)
    for n in range(table.rows):
        full[n, :registers] = filled
        filled = (used[n] & full[n]).any(1)
    wanted, reaching = np.arange(registers) == 0, np.empty((table.rows, registers), bool)
    for n in reversed(range(table.rows)):
        reaching[n] = wanted
        wanted = (used[n, :, :registers] & wanted[:, None]).any(0) | (np.arange(registers) == 0)
    return used & full[:, None] & reaching[..., None]


# ---- verify --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "config"), CONFIGS + STOCHASTIC + WIDER_CONFIGS)
def test_any_one_coefficient_off_by_a_thousandth_is_refused(member: Member, config: Config) -> None:
    table = member.cls(**config).tableau(5)
    coefficients = np.argwhere(live(table))
    assert len(coefficients) >= table.rows
    for index in map(tuple, coefficients):
        # A thousandth of a coefficient that small moves x by less than the proof can see.
        share = 1e-3 * table.update[index] if abs(table.update[index]) > 1e-3 else 1e-3
        for off in (1e-3, -1e-3, share):
            update = table.update.copy()
            update[index] += off
            with pytest.raises(TableauError, match="on a point mass"):
                replace(table, update=update).verify()


@pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)
def test_a_coefficient_no_x_depends_on_changes_no_picture(member: Member) -> None:
    """What the test above leaves out may be anything: here it is made large."""
    table = member.cls(**SD).tableau(5)
    update = np.where(live(table) | (table.update == 0), table.update, 1000.0)
    assert torch.equal(run_table(replace(table, update=update)), run_table(table))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["timestep", "input_scale", "update", "read", "land"])
def test_a_number_that_is_not_finite_is_refused_by_row_and_name(name: str, value: float) -> None:
    table = scheduler_classes()["EulerDiscreteScheduler"](**SD).tableau(5)
    column = getattr(table, name).copy()
    column[3, ...] = value
    with pytest.raises(TableauError, match=f"^row 3: {name} is not finite$"):
        replace(table, **{name: column}).verify()


@pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)
def test_a_row_that_lands_elsewhere_than_the_next_one_reads_is_refused(member: Member) -> None:
    table = member.cls(**SD).tableau(5)
    land = table.land.copy()
    land[2] *= 1.001
    with pytest.raises(TableauError, match=r"row 2 lands at .* but row 3 reads at"):
        replace(table, land=land).verify()


@pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)
def test_last_row_that_lands_elsewhere_than_it_says_is_refused(member: Member) -> None:
    table = member.cls(**SD).tableau(5)
    land = table.land.copy()
    land[-1] += 1e-3
    with pytest.raises(TableauError, match=f"row {table.rows - 1}: "):
        replace(table, land=land).verify()


def test_long_steps_on_cosine_betas_are_rounding_and_no_error() -> None:
    """Heun from sigma 24,000 to 0.006: the second slope multiplies the first one's rounding by 1e12."""
    scheduler = scheduler_classes()["HeunDiscreteScheduler"](beta_schedule="squaredcos_cap_v2")
    table = scheduler.tableau(2)
    assert table.read[0, 1] > 20_000
    update = table.update.copy()
    update[0, 0, 0] += 1e-3
    with pytest.raises(TableauError, match="on a point mass"):
        replace(table, update=update).verify()


# ---- stack ---------------------------------------------------------------------------------------------------------

CROWD: tuple[tuple[str, Config], ...] = (
    ("DDPMScheduler", {"clip_sample": False}),
    ("DDIMScheduler", {"clip_sample": False, "eta": 0.5}),
    ("PNDMScheduler", {"skip_prk_steps": True}),
    ("LMSDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3}),
)
ROWS = 13
"""Thirteen rows are 13 steps, or 12 of PNDM (one evaluation more), or 7 of Heun (two a step but the last)."""


def crowd() -> list[Tableau]:
    steps = {"PNDMScheduler": 12, "HeunDiscreteScheduler": 7}
    return [scheduler_classes()[name](**SD, **config).tableau(steps.get(name, ROWS)) for name, config in CROWD]


def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    clock = timestep.reshape(-1, 1, 1, 1)
    return 0.9 * torch.tanh(0.7 * x + 0.3 * torch.sin(clock / 300)) + 0.05 * x


def test_eight_schedulers_in_one_batch_are_the_eight_alone_in_torch() -> None:
    tables, shape = crowd(), (4, 8, 8)
    assert {table.rows for table in tables} == {ROWS}
    program, noise = compile_table(stack(tables)), IndependentNoise(range(8), shape)
    together = run(program, start(program, noise), network, noise).registers[0]
    assert together is not None and together.shape == (8, *shape)
    for i, table in enumerate(tables):
        program, noise = compile_table(table), IndependentNoise([i], shape)
        alone = run(program, start(program, noise), network, noise).registers[0]
        assert alone is not None
        assert float((together[i] - alone[0]).norm() / alone.norm()) <= 1e-6, CROWD[i]


def test_eight_schedulers_in_one_batch_are_the_eight_alone_by_the_definition() -> None:
    tables = crowd()
    both = stack(tables)
    assert both.update.shape == (8, ROWS, 6, 9)
    assert both.rows == ROWS and both.registers == 6
    for i, table in enumerate(tables):
        columns = ("timestep", "input_scale", "to_x0", "update", "noise_span", "read", "land", "init_noise_sigma")
        one = replace(table, **{name: getattr(both, name)[i] for name in columns})
        np.testing.assert_array_equal(one.takes_noise, table.takes_noise)
        assert float((run_table(one) - run_table(table)).abs().max()) <= 1e-12


def named(name: str, steps: int = ROWS, **config: Any) -> Tableau:
    return scheduler_classes()[name](**config).tableau(steps)


MIXED = {
    "not clipped": named("EulerDiscreteScheduler", **SD),
    "clipped": named("DDIMScheduler", clip_sample_range=0.3),
    "clipped, eta 1": named("DDPMScheduler", clip_sample_range=0.3),
    "learned variance": named("DDPMScheduler", **SD, clip_sample=False, variance_type="learned_range"),
    "draws of its own": named("EulerAncestralDiscreteScheduler", **SD),
    "a path": named("CosineDPMSolverMultistepScheduler"),
    "another path": named("DPMSolverSDEScheduler", 7, **SD),
}
"""What may differ between the images of a batch beside coefficients: clipping at all, the draws' size, their source."""


def test_clipping_variance_and_the_source_of_noise_are_each_images_own() -> None:
    tables, shape = list(MIXED.values()), (4, 8, 8)

    def predicts_a_variance(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.cat([network(x, timestep), torch.sin(3 * x)], 1)

    def picture(table: Tableau, seeds: Sequence[int]) -> torch.Tensor:
        program = compile_table(table)
        noise = (BrownianNoise if table.brownian is not None else IndependentNoise)(*sources(table, seeds))
        made = run(program, start(program, noise), predicts_a_variance, noise).registers[0]
        assert made is not None
        return made

    def sources(table: Tableau, seeds: Sequence[int]) -> tuple[Any, ...]:
        return (seeds, shape) if table.brownian is None else (table, seeds, shape)

    assert stackable(tables)
    together = picture(stack(tables), range(len(tables)))
    for i, (what, table) in enumerate(MIXED.items()):
        alone = picture(table, [i])[0]
        assert float((together[i] - alone).norm() / alone.norm()) <= 1e-6, what


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (named("DDIMScheduler"), named("DDIMScheduler", ROWS + 1)),
        (named("DDIMScheduler"), named("DDIMScheduler", clip_sample_range=0.5)),
        (named("DDIMScheduler"), named("DDIMScheduler", thresholding=True)),
    ],
    ids=["row count", "range of clipping", "kind of clipping"],
)
def test_tables_that_cannot_share_a_batch_are_refused(one: Tableau, other: Tableau) -> None:
    assert stackable([one, one]) and not stackable([one, other])
    with pytest.raises(ValueError, match="equal row count, and with no two ways of clipping"):
        stack([one, other])


# ---- trace ---------------------------------------------------------------------------------------------------------


def levels() -> Level:
    alpha = np.array([0.6, 0.8, 1.0])
    return Level(np.array([900.0, 400.0, 0.0]), alpha, np.sqrt(1 - alpha**2), np.ones(3))


def eps_network(at: Level) -> tuple[Any, ...]:
    """x0 = (x - sigma output) / alpha, eps = output."""
    return 1 / at.alpha, -at.sigma / at.alpha, 0 * at.alpha, 1 + 0 * at.alpha


def traced(update: Any, clip: Clip | None = None) -> Tableau:
    at = levels()
    rows = Rows(np.arange(2), at[:2], at[1:], update, np.arange(2), noise=np.array([True, False]))
    return trace([rows], history=1, parameterisation=eps_network, init_noise_sigma=1.0, clip=clip)


def formula(s: State) -> tuple[Any, Any]:
    return 2 * s.x + 3 * s.h[0] + 5 * s.output + 7 * s.x0 + 11 * s.eps + 13 * s.noise, s.x - s.output


def test_a_formula_gives_its_matrix() -> None:
    """By hand, with x0 = (x - 0.8 output) / 0.6 in row 0 and (x - 0.6 output) / 0.8 in row 1."""
    table = traced(formula)
    #          x                h  output                      x0  noise
    expected = [
        [[2 + 7 / 0.6, 3, 5 + 11 - 7 * 0.8 / 0.6, 0, 13], [1, 0, -1, 0, 0]],
        [[2 + 7 / 0.8, 3, 5 + 11 - 7 * 0.6 / 0.8, 0, 13], [1, 0, -1, 0, 0]],
    ]
    np.testing.assert_allclose(table.update, expected, rtol=1e-14)
    np.testing.assert_allclose(table.to_x0, [[1 / 0.6, -0.8 / 0.6], [1 / 0.8, -0.6 / 0.8]], rtol=1e-14)
    np.testing.assert_array_equal(table.takes_noise, [True, False])
    np.testing.assert_allclose(table.noise_span[0], [0.36 / 0.64, 0.64 / 0.36], rtol=1e-12)


def test_with_clipping_x0_keeps_a_column_of_its_own() -> None:
    """Clipping acts on x0 between the network and the update, so nothing of x0 may be folded into x and the output."""
    table = traced(formula, Clip("range", 1.0))
    np.testing.assert_allclose(table.update[:, 0], [[2, 3, 16, 7, 13]] * 2, rtol=1e-14)


def test_history_left_out_stays_zero() -> None:
    table = traced(lambda s: (s.x,))
    np.testing.assert_array_equal(table.update[:, 1], 0)


def test_a_traced_row_does_what_the_formula_does() -> None:
    """The matrix applied to numbers is the formula applied to numbers."""
    rng, table, at = np.random.default_rng(0), traced(formula), levels()
    x, h, output, noise = rng.normal(size=(4, 6))
    for n in range(2):
        x0 = (x - at.sigma[n] * output) / at.alpha[n]
        given = SimpleNamespace(x=x, h=(h,), output=output, x0=x0, eps=output, noise=noise)
        direct = np.stack(formula(given))  # pyright: ignore
        np.testing.assert_allclose(table.update[n] @ np.stack([x, h, output, x0, noise]), direct, rtol=1e-12)


def test_shape_and_counts_of_a_table() -> None:
    table = scheduler_classes()["HeunDiscreteScheduler"](**SD).tableau(10)
    assert (table.rows, table.nfe, table.steps, table.registers) == (19, 19, 10, 3)
    np.testing.assert_array_equal(table.step, [*np.repeat(np.arange(9), 2), 9])
    assert run_table(table, stand_in).isfinite().all()
