"""The torch engine runs any table: exactly what the table says, in segments or whole, alone or stacked."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from runner.backends.torch_engine import clip_x0, compile_table, run, start
from runner.backends.torch_noise import IndependentNoise

SHAPE = (4, 6, 10)


@dataclass
class Table:
    """The columns of a Tableau that an engine reads, filled with random numbers where a test does not care."""

    timestep: np.ndarray
    input_scale: np.ndarray
    to_x0: np.ndarray
    update: np.ndarray
    takes_noise: np.ndarray
    init_noise_sigma: float | np.ndarray = 1.3
    clip: object = None
    brownian: object = None

    @property
    def log_std(self) -> np.ndarray:
        return np.zeros(np.shape(self.to_x0))


def random_table(seed: int, rows: int = 7, registers: int = 3, noisy: bool = True, clip: object = None) -> Table:
    """Random coefficients, a third of them zero and some exactly 1, so that every shortcut of the engine is taken."""
    rng = np.random.default_rng(seed)
    update = rng.normal(size=(rows, registers, registers + 3)) * 0.6
    update[rng.random(update.shape) < 0.33] = 0.0
    update[rng.random(update.shape) < 0.15] = 1.0
    update[:, 0, registers] = rng.normal(size=rows)  # x always hears the network
    update[:, :, registers + 2] *= noisy
    return Table(
        timestep=rng.uniform(0, 999, rows),
        input_scale=np.where(rng.random(rows) < 0.3, 1.0, rng.uniform(0.1, 1, rows)),
        to_x0=rng.normal(size=(rows, 2)),
        update=update,
        takes_noise=(update[:, :, registers + 2] != 0).any(1),
        clip=clip,
    )


def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A nonlinear stand-in that treats images independently."""
    clock = timestep.reshape(-1, 1, 1, 1) / 1000
    return torch.tanh(1.7 * x + clock) - 0.3 * x.roll(1, dims=-1)


def by_the_book(table: Table, seed: int) -> np.ndarray:
    """The definition of a row, written out in float64 with every product of the matrix: the expected result."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> np.ndarray:
        return torch.randn((1, *SHAPE), generator=generator).double().numpy()

    registers = table.update.shape[1]
    state = [table.init_noise_sigma * draw()] + [np.zeros((1, *SHAPE))] * (registers - 1)
    for n in range(len(table.timestep)):
        x = state[0]
        out = network(torch.tensor(table.input_scale[n] * x), torch.tensor(table.timestep[n])).numpy()
        x0 = table.to_x0[n, 0] * x + table.to_x0[n, 1] * out
        if table.clip is not None:
            x0 = clip_x0(torch.tensor(x0), table.clip).numpy()
        noise = draw() if table.takes_noise[n] else np.zeros_like(x)
        sources = np.stack([*state, out, x0, noise])
        state = list(np.tensordot(table.update[n], sources, 1))
    return state[0]


def finish(table: Table, seeds: list[int]) -> torch.Tensor:
    program = compile_table(table)
    noise = IndependentNoise(seeds, SHAPE)
    result = run(program, start(program, noise), network, noise).registers[0]
    assert result is not None
    return result


@pytest.mark.parametrize("clip", [None, SimpleNamespace(kind="range", limit=0.7)], ids=["no clip", "clip"])
@pytest.mark.parametrize("seed", range(6))
def test_a_table_is_run_as_its_rows_are_defined(seed: int, clip: object) -> None:
    table = random_table(seed, registers=1 + seed % 4, clip=clip)
    expected = by_the_book(table, seed)
    found = finish(table, [seed]).numpy()
    assert np.abs(found - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())  # float32 against float64


def test_a_run_in_segments_is_the_run_in_one_piece() -> None:
    table = random_table(3, rows=9)
    program = compile_table(table)
    noise = IndependentNoise([5, 6], SHAPE)
    state = start(program, noise)
    for stop in (1, 4, 4, 9):
        state = run(program, state, network, noise, stop)
    assert state.row == 9
    assert torch.equal(state.registers[0], finish(table, [5, 6]))  # type: ignore[arg-type]


def test_a_segment_does_not_change_the_state_it_started_from() -> None:
    table = random_table(3, noisy=False)
    program = compile_table(table)
    noise = IndependentNoise([5], SHAPE)
    state = run(program, start(program, noise), network, noise, 2)
    kept = [None if register is None else register.clone() for register in state.registers]
    first, second = (run(program, state, network, noise).registers[0] for _ in range(2))
    assert torch.equal(first, second)  # type: ignore[arg-type]
    for before, after in zip(kept, state.registers, strict=True):
        assert before is after is None or torch.equal(before, after)  # type: ignore[arg-type]


def test_stacked_tables_give_each_image_its_own_sampler() -> None:
    tables = [random_table(seed, rows=5, registers=3, noisy=seed != 1) for seed in range(3)]
    stacked = Table(
        *(np.stack([getattr(t, name) for t in tables]) for name in ("timestep", "input_scale", "to_x0", "update")),
        takes_noise=np.stack([t.takes_noise for t in tables]),
        init_noise_sigma=np.array([1.3, 14.6, 1.0]),
    )
    found = finish(stacked, [10, 11, 12])
    for i, table in enumerate(tables):
        table.init_noise_sigma = float(stacked.init_noise_sigma[i])  # type: ignore[index]
        alone = finish(table, [10 + i])
        assert (found[i] - alone[0]).abs().max() <= 2e-6 * max(1.0, float(alone.abs().max()))


def test_an_unused_x0_may_have_an_infinite_coefficient() -> None:
    """At alpha = 0 (zero terminal SNR) x0 cannot be had from eps; the row then does without it."""
    table = random_table(0, registers=1)
    table.update[:, :, 2] = 0.0
    table.to_x0[0] = np.inf
    assert torch.isfinite(finish(table, [0])).all()


def test_rows_are_reported_in_order() -> None:
    table = random_table(1, rows=4)
    program = compile_table(table)
    noise = IndependentNoise([1], SHAPE)
    seen = []
    run(program, start(program, noise), network, noise, after_row=lambda n, x: seen.append((n, tuple(x.shape))))
    assert seen == [(n, (1, *SHAPE)) for n in range(4)]


def test_dynamic_thresholding_looks_at_each_image_alone() -> None:
    """Expected numbers from the paper's recipe (arXiv 2205.11487, section 2.3) in numpy."""
    sizes = torch.tensor([0.2, 1.5, 9.0]).view(-1, 1, 1, 1)
    x0 = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0)) * sizes
    found = clip_x0(x0, SimpleNamespace(kind="quantile", limit=4.0, ratio=0.9)).numpy()
    for image, result in zip(x0.numpy(), found, strict=True):
        s = min(max(np.quantile(np.abs(image), 0.9), 1.0), 4.0)
        np.testing.assert_allclose(result, np.clip(image, -s, s) / s, rtol=1e-6, atol=1e-7)


