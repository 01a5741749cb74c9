"""Every scheduler under its Flax name: the trajectory of its plain twin, in a loop of the caller's and under jit."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the Flax names need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the Flax names need flax: pip install '.[jax]'")

import jax
import jax.numpy as jnp
from jax import Array, lax

import components
import components.schedulers
import runner
from components.flax_schedulers import FlaxScheduler, SchedulerState, flax_scheduler
from components.schedulers import SchedulerConfigError, scheduler_classes

SHAPE = (4, 3, 8, 8)
X = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PATHS = ("CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler")
"""Schedulers whose draws are increments of a path."""


def network(x: Any, t: Any) -> Any:
    """Any answer will do that is not linear."""
    return 0.6 * jnp.tanh(x) + t / 2000


def draws(rows: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, *X.shape)).astype(np.float32)


def by_the_plain_one(name: str, steps: int, **options: Any) -> np.ndarray:
    scheduler = scheduler_classes()[name](**options)
    scheduler.set_timesteps(steps)
    x = jnp.asarray(X) * scheduler.init_noise_sigma
    noise = draws(len(scheduler.timesteps))
    for n, t in enumerate(scheduler.timesteps):
        out = network(scheduler.scale_model_input(x, t), float(t))
        x = scheduler.step(out, t, x, variance_noise=jnp.asarray(noise[n])).prev_sample
    return np.asarray(x)


def test_another_class_s_file_is_read_as_the_plain_class_reads_it(tmp_path: Path) -> None:
    scheduler_classes()["DPMSolverMultistepScheduler"](use_karras_sigmas=True).save_pretrained(tmp_path)
    scheduler, state = flax_scheduler("FlaxUniPCMultistepScheduler").from_pretrained(tmp_path)
    assert scheduler.plain.dropped["solver_type"] == "midpoint"
    listed = scheduler.set_timesteps(state, timesteps=[900, 500, 100])
    assert listed.timesteps is not None and listed.timesteps.tolist() == [900, 500, 100]
    scheduler, _ = flax_scheduler("FlaxUniPCMultistepScheduler").from_pretrained(tmp_path, use_beta_sigmas=True)
    assert scheduler.config["use_beta_sigmas"] and not scheduler.config["use_karras_sigmas"]


@pytest.mark.parametrize("name", scheduler_classes())
def test_steps_are_those_of_the_plain_scheduler(name: str) -> None:
    scheduler = flax_scheduler(f"Flax{name}")()
    state = scheduler.set_timesteps(scheduler.create_state(), 7)
    assert state.timesteps is not None
    x, noise = jnp.asarray(X) * state.init_noise_sigma, draws(len(state.timesteps))
    for n, t in enumerate(state.timesteps):
        out = network(scheduler.scale_model_input(state, x, t), t)
        x, state = scheduler.step(state, out, t, x, noise=jnp.asarray(noise[n]))
    expected = by_the_plain_one(name, 7)
    np.testing.assert_allclose(x, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["FlaxPNDMScheduler", "FlaxLMSDiscreteScheduler", "FlaxDPMSolverMultistepScheduler"])
def test_a_loop_may_be_compiled(name: str) -> None:
    scheduler = flax_scheduler(name)(**SD)
    state = scheduler.set_timesteps(scheduler.create_state(), 9, shape=X.shape)

    @jax.jit
    def whole(x: Array, state: SchedulerState) -> Array:
        def row(n: Array, carry: tuple[Array, SchedulerState]) -> tuple[Array, SchedulerState]:
            x, state = carry
            assert state.timesteps is not None
            t = state.timesteps[n]
            return tuple(scheduler.step(state, network(scheduler.scale_model_input(state, x, t), t), t, x))  # type: ignore

        assert state.timesteps is not None
        return lax.fori_loop(0, len(state.timesteps), row, (x * state.init_noise_sigma, state))[0]

    expected = by_the_plain_one(name.removeprefix("Flax"), 9, **SD)
    np.testing.assert_allclose(whole(jnp.asarray(X), state), expected, atol=2e-5 * np.abs(expected).max())


def dummy_sample() -> Array:
    """The sample of the old library's scheduler tests: rising numbers, image by image."""
    count = int(np.prod(SHAPE))
    return jnp.asarray((np.arange(count) / count).reshape(3, 8, 8, 4).transpose(3, 0, 1, 2), jnp.float32)


