"""Which row a timestep means in a loop of the caller's own, and what a loop gives that begins in the middle.

Expected values: the tables that test_late_start.py proves, and the reference library itself where it is right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from family import SD, Config, label
from late_start import (
    CASES,
    IMAGE,
    NOISE,
    SHAPE,
    after_rows,
    configured,
    known_draws,
    network,
    start_of,
    walked,
)

from components.schedulers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    find_scheduler,
)

NAMES = [f"{name}-{label(config)}" for name, config in CASES]


def begun(name: str, config: Config, steps: int, begin: int, said: bool) -> tuple[Any, int]:
    """(scheduler, row) at the row that starts a step, which is `said` or left to the first timestep."""
    cls, options = configured(name, config)
    scheduler = cls(**options)
    scheduler.set_timesteps(steps)
    row = int((scheduler.table.step == begin).argmax())
    if said:
        scheduler.set_begin_index(row)
    return scheduler, row


def assert_a_loop_begins(name: str, config: Config, steps: int, begin: int, said: bool) -> None:
    """Every row of a late loop is the late table's; and the reference's, where that has the same rows."""
    scheduler, row = begun(name, config, steps, begin, said)
    run: Any = scheduler.with_run(same_rows=True)
    table = type(scheduler)(**configured(name, config)[1]).tableau(steps, begin=begin, run=run)
    told = scheduler.timesteps
    with known_draws():
        seen = walked(scheduler, start_of(table), told[row:], {"generator": torch.Generator().manual_seed(0)})
    late = replace(table, timestep=told[row:].double().numpy())  # as the caller is handed them
    for ours, expected in zip(seen, after_rows(late), strict=True):
        assert (ours - expected).abs().max() < 1e-9 * max(1, expected.abs().max())
    assert torch.equal(scheduler.timesteps, told) and len(scheduler.sigmas) == len(told) + 1


@pytest.mark.parametrize("said", [True, False], ids=["set_begin_index", "first timestep"])
@pytest.mark.parametrize(("name", "config"), CASES, ids=NAMES)
def test_a_loop_begins_in_the_middle(name: str, config: Config, said: bool) -> None:
    assert_a_loop_begins(name, config, 12, 5, said)


@pytest.mark.slow
@pytest.mark.parametrize("said", [True, False], ids=["set_begin_index", "first timestep"])
@pytest.mark.parametrize("steps", [20, 12, 7])
@pytest.mark.parametrize(("name", "config"), CASES, ids=NAMES)
def test_a_loop_may_begin_anywhere(name: str, config: Config, steps: int, said: bool) -> None:
    for begin in {1, steps // 2, steps - 1}:
        assert_a_loop_begins(name, config, steps, begin, said)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "heun", "dpm2_a", "unipc"])
def test_an_image_to_image_script_gives_the_references_picture(name: str) -> None:
    """The loop as scripts have it: strength cuts the timesteps, x starts from add_noise."""

    def drawn(scheduler: Any) -> torch.Tensor:
        scheduler.set_timesteps(10)
        first = 4 * scheduler.order
        timesteps = scheduler.timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        x = scheduler.add_noise(IMAGE.float(), NOISE.float(), timesteps[:1])
        return walked(scheduler, x, timesteps, {"generator": torch.Generator().manual_seed(0)})[-1]

    cls, options = configured(name, {})
    assert torch.allclose(drawn(cls(**options)), drawn(getattr(diffusers, cls.__name__)(**options)), atol=2e-5)


# ---- which row a timestep means ------------------------------------------------------------------------------------


def ddim(steps: int = 10) -> Any:
    scheduler = DDIMScheduler(**SD, clip_sample=False)
    scheduler.set_timesteps(steps)
    return scheduler


def multistep(steps: int = 10) -> Any:
    scheduler = DPMSolverMultistepScheduler(**SD)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_without_history_rows_are_taken_in_any_order(name: str) -> None:
    """Each row by its timestep, twice over, backwards: what the reference gives, which looks them up as well."""
    ours, theirs = find_scheduler(name)(**SD, clip_sample=False), getattr(diffusers, name)(**SD, clip_sample=False)
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    for t in (*theirs.timesteps.flip(0), *theirs.timesteps):
        for x in (IMAGE, NOISE):
            found, expected = (
                s.step(network(x, float(t)), t, x, generator=torch.Generator().manual_seed(int(t)))
                for s in (ours, theirs)
            )
            assert torch.allclose(found.prev_sample, expected.prev_sample, atol=1e-5)
            assert torch.allclose(found.pred_original_sample, expected.pred_original_sample, atol=1e-5)


def test_with_history_only_the_next_row_is_taken() -> None:
    scheduler, x = multistep(), torch.ones(SHAPE)
    t = scheduler.timesteps
    scheduler.step(x, t[0], x)
    with pytest.raises(ValueError, match=r"999 is out of turn: DPMSolverMultistepScheduler looks back .* told 899"):
        scheduler.step(x, t[0], x)  # a second picture at the same timestep
    with pytest.raises(ValueError, match="out of turn"):
        scheduler.step(x, t[5], x)
    before = scheduler.step(x, t[1], x).prev_sample  # what was refused has changed nothing
    fresh = multistep()
    fresh.step(x, t[0], x)
    assert torch.equal(before, fresh.step(x, t[1], x).prev_sample)


def test_a_run_with_history_is_over_after_its_last_row() -> None:
    scheduler, x = multistep(3), torch.ones(SHAPE)
    for t in scheduler.timesteps:
        scheduler.step(x, t, x)
    with pytest.raises(ValueError, match="the run is over after 3 rows: call set_timesteps"):
        scheduler.step(x, scheduler.timesteps[0], x)
    scheduler.set_begin_index(0)
    assert scheduler.step(x, scheduler.timesteps[0], x).prev_sample is not None


@pytest.mark.parametrize("make", [ddim, multistep])
@pytest.mark.parametrize("wrong", [500.5, 3, 1500, -1, float("nan"), torch.tensor(998)])
def test_a_timestep_that_no_row_is_told_is_refused(make: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"is not one of this run's; the nearest is .* There are: 9"):
        make().step(torch.ones(SHAPE), wrong, torch.ones(SHAPE))


@pytest.mark.parametrize("wrong", [None, "abc", [999, 899], torch.tensor([999, 899])])
def test_a_timestep_is_one_number(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must be one number"):
        ddim().step(torch.ones(SHAPE), wrong, torch.ones(SHAPE))


@pytest.mark.parametrize(
    "told",
    [
        lambda t: t,
        lambda t: t[None],
        lambda t: t.expand(2),
        lambda t: float(t),
        lambda t: t.item(),
        lambda t: t.numpy(),
        lambda t: t.double(),
        lambda t: t.float(),
        lambda t: t.half(),
        lambda t: t.bfloat16(),
        lambda t: np.float64(t),
        lambda t: np.float16(t),
    ],
)
@pytest.mark.parametrize("name", ["dpmpp_2m", "euler", "heun"])
def test_a_timestep_may_come_in_any_format(name: str, told: Any) -> None:
    """In the middle of a run, where formats of few digits round it; 578.37 is no whole number."""
    cls, options = configured(name, {})
    one, other = cls(**options), cls(**options)
    one.set_timesteps(20)
    other.set_timesteps(20)
    x = torch.ones(SHAPE)
    for t in one.timesteps[8 * one.order :][:3]:
        assert torch.equal(one.scale_model_input(x, told(t)), other.scale_model_input(x, t))
        assert torch.equal(one.step(x, told(t), x).prev_sample, other.step(x, t, x).prev_sample)


def test_a_whole_timestep_may_be_an_int() -> None:
    x = torch.ones(SHAPE)
    assert torch.equal(multistep().step(x, 799, x).prev_sample, multistep().step(x, torch.tensor(799), x).prev_sample)


def test_scaling_takes_no_row() -> None:
    scheduler, x = HeunDiscreteScheduler(**SD), torch.ones(SHAPE)
    scheduler.set_timesteps(10)
    t = scheduler.timesteps
    for _ in range(3):
        assert torch.allclose(scheduler.scale_model_input(x, t[3]), x / (scheduler.sigmas[3] ** 2 + 1) ** 0.5)
    scheduler.step(x, t[0], x)
    with pytest.raises(ValueError, match=r"333\.25 is not one of this run's; the nearest is 333\. There"):
        scheduler.scale_model_input(x, 333.25)
    assert multistep().scale_model_input(x, 333.25) is x  # x is seen as it is, at any time
    assert DDIMScheduler().scale_model_input(x) is x


@pytest.mark.parametrize("name", ["heun", "dpm2", "dpm2_a", "dpmpp_sde", "flow_heun"])
def test_no_run_begins_in_the_middle_of_a_step(name: str) -> None:
    cls, options = configured(name, {})
    scheduler = cls(**options)
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match=r"begin_index is 7, in the middle of a step: .* row 6 .* and row 8"):
        scheduler.set_begin_index(7)
    for wrong in (-1, 19):
        with pytest.raises(ValueError, match=f"begin_index is {wrong}, but this run has 19 rows"):
            scheduler.set_begin_index(wrong)


def test_a_middle_that_is_told_a_timestep_of_its_own_is_no_beginning() -> None:
    scheduler = find_scheduler("dpm2")(**SD)
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="is told in the middle of a step, where no run can begin"):
        scheduler.step(torch.ones(SHAPE), scheduler.timesteps[5], torch.ones(SHAPE))


def test_the_first_row_may_be_told_by_its_timestep_after_set_begin_index() -> None:
    scheduler, other, x = multistep(), multistep(), torch.ones(SHAPE)
    scheduler.set_begin_index(0)
    t = scheduler.timesteps[6]
    assert torch.equal(scheduler.step(x, t, x).prev_sample, other.step(x, t, x).prev_sample)


def test_rows_told_the_same_whole_timestep_follow_one_another() -> None:
    """Karras levels at many steps: the smallest ones are told the same timesteps."""
    scheduler = DPMSolverMultistepScheduler(**SD, use_karras_sigmas=True)
    scheduler.set_timesteps(100)
    told = scheduler.timesteps
    assert len(told.unique()) < len(told)
    x = torch.ones(SHAPE)
    for n, t in enumerate(told):
        assert scheduler.step_index == (n or None)
        x = scheduler.step(0.1 * x, t, x).prev_sample


def test_a_step_option_holds_for_a_late_run_too() -> None:
    scheduler = find_scheduler("lms")(**SD)
    scheduler.set_timesteps(10)
    x, t = torch.ones(SHAPE), scheduler.timesteps
    for told in t[4:6]:
        x = scheduler.step(network(x, float(told)), told, x, order=2).prev_sample
    table = scheduler.tableau(10, begin=4, run=scheduler.with_run(order=2))
    expected = network(torch.ones(SHAPE), float(t[4]))
    one = float(table.update[0, 0, 0]) + float(table.update[0, 0, 2]) * expected
    assert scheduler.step_index == 6 and x.shape == one.shape
    with pytest.raises(ValueError, match="how far the method looks back"):
        scheduler.step(x, t[6], x, order=3)


def test_pndm_begins_at_a_step_whose_timestep_stands_twice() -> None:
    """Timestep t1 is told to the trapezoid's second half, and to step 1: a run begins at the step."""
    scheduler = PNDMScheduler(**SD, skip_prk_steps=True, steps_offset=1)
    scheduler.set_timesteps(10)
    t = scheduler.timesteps
    assert (t[1] == t[2], scheduler.index_for_timestep(t[1])) == (True, 2)
    with pytest.raises(ValueError, match="begin_index is 1, in the middle of a step"):
        scheduler.set_begin_index(1)


def test_a_consistency_models_noise_is_of_the_level_told() -> None:
    ours, theirs = CMStochasticIterativeScheduler(), diffusers.CMStochasticIterativeScheduler()
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
    for t in theirs.timesteps:
        found, expected = (s.add_noise(IMAGE, NOISE, t[None]) for s in (ours, theirs))
        assert torch.allclose(found, expected, rtol=1e-6)
    assert torch.allclose(ours.add_noise(IMAGE, NOISE, torch.tensor([250 * np.log(2.0)])), IMAGE + 2 * NOISE)
    with pytest.raises(ValueError, match=r"sigma lies between 0.002 and 80"):
        ours.add_noise(IMAGE, NOISE, torch.tensor([1500]))
