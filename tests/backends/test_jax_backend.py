"""The JAX backend and its engine against the torch ones, around a network so small that every scheduler can be tried.

Expected numbers are the torch backend's. Both draw the same noise, so latents differ by rounding alone.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jax", reason="the JAX backend needs jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX backend needs flax: pip install '.[jax]'")

import jax
import jax.numpy as jnp
from flax import nnx

from components.jax_models.unet_2d_condition import UNetOutput
from components.schedulers import Tableau, find_scheduler, scheduler_classes
from components.schedulers.tableau import stack
from runner.backends.base import Change, Guidance, NoiseSpec
from runner.backends.jax import Component, JaxBackend, Pace
from runner.backends.jax_devices import Layout, pick_devices, pick_dtype
from runner.backends.jax_programs import guidance_embedding
from runner.backends.torch import TorchBackend
from runner.backends.torch_guidance import guidance_embedding as torch_guidance_embedding
from runner.backends.torch_noise import GeneratorNoise
from runner.conditions import Conditions
from runner.errors import RecipeError

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHAPE = (4, 8, 8)
SEEDS = (5, 2**32 + 5)
NOISE = NoiseSpec(SEEDS, SHAPE)
STATES = np.random.default_rng(0).standard_normal((2, 1, 3, 4)).astype(np.float32)


class Toy(nnx.Module):
    """tanh of a weighted image, a clock and a prompt: as crooked as a network, in one line."""

    def __init__(self, channels: int = 1) -> None:
        self.weight = nnx.Param(jnp.asarray([0.6], jnp.float32))
        self.channels = channels
        self.config = None

    def __call__(self, x: Any, timestep: Any, states: Any) -> UNetOutput:
        prompt = states.mean(1)[:, :, None, None]
        out = jnp.tanh(self.weight[...] * x + timestep[:, None, None, None] / 900 + prompt)
        return UNetOutput(jnp.tile(out, (1, self.channels, 1, 1)))


class TorchToy:
    def __init__(self, channels: int = 1) -> None:
        self.channels = channels

    def __call__(self, x: Any, timestep: Any, states: Any, timestep_cond: Any = None, **_: Any) -> UNetOutput:
        x = 0.6 * x + timestep.reshape(-1, 1, 1, 1) / 900
        out = torch.tanh(torch.cat([x] * (len(states) // len(x))) + states.mean(1)[:, :, None, None])
        return UNetOutput(out.tile(1, self.channels, 1, 1))


def table(name: str, steps: int, **options: Any) -> Tableau:
    cls = find_scheduler(name)
    betas = SD if "beta_end" in cls.options() else {}  # EDM, flow, consistency and unCLIP have clocks of their own
    return cls(**betas, **options).tableau(steps)


@pytest.fixture(scope="module")
def backend() -> JaxBackend:
    return JaxBackend("cpu", "float32", 1)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The programs compiled since, by JAX's own event log."""
    names: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def denoise(backend: Any, toy: Any, table: Tableau, guidance: Guidance, noise: NoiseSpec = NOISE) -> np.ndarray:
    array: Callable[[np.ndarray], Any] = torch.tensor if isinstance(backend, TorchBackend) else jnp.asarray
    states, absent = ({"encoder_hidden_states": array(half)} for half in STATES)
    conditions = Conditions(states, absent if guidance.doubles else None)
    rows: list[int] = []
    latents = backend.denoise(toy, table, noise, conditions, guidance, lambda row, _: rows.append(row))
    assert rows == list(range(table.rows))
    return backend.to_numpy(latents)


def assert_equal(backend: JaxBackend, table: Tableau, guidance: Guidance, channels: int = 1) -> None:
    """Latents of both backends, in units of the largest; the network gives `channels` times as many as it takes."""
    expected = denoise(TorchBackend("cpu", "float32", 1), TorchToy(channels), table, guidance)
    found = denoise(backend, Component.of(Toy(channels)), table, guidance)
    assert np.isfinite(expected).all()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_one_program_serves_every_scheduler_step_count_and_guidance(backend: JaxBackend, compiled: list[str]) -> None:
    """Each gives torch's latents, those of 40 steps in two segments; the last table takes 999 rows in 32."""
    for name in scheduler_classes():
        for steps, guidance in ((7, Guidance(2.0)), (40, Guidance(7.5, rescale=0.7))):
            assert_equal(backend, table(name, steps), guidance)
    assert_equal(backend, table("DDPMScheduler", 999), Guidance(1.5))
    assert compiled.count("jit(denoise_rows)") == 1
    assert_equal(backend, table("DDIMScheduler", 7), Guidance(1.0))
    assert compiled.count("jit(denoise_rows)") == 2, "a network called once a row is another program"


@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": True, "clip_sample_range": 0.8},
        {"clip_sample": False, "thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5},
    ],
    ids=["range", "quantile"],
)
def test_clipping_equals_torch(backend: JaxBackend, options: dict[str, Any]) -> None:
    assert_equal(backend, table("DDIMScheduler", 6, **options), Guidance(3.0))


def test_a_learned_variance_equals_torch(backend: JaxBackend) -> None:
    sampler = table("DDPMScheduler", 6, variance_type="learned_range")
    assert sampler.log_std.any()
    assert_equal(backend, sampler, Guidance(3.0), channels=2)


PAIRS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "noise beside none": (("EulerAncestralDiscreteScheduler", {}), ("UniPCMultistepScheduler", {})),
    "long history beside none": (("LMSDiscreteScheduler", {}), ("DDPMScheduler", {"clip_sample": False})),
    "both clipped": (("DDIMScheduler", {}), ("DDPMScheduler", {})),
    "a path beside draws": (("CosineDPMSolverMultistepScheduler", {}), ("EulerAncestralDiscreteScheduler", {})),
    "clipped beside not": (("DDIMScheduler", {}), ("EulerDiscreteScheduler", {})),
    "noise of two sizes": (
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("LCMScheduler", {}),
    ),
}