@pytest.mark.parametrize(
    ("name", "options", "total", "mean"),
    [
        ("DDIM", {}, 172.0067, 0.223967),
        ("DDIM", {"beta_start": 0.01, "set_alpha_to_one": True}, 149.8295, 0.1951),
        ("DDIM", {"beta_start": 0.01, "set_alpha_to_one": False}, 149.0784, 0.1941),
        ("PNDM", {}, 198.1318, 0.2580),
        ("PNDM", {"beta_start": 0.01, "set_alpha_to_one": False}, 186.9482, 0.2434),
    ],
)
def test_sums_of_the_old_flax_tests(name: str, options: dict[str, Any], total: float, mean: float) -> None:
    """As the old library's own Flax tests expected them of its dummy network, x · t / (t + 1), in ten steps."""
    scheduler = flax_scheduler(f"Flax{name}Scheduler")(**options)
    state = scheduler.set_timesteps(scheduler.create_state(), 10, shape=SHAPE)
    assert state.timesteps is not None
    x = dummy_sample()
    for t in state.timesteps:
        x, state = scheduler.step(state, x * t / (t + 1), t, x)
    assert abs(float(jnp.abs(x).sum()) - total) <= 1e-2
    assert abs(float(jnp.abs(x).mean()) - mean) <= 1e-3


class TestNames:
    @pytest.mark.parametrize("place", [runner, components, components.schedulers])
    def test_every_scheduler_has_one(self, place: Any) -> None:
        for name in scheduler_classes():
            cls = getattr(place, f"Flax{name}")
            assert issubclass(cls, FlaxScheduler) and cls.__name__ == f"Flax{name}"
            assert cls is flax_scheduler(f"Flax{name}")

    def test_there_are_no_others(self) -> None:
        with pytest.raises(AttributeError):
            _ = components.schedulers.FlaxDIMScheduler  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            flax_scheduler("DDIMScheduler")

    def test_they_can_be_pickled(self) -> None:
        scheduler = runner.FlaxDDIMScheduler(**SD)  # type: ignore[attr-defined]
        assert pickle.loads(pickle.dumps(scheduler)).config == scheduler.config


class TestConfiguration:
    def test_pretrained_ones_come_with_a_state(self, tmp_path: Path) -> None:
        runner.FlaxPNDMScheduler(**SD, skip_prk_steps=True).save_pretrained(tmp_path / "scheduler")  # type: ignore
        scheduler, state = runner.FlaxDDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")  # type: ignore
        assert scheduler.config["beta_end"] == 0.012 and "skip_prk_steps" in scheduler.config
        np.testing.assert_allclose(state.common.alphas_cumprod, scheduler.plain.clock.alphas_cumprod, rtol=1e-6)
        np.testing.assert_allclose(state.common.alphas + state.common.betas, 1.0, rtol=1e-6)
        assert list(state.timesteps[:2]) == [999, 998] and len(scheduler) == 1000
        other, _ = runner.FlaxEulerDiscreteScheduler.from_config(scheduler.config)  # type: ignore
        assert other.config["beta_end"] == 0.012

    def test_an_option_there_is_not(self) -> None:
        with pytest.raises(SchedulerConfigError, match="beta_strat is not an option here; did you mean beta_start"):
            runner.FlaxDDIMScheduler(beta_strat=0.1)  # type: ignore

    def test_noise_and_velocity_are_the_plain_ones(self) -> None:
        t, noise = np.array([10, 900]), jnp.asarray(draws(1)[0])
        for name in ("DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"):
            scheduler = flax_scheduler(f"Flax{name}")()
            state = scheduler.create_state()
            for call in ("add_noise", "get_velocity"):
                expected = getattr(scheduler.plain, call)(jnp.asarray(X), noise, t)
                found = getattr(scheduler, call)(state, jnp.asarray(X), noise, t)
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class TestRefused:
    def test_a_step_before_a_run(self) -> None:
        scheduler = flax_scheduler("FlaxDDIMScheduler")()
        with pytest.raises(ValueError, match=r"there is no run yet: state = scheduler\.set_timesteps"):
            scheduler.step(scheduler.create_state(), jnp.asarray(X), 999, jnp.asarray(X))

    def test_noise_without_a_key(self) -> None:
        scheduler = flax_scheduler("FlaxDDPMScheduler")()
        state = scheduler.set_timesteps(scheduler.create_state(), 5)
        with pytest.raises(ValueError, match="FlaxDDPMScheduler draws noise: give key="):
            scheduler.step(state, jnp.asarray(X), 800, jnp.asarray(X))
        one, other = (scheduler.step(state, X, 800, X, jax.random.key(seed)).prev_sample for seed in (0, 1))
        assert float(jnp.abs(one - other).max()) > 0.1

    @pytest.mark.parametrize("name", PATHS)
    def test_a_path_from_a_key(self, name: str) -> None:
        scheduler = flax_scheduler(f"Flax{name}")()
        state = scheduler.set_timesteps(scheduler.create_state(), 5)
        with pytest.raises(ValueError, match=rf"Flax{name} draws from a Brownian path: give its draws as noise="):
            scheduler.step(state, X, state.timesteps[0], X, jax.random.key(0))  # type: ignore[index]


