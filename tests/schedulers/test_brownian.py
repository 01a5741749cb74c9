"""Noise from a Brownian path: the tree of the reference library, increments that add up, and one path for any N."""

import warnings

import numpy as np
import pytest
import torch
from family import SD
from reference_loop import SHAPE, distance, make_peer, run_peer, run_table
from test_facade import own_loop

from components.schedulers import find_scheduler
from components.schedulers.brownian import BrownianTree

warnings.filterwarnings("ignore", module="torchsde")
COSINE = "CosineDPMSolverMultistepScheduler"


@pytest.mark.parametrize("steps", [2, 3, 5, 10, 27])
def test_the_tree_is_the_peers(steps: int) -> None:
    """At the peer's own float32 sigmas, since a path is rough: a time that is one bit off makes 1e-4."""
    peer = make_peer(COSINE, {}, steps)
    table = find_scheduler(COSINE)().tableau(steps)
    sigmas = peer.sigmas.double().numpy()
    table.noise_span[:] = np.where(np.isnan(table.noise_span), np.nan, np.stack([sigmas[:-1], sigmas[1:]], -1))
    assert distance(run_table(table, seed=7), run_peer(peer, seed=7)) <= 1e-5


def test_two_evaluations_of_a_step_share_its_path() -> None:
    """Both stages' peer samples the whole step at once; ours adds the two halves up."""
    config = SD | {"timestep_spacing": "trailing", "noise_sampler_seed": 5}
    peer = run_peer(make_peer("DPMSolverSDEScheduler", config, 2), seed=5)
    ours = run_table(find_scheduler("dpmpp_sde")(**config).tableau(2), seed=5)
    assert distance(ours, peer) <= 1e-3


def test_increments_add_up_and_have_unit_variance() -> None:
    path = BrownianTree(3, (1, 4, 32, 32), 0.03, 14.6)
    whole, first, second = path.unit((9.0, 1.0)), path.unit((9.0, 3.0)), path.unit((3.0, 1.0))
    torch.testing.assert_close(whole * 8**0.5, first * 6**0.5 + second * 2**0.5, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(path.unit((1.0, 9.0)), -whole)
    assert float(whole.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(BrownianTree(3, (1, 4, 32, 32), 0.03, 14.6).unit((9.0, 1.0)), whole)


def test_more_steps_follow_the_same_path_nearer() -> None:
    """Pictures of 100 and 200 steps of one seed are alike; of two seeds they are not."""

    def picture(steps: int, seed: int) -> torch.Tensor:
        table = find_scheduler("dpmpp_sde")(**SD).tableau(sigmas=np.geomspace(14.6, 0.5, steps + 1).tolist())
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(SHAPE, generator=generator).double() * table.init_noise_sigma
        path = BrownianTree(seed, SHAPE, *(table.brownian or ()), dtype=torch.float64)
        state = torch.cat([x, 0 * x])
        for n in range(table.rows):
            x0 = 0.3 * torch.tanh(state[:1])
            output = (state[:1] - x0) / table.read[n, 1]
            sources = torch.cat([state, output, x0, path.unit(table.noise_span[n])])
            state = torch.tensordot(torch.from_numpy(table.update[n]), sources, 1)
        return state[:1]

    assert distance(picture(200, 1), picture(100, 1)) < 0.5 * distance(picture(200, 2), picture(100, 1))


def test_a_callers_loop_walks_the_same_path() -> None:
    scheduler = find_scheduler(COSINE)()
    table = scheduler.tableau(10)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(SHAPE, generator=generator).double()
    torch.testing.assert_close(own_loop(scheduler, x, generator), run_table(table, seed=4), rtol=1e-6, atol=1e-6)


def test_the_clock_of_the_path_is_sigma_and_its_spans_meet() -> None:
    table = find_scheduler("dpmpp_sde")(**SD).tableau(10)
    spans = table.noise_span[table.takes_noise]
    np.testing.assert_allclose(spans[1:, 0], spans[:-1, 1])
    assert table.brownian == (pytest.approx(spans.min()), pytest.approx(spans.max()))


def test_a_loop_with_a_generator_for_each_image_has_a_path_for_each() -> None:
    """Seeds of the configuration, one for each, do the same."""

    def stepped(x: torch.Tensor, generator: object, **options: object) -> torch.Tensor:
        scheduler = find_scheduler("dpmpp_sde")(**options)
        scheduler.set_timesteps(3)
        for t in scheduler.timesteps:
            x = scheduler.step(0.1 * x, t, x, generator=generator).prev_sample
        return x

    x = torch.ones(2, 4, 8, 8)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = stepped(x, generators)
    torch.testing.assert_close(both, stepped(x, None, noise_sampler_seed=[1, 2]))
    for i, generator in enumerate(generators):
        torch.testing.assert_close(both[i : i + 1], stepped(x[:1], generator))
    with pytest.raises(ValueError, match="1 seeds of Brownian paths are given for 2 images"):
        stepped(x, generators[:1])
