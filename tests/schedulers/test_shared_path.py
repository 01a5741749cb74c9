"""One Brownian path for an image: every sampler of the SDE follows it, nearer the more steps it takes.

The network is the exact denoiser of an even mixture of N(1, 1/4) and N(-1, 1/4), each pixel by itself, so the samplers
solve one and the same nonlinear SDE and can be compared pixel by pixel.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from family import SD, Config
from reference_loop import stand_in
from test_facade import own_loop

from components.schedulers import Tableau, find_scheduler
from components.schedulers.brownian import NoisePathError, SharedPath
from runner.backends.torch_engine import compile_table, run, start
from runner.backends.torch_noise import BrownianNoise
from runner.compose import compose
from runner.errors import RecipeError
from runner.plan import make_plan

SDE: Config = {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min", "lower_order_final": False}
TAU: Config = {"tau": {"start": 0, "end": 1000, "value": 1.0}}
UNCLIPPED: Config = {"clip_sample": False}
SAMPLERS: tuple[tuple[str, Config], ...] = (
    ("euler_a", SD),
    ("ddpm", SD | UNCLIPPED),
    ("ddim", SD | UNCLIPPED | {"eta": 1.0}),
    ("unclip", UNCLIPPED),
    ("dpm2_a", SD),
    ("dpmpp_sde", SD),
    *(("dpmpp_2m", SD | SDE | {"solver_order": order}) for order in (1, 2, 3)),
    *(("dpmpp_2s", SD | SDE | {"solver_order": order}) for order in (1, 2, 3)),
    ("edm_dpmpp_2m", SDE),
    ("cosine_dpmpp_2m_sde", {}),
    ("sa_solver", SD | TAU),
)
PIXELS = 1000


def table_of(name: str, config: Config, steps: int) -> Tableau:
    scheduler = find_scheduler(name)(**config)
    sigmas = np.geomspace(10, 0.3, steps + 1).tolist()
    return scheduler.tableau(sigmas=sigmas, run=scheduler.with_run(shared_path=True))


def picture(name: str, config: Config, steps: int, seed: int = 1) -> np.ndarray:
    """x / alpha (PIXELS,) at sigma / alpha = 0.3, from the same start and along the path of `seed`."""
    table, path = table_of(name, config, steps), SharedPath(seed, (PIXELS,))
    state = np.zeros((table.registers, PIXELS))
    state[0] = np.hypot(table.read[0, 0], table.read[0, 1]) * np.random.default_rng(0).standard_normal(PIXELS)
    for n in range(table.rows):
        alpha, sigma = table.read[n]
        x, variance = state[0] / alpha, 0.25 + (sigma / alpha) ** 2
        x0 = (0.25 * x + (variance - 0.25) * np.tanh(x / variance)) / variance
        output = (x0 - table.to_x0[n, 0] * state[0]) / table.to_x0[n, 1]
        noise = path.unit(table.noise_span[n]) if table.takes_noise[n] else np.zeros(PIXELS)
        state = table.update[n] @ np.stack([*state, output, x0, noise])
    return state[0] / table.land[-1, 0]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


@pytest.fixture(scope="module")
def solution() -> np.ndarray:
    return picture("dpmpp_2m", SD | SDE, 1280)


@pytest.mark.parametrize(("name", "config"), SAMPLERS)
def test_strong_order_is_one(name: str, config: Config, solution: np.ndarray) -> None:
    """N and 2N steps along one path end half as far apart as N/2 and N, and all samplers tend to one picture."""
    few, some, many = (picture(name, config, steps) for steps in (80, 160, 320))
    assert np.log2(apart(few, some) / apart(some, many)) == pytest.approx(1, abs=0.2)
    assert apart(many, solution) < 0.02
    assert apart(picture(name, config, 40, seed=2), solution) > 0.5


def test_samplers_that_take_one_step_alike_make_one_picture() -> None:
    """Euler a, DDPM and DDIM of eta 1 are one method; only independent draws ever made them differ in scale."""
    first, *others = (picture(name, config, 20) for name, config in SAMPLERS[:4])
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("lcm", {}),
        ("tcd", {"eta": 1.0}),
        ("flow_lcm", {}),
        ("ddim", {"eta": 0.5}),
        ("ddpm", {"variance_type": "fixed_large"}),
        ("ddpm", {"variance_type": "learned_range"}),
        ("euler", {"s_churn": 5.0}),
        ("dpmpp_2m", {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}),
    ],
)
def test_noise_of_another_law_is_refused_by_row(name: str, config: Config) -> None:
    scheduler = find_scheduler(name)(**config)
    with pytest.raises(NoisePathError, match=r"row [01] adds noise that is not the SDE's"):
        scheduler.tableau(10, run=scheduler.with_run(shared_path=True))


@pytest.mark.parametrize("name", ["ddim", "heun", "unipc", "dpmpp_2m"])
def test_samplers_without_noise_need_no_path(name: str) -> None:
    scheduler = find_scheduler(name)(**SD)
    table = scheduler.tableau(10, run=scheduler.with_run(shared_path=True))
    assert table.brownian is None and not table.takes_noise.any()
    np.testing.assert_array_equal(table.update, scheduler.tableau(10).update)


# ---- the path ------------------------------------------------------------------------------------------------------

SPANS = [(0.0, 1e-12), (1e-12, 0.004), (0.004, 0.0041), (0.0041, 7.9), (7.9, 8.0), (8.0, 1e5), (1e5, 1.001e5)]


def test_increments_are_standard_normal_and_independent() -> None:
    path = SharedPath(3, (40_000,))
    draws = np.stack([path.unit(span) for span in SPANS])
    np.testing.assert_allclose(np.corrcoef(draws), np.eye(len(SPANS)), atol=0.03)
    np.testing.assert_allclose(draws.std(1), 1, atol=0.02)
    np.testing.assert_allclose(draws.mean(1), 0, atol=0.02)


def test_increments_add_up_whatever_was_asked_before() -> None:
    path, other = SharedPath(3, (4, 8)), SharedPath(3, (4, 8))
    whole, first, second = path.unit((1.0, 9.0)), other.unit((3.3, 9.0)), other.unit((1.0, 3.3))
    np.testing.assert_allclose(whole * 8**0.5, first * 5.7**0.5 + second * 2.3**0.5, atol=1e-6)
    np.testing.assert_array_equal(path.unit((9.0, 1.0)), -whole)
    np.testing.assert_array_equal(SharedPath(3, (4, 8)).unit((1.0, 9.0)), whole)
    assert np.abs(SharedPath(4, (4, 8)).unit((1.0, 9.0)) - whole).max() > 0.5


# ---- where it is asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["euler_a", "dpmpp_sde"])
def test_the_engine_and_a_callers_loop_walk_it(name: str) -> None:
    scheduler = find_scheduler(name)(**SD)
    run_options = scheduler.with_run(shared_path=True)
    table, shape = scheduler.tableau(10, run=run_options), (1, 4, 8, 8)
    noise, path = BrownianNoise(table, [7], shape[1:]), SharedPath(7, shape)
    noise.draw()
    for span in table.noise_span[table.takes_noise]:
        np.testing.assert_array_equal(noise.draw(), path.unit(span).astype(np.float32))

    generator, program = torch.Generator().manual_seed(7), compile_table(table)
    source = BrownianNoise(table, [7], shape[1:])
    made = run(program, start(program, source), lambda x, t: stand_in(x, float(t)), source).registers[0]
    scheduler.run = run_options
    theirs = own_loop(scheduler, torch.randn(shape, generator=generator), generator)
    torch.testing.assert_close(made, theirs, rtol=1e-4, atol=1e-4)


def test_a_recipe_asks_for_it() -> None:
    plan = make_plan(compose(["recipe=shapes", "scheduler=euler_a", "noise.path=brownian"]).base)
    assert plan.tableau.brownian == (0.0, np.inf)
    assert make_plan(compose(["recipe=shapes", "scheduler=euler_a"]).base).tableau.brownian is None


def test_a_recipe_of_another_law_is_refused_at_its_key() -> None:
    with pytest.raises(RecipeError, match=r"noise\.path: LCMScheduler: row 0 adds noise that is not the SDE's"):
        make_plan(compose(["recipe=shapes", "scheduler=lcm", "noise.path=brownian"]).base)