LATE = ["HeunDiscreteScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "UniPCMultistepScheduler", "DDIMScheduler"]


def late_by_the_plain_one(name: str, steps: int, row: int) -> np.ndarray:
    scheduler = scheduler_classes()[name](**SD)
    scheduler.set_timesteps(steps)
    x = jnp.asarray(X)
    for t in scheduler.timesteps[row:]:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), float(t)), t, x).prev_sample
    return np.asarray(x)


@pytest.mark.parametrize("name", LATE)
def test_a_run_begins_late_as_the_plain_schedulers_does(name: str) -> None:
    """In a loop of the caller's by its first timestep, and under jit after `set_begin_index`."""
    row = 6 if name == "HeunDiscreteScheduler" else 13 if name == "PNDMScheduler" else 4
    expected = late_by_the_plain_one(name, 9, row)
    scheduler = flax_scheduler(f"Flax{name}")(**SD)
    start = scheduler.set_timesteps(scheduler.create_state(), 9, shape=X.shape)
    assert start.timesteps is not None
    x, state = jnp.asarray(X), start
    for t in start.timesteps[row:]:
        x, state = scheduler.step(state, network(scheduler.scale_model_input(state, x, t), t), t, x)
    np.testing.assert_allclose(x, expected, atol=2e-5 * np.abs(expected).max())

    @jax.jit
    def rest(x: Array, state: SchedulerState) -> Array:
        def step(n: Array, carry: tuple[Array, SchedulerState]) -> tuple[Array, SchedulerState]:
            x, state = carry
            t = state.timesteps[n]  # type: ignore[index]
            return tuple(scheduler.step(state, network(scheduler.scale_model_input(state, x, t), t), t, x))  # type: ignore

        return lax.fori_loop(row, len(state.timesteps), step, (x, state))[0]  # type: ignore[arg-type]

    compiled = rest(jnp.asarray(X), scheduler.set_begin_index(start, row))
    np.testing.assert_allclose(compiled, expected, atol=2e-5 * np.abs(expected).max())


def test_no_run_begins_inside_a_step_and_no_noise_is_added_beyond_the_clock() -> None:
    scheduler = flax_scheduler("FlaxHeunDiscreteScheduler")(**SD)
    state = scheduler.create_state()
    with pytest.raises(ValueError, match="there is no run yet"):
        scheduler.set_begin_index(state, 0)
    with pytest.raises(ValueError, match="begin_index is 3, in the middle of a step"):
        scheduler.set_begin_index(scheduler.set_timesteps(state, 5), 3)
    with pytest.raises(ValueError, match="is beyond the training clock, which runs from 0 to 999"):
        scheduler.add_noise(state, jnp.asarray(X), jnp.asarray(X), jnp.asarray([1500, 3]))