class TestNoise:
    def test_an_image_has_the_noise_of_its_seed_in_any_batch(self) -> None:
        together = IndependentNoise([7, 8, 9], SHAPE)
        batched = [together.draw() for _ in range(3)]
        for i, seed in enumerate([7, 8, 9]):
            alone = IndependentNoise([seed], SHAPE)
            for draw in batched:
                assert torch.equal(draw[i : i + 1], alone.draw())

    def test_it_is_the_float32_cpu_stream_of_torch(self) -> None:
        generator = torch.Generator().manual_seed(4)
        source = IndependentNoise([4], SHAPE)
        for _ in range(2):
            assert torch.equal(source.draw(), torch.randn(1, *SHAPE, generator=generator))

    def test_an_image_that_wants_no_draw_keeps_its_stream(self) -> None:
        source = IndependentNoise([1, 2], SHAPE)
        first = source.draw([True, False])
        assert not first[1].any()
        assert torch.equal(source.draw()[1:], IndependentNoise([2], SHAPE).draw())

    def test_on_device_draws_are_made_in_the_dtype_asked_for(self) -> None:
        half = IndependentNoise([3], SHAPE, draw_on="cpu", draw_dtype=torch.float16).draw()
        assert half.dtype == torch.float32
        assert torch.equal(half, half.half().float())

    def test_rows_may_be_drawn_in_another_dtype_than_the_latents(self) -> None:
        """As DPM-Solver's SDE rows are in the reference library: on the device, but float32 under a half network."""
        from components.schedulers import find_scheduler
        from runner.backends.base import Guidance, NoiseSpec
        from runner.backends.torch import TorchBackend
        from runner.conditions import Conditions

        drawn = []
        original = torch.randn

        def spy(*shape: object, **options: object) -> torch.Tensor:
            drawn.append(options["dtype"])
            return original(*shape, **options)  # type: ignore[call-overload]

        table = find_scheduler("dpmpp_2m").from_config({}, algorithm_type="sde-dpmsolver++").tableau(3)
        unet = lambda x, timestep, states, timestep_cond: SimpleNamespace(sample=x)  # noqa: E731
        torch.randn = spy  # type: ignore[assignment]
        try:
            TorchBackend("cpu", "bfloat16").denoise(
                unet,
                table,
                NoiseSpec((1,), SHAPE, on_device=True, row_dtype="float32"),
                Conditions({"encoder_hidden_states": torch.zeros(1, 2, 3)}),
                Guidance(1.0),
                lambda row, latents: None,
            )
        finally:
            torch.randn = original
        assert drawn[0] == torch.bfloat16
        assert set(drawn[1:]) == {torch.float32}
        assert len(drawn) == 1 + table.takes_noise.sum()


def test_a_learned_variance_scales_the_noise_pixel_by_pixel_and_is_no_part_of_the_output() -> None:
    """exp(lo / 2 + (hi - lo) (v + 1) / 4), v the second half of the channels: arXiv 2102.09672, eq. 15."""
    from components.schedulers import find_scheduler

    table = find_scheduler("ddpm")(variance_type="learned_range", clip_sample=False).tableau(4)
    v = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    seen = []

    class Ones:
        def draw(self, wanted: object = None) -> torch.Tensor:
            return torch.ones(1, 1, 4, 4)

    def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.cat([0 * x, v], 1)

    program = compile_table(table)
    after = run(program, start(program, Ones()), network, Ones(), stop=1).registers[0]
    low, high = table.log_variance[0]
    expected = float(table.update[0, 0, 0]) * seen[0] + torch.exp(low / 2 + (high - low) * (v + 1) / 4)
    assert torch.allclose(after, expected, rtol=1e-5)