@pytest.mark.parametrize("on_device", [False, True], ids=["", "drawn on the device"])
@pytest.mark.parametrize("pair", PAIRS)
def test_different_schedulers_share_a_batch(
    backend: JaxBackend, compiled: list[str], pair: str, on_device: bool
) -> None:
    """Each image is what its scheduler makes of it alone, and the whole what torch makes of the same stack."""
    tables = [table(name, 10, **options) for name, options in PAIRS[pair]]
    together = stack(tables)
    if not on_device:
        assert_equal(backend, together, Guidance(4.0))
    found = denoise(backend, Component.of(Toy()), together, Guidance(4.0), NoiseSpec(SEEDS, SHAPE, on_device))
    for image, one in enumerate(tables):
        noise = NoiseSpec(SEEDS, SHAPE, on_device)
        alone = denoise(backend, Component.of(Toy()), one, Guidance(4.0), noise)
        np.testing.assert_allclose(found[image], alone[image], rtol=1e-5, atol=1e-5)
    assert compiled.count("jit(denoise_rows)") <= 1


def test_latents_and_guidance_can_be_changed_on_the_way(backend: JaxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, as torch does; and with noise of the caller's own."""
    monkeypatch.setattr(backend, "row_by_row", True)
    sampler = table("EulerAncestralDiscreteScheduler", 6)
    results = []
    for which, toy in ((TorchBackend("cpu", "float32", 1), TorchToy()), (backend, Component.of(Toy()))):
        array: Callable[[np.ndarray], Any] = torch.tensor if toy.__class__ is TorchToy else jnp.asarray

        def after(row: int, latents: Any) -> Change | None:
            if row == 2:
                return Change(latents=latents * 0.5)
            return Change(guidance=Guidance(6.0)) if row == 3 else None

        generator = torch.Generator().manual_seed(3)
        noise = GeneratorNoise(generator, (2, *SHAPE))
        given = Conditions(*({"encoder_hidden_states": array(half)} for half in STATES))
        results.append(which.to_numpy(which.denoise(toy, sampler, noise, given, Guidance(2.0), after)))
    assert np.abs(results[1] - results[0]).max() <= 1e-4 * np.abs(results[0]).max()


def test_noise_on_the_device_depends_on_the_seed_alone(backend: JaxBackend) -> None:
    """Not on the batch; and seeds that differ by 2^32 are two seeds."""
    toy, sampler = Component.of(Toy()), table("EulerAncestralDiscreteScheduler", 5)
    both = denoise(backend, toy, sampler, Guidance(2.0), NoiseSpec(SEEDS, SHAPE, on_device=True))
    for image, seed in enumerate(SEEDS):
        alone = denoise(backend, toy, sampler, Guidance(2.0), NoiseSpec((seed,), SHAPE, on_device=True))
        np.testing.assert_allclose(alone[0], both[image], rtol=1e-5, atol=1e-5)
    assert np.abs(both[0] - both[1]).mean() > 0.1


def test_noise_on_the_device_is_standard_normal(backend: JaxBackend) -> None:
    """Mean 0 and variance 1 within four standard errors, and no draw repeats another."""
    from runner.backends.jax_engine import segments
    from runner.backends.jax_noise import DeviceNoise, draw

    layout = Layout.over(jax.devices())
    source = DeviceNoise.seeded((7,), (4, 64, 64), layout)
    rows = source.rows(next(segments(table("DDPMScheduler", 5), 1, layout.share_out)))
    wanted = jnp.ones(1, bool)
    draws = np.stack([source.first(), *(draw(rows, (4, 64, 64), jnp.int32(n), wanted) for n in range(2))])
    count = draws[0].size
    assert np.abs(draws.mean((1, 2, 3, 4))).max() <= 4 / count**0.5
    assert np.abs(draws.var((1, 2, 3, 4)) - 1).max() <= 4 * (2 / count) ** 0.5
    assert np.abs(np.corrcoef(draws.reshape(3, -1)) - np.eye(3)).max() <= 4 / count**0.5
    assert not draw(rows, (4, 64, 64), jnp.int32(0), ~wanted).any()


def test_the_embedded_guidance_scale_equals_torch() -> None:
    for weights, dim in (((6.5, 2.0), 8), ((1.0,), 7)):
        expected = np.concatenate([torch_guidance_embedding(weight, dim) for weight in weights])
        np.testing.assert_allclose(guidance_embedding(jnp.asarray(weights), dim), expected, atol=1e-3)


def test_the_pace_follows_the_second_call() -> None:
    """Ctrl-C waits for a call, so a slow network is called row by row; the first call may have been compilation."""
    pace = Pace(seconds_a_call=0.05)
    with pace.measured(1):
        pass
    assert pace.rows == 1
    with pace.measured(1):
        pass
    assert pace.rows > 1
    with pace.measured(1):
        time.sleep(0.1)
    assert pace.rows == 1


def test_auto_is_a_device_that_is_here() -> None:
    assert pick_devices("auto") == jax.devices()
    assert {device.platform for device in pick_devices("cpu")} == {"cpu"}
    assert pick_dtype("auto", "cpu") == "float32" and pick_dtype("auto", "gpu") == "bfloat16"
    assert pick_dtype("float16", "cpu") == "float16"
    with pytest.raises(RecipeError, match=r"backend\.device: 'cuda:99' is not a device that JAX has here") as caught:
        pick_devices("cuda:99")
    assert "cpu" in caught.value.problems[0].allowed
