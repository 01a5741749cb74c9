"""The old names in the caller's own loop: the x that the table gives, and that the reference library gives.

Expected values: the reference loops of reference_loop.py; float32 arithmetic leaves 1e-5 between two orders of adding.
"""

import inspect
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from family import FAMILY, SD
from reference_loop import SHAPE, run_table, stand_in

from components.schedulers import DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, SchedulerConfigError

MEMBERS = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)


def own_loop(scheduler: Any, x: torch.Tensor, generator: Any, steps: int = 10, **options: Any) -> torch.Tensor:
    """What a user's script does, unchanged but for where the scheduler comes from."""
    scheduler.set_timesteps(steps)
    x = x * scheduler.init_noise_sigma
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    for t in scheduler.timesteps:
        output = stand_in(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(output, t, x, **options).prev_sample
    return x


@MEMBERS
def test_a_callers_loop_walks_the_table(member: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, generator=generator).double()
    table = member.cls(**SD).tableau(10)
    table = replace(table, timestep=np.float64(np.float32(table.timestep)))  # as the caller is handed them
    assert torch.allclose(own_loop(member.cls(**SD), x, generator), run_table(table), rtol=1e-9, atol=1e-9)


@MEMBERS
def test_one_changed_import_and_the_same_picture(member: Any) -> None:
    def drawn(scheduler: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return own_loop(scheduler, torch.randn((2, *SHAPE[1:]), generator=generator), generator)

    expected = drawn(getattr(diffusers, member.name)(**SD))
    assert torch.allclose(drawn(member.cls(**SD)), expected, atol=1e-4 * float(expected.abs().max()))


def test_a_list_of_generators_draws_each_image_for_itself() -> None:
    def drawn(seeds: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x = torch.cat([torch.randn(SHAPE, generator=g) for g in generators])
        return own_loop(DDIMScheduler(**SD), x, generators, eta=1.0)

    assert torch.equal(drawn([4, 5])[1:], drawn([5]))


def test_numpy_in_numpy_out() -> None:
    scheduler = EulerDiscreteScheduler(**SD)
    scheduler.set_timesteps(4)
    x = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32) * np.float32(
        scheduler.init_noise_sigma
    )
    for t in scheduler.timesteps:
        x = scheduler.step(0.1 * scheduler.scale_model_input(x, t), t, x).prev_sample
    assert isinstance(x, np.ndarray) and x.dtype == np.float32


def test_thresholding_of_the_callers_array_is_per_image() -> None:
    scheduler = DDIMScheduler(**SD, clip_sample=False, thresholding=True, sample_max_value=2.0)
    scheduler.set_timesteps(2)
    x = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    both = scheduler.step(torch.zeros_like(x), 500, x).pred_original_sample
    scheduler.set_begin_index(0)
    alone = scheduler.step(torch.zeros_like(x[:1]), 500, x[:1]).pred_original_sample
    assert torch.equal(both[:1], alone) and both.abs().max() <= 1


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_noise_is_added_as_the_reference_adds_it(name: str) -> None:
    ours = next(member.cls for member in FAMILY if member.name == name)(**SD)
    theirs = getattr(diffusers, name)(**SD)
    x0, noise = torch.randn((2, 1, 4, 8, 8), generator=torch.Generator().manual_seed(1)).unbind(0)
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    t = theirs.timesteps[3:4]
    assert torch.allclose(ours.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t), atol=1e-5)


def test_a_run_can_begin_in_the_middle() -> None:
    scheduler = HeunDiscreteScheduler(**SD)
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(4)
    t = scheduler.timesteps[4]
    x = torch.ones(SHAPE)
    assert torch.allclose(scheduler.scale_model_input(x, t), x / (scheduler.sigmas[4] ** 2 + 1) ** 0.5, rtol=1e-6)
    assert (scheduler.order, len(scheduler), len(scheduler.timesteps)) == (2, 1000, 19)


def test_what_goes_wrong_is_said() -> None:
    scheduler = DDIMScheduler(**SD)
    with pytest.raises(ValueError, match="call set_timesteps first"):
        scheduler.step(torch.zeros(SHAPE), 1, torch.zeros(SHAPE))
    with pytest.raises(SchedulerConfigError, match="must descend"):
        scheduler.set_timesteps(timesteps=[1, 500])
