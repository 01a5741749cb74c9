"""The one way from a request to latents, on both backends: a run goes on from its own result, or from a picture's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from components.schedulers import Tableau, find_scheduler, stack
from runner.backends.base import Guidance, NoiseSpec, Start
from runner.backends.jax import Component, JaxBackend
from runner.backends.torch import TorchBackend
from runner.backends.torch_noise import GeneratorNoise
from runner.conditions import Conditions
from runner.families.unconditional import UNCONDITIONAL
from runner.sampling import Landed, Request, sample

SHAPE, STEPS, CUT, SEED = (2, 4, 4), 6, 2, 3
WITHOUT_HISTORY = (
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
)


class Toy(nnx.Module):
    """tanh of an image and a clock."""

    def __init__(self) -> None:
        self.weight, self.config = nnx.Param(jnp.asarray([0.6], jnp.float32)), None

    def __call__(self, x: Any, timestep: Any) -> Any:
        return SimpleNamespace(sample=jnp.tanh(self.weight[...] * x + timestep[:, None, None, None] / 900))


def torch_toy(x: torch.Tensor, timestep: torch.Tensor) -> Any:
    return SimpleNamespace(sample=torch.tanh(0.6 * x + timestep.reshape(-1, 1, 1, 1) / 900))


@pytest.fixture(params=["torch", "jax"], scope="module")
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "torch":
        return TorchBackend("cpu", "float32", None)
    backend = JaxBackend("cpu", "float32", None)
    backend.row_by_row = True
    return backend


def table(name: str, begin: int = 0) -> Tableau:
    return find_scheduler(name)().tableau(STEPS, begin=begin)


def draws(images: int, taken: int = 0) -> GeneratorNoise:
    """Of one generator for each image, from which so many draws are taken already."""
    noise = GeneratorNoise([torch.Generator().manual_seed(SEED + i) for i in range(images)], (images, *SHAPE))
    for _ in range(taken):
        noise.draw()
    return noise


def run(backend: Any, table: Tableau, noise: Any, start: Start | None = None, hook: Any = lambda _: None) -> np.ndarray:
    network = torch_toy if backend.name == "torch" else Component.of(Toy())
    request = Request(table, Conditions(), Guidance(1.0), noise, start, hook)
    return backend.to_numpy(sample(backend, UNCONDITIONAL, {"unet": network}, request).latents)


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.isfinite(expected).all()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def clean() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("name", WITHOUT_HISTORY)
def test_a_run_cut_at_a_step_and_taken_up_again_is_the_whole_run(backend: Any, name: str) -> None:
    seen: list[Landed] = []

    def hook(landed: Landed) -> None:
        if landed.row == CUT - 1:
            seen.append(landed)

    whole = table(name)
    expected = run(backend, whole, draws(2), hook=hook)
    (landed,) = seen
    assert landed.request.table is whole and landed.level.tolist() == whole.land[CUT - 1].tolist()
    start = Start(backend.to_numpy(landed.x), *landed.level)
    taken = 1 + int(whole.takes_noise[:CUT].sum())
    assert_equal(run(backend, table(name, CUT), draws(2, taken), start), expected)


@pytest.mark.parametrize("name", WITHOUT_HISTORY)
def test_clean_latents_get_the_noise_of_the_level_where_the_table_begins(backend: Any, name: str) -> None:
    """x = alpha z + sigma eps in the table's own scale, eps being the first draw."""
    late, z, eps = table(name, CUT), clean(), draws(2).draw().numpy()
    alpha, sigma = late.read[0]
    x = (alpha * z + sigma * eps).astype(np.float32)
    expected = run(backend, late, draws(2, 1), Start(x, alpha, sigma))
    assert_equal(run(backend, late, draws(2), Start(z)), expected)


def test_latents_may_stand_in_another_scale(backend: Any) -> None:
    late, z = table("DDIMScheduler", CUT), clean()
    alpha, sigma = late.read[0]
    assert alpha < 0.9
    expected = run(backend, late, draws(2), Start(z, alpha, sigma))
    assert_equal(run(backend, late, draws(2), Start(z / np.float32(alpha), 1.0, sigma / alpha)), expected)


def test_images_of_one_batch_begin_each_at_its_own_tables_level(backend: Any) -> None:
    tables, z = [table(name, CUT) for name in ("DDIMScheduler", "EulerDiscreteScheduler")], clean()
    together = run(backend, stack(tables), draws(2), Start(z))
    for image, one in enumerate(tables):
        assert_equal(together[image], run(backend, one, draws(2), Start(z))[image])


def test_a_start_that_needs_no_draw_leaves_the_rows_their_path(backend: Any) -> None:
    """A Brownian path is its rows' alone, so the run is the one that begins with a draw of the same value."""
    whole, noise = table("CosineDPMSolverMultistepScheduler"), NoiseSpec((SEED, SEED + 1), SHAPE)
    assert whole.brownian is not None
    x = draws(2).draw().numpy() * np.float32(whole.init_noise_sigma)
    assert_equal(run(backend, whole, noise, Start(x, *whole.read[0])), run(backend, whole, noise))


def test_noise_is_added_up_to_the_tables_level() -> None:
    """Variances of independent noise add up."""
    early, late = table("DDIMScheduler"), table("DDIMScheduler", CUT)
    (alpha, sigma), (alpha_late, sigma_late) = early.read[0], late.read[0]
    kept, added = Start(clean(), alpha_late, sigma_late).terms(early)
    assert kept * alpha_late == pytest.approx(alpha)
    assert (kept * sigma_late) ** 2 + added**2 == pytest.approx(sigma**2)
    assert Start(clean(), 0.0, 2.0).terms(early).tolist() == pytest.approx([sigma / 2.0, 0.0])


def test_latents_noisier_than_the_tables_beginning_are_refused(backend: Any) -> None:
    early, late = table("DDIMScheduler"), table("DDIMScheduler", CUT)
    with pytest.raises(ValueError, match="noisier than the table's beginning"):
        run(backend, late, draws(2), Start(clean(), *early.read[0]))
