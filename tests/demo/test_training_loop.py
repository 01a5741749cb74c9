"""The training loop: its learning rate, its averages, and that an interruption changes nothing."""

import pytest
import torch
from torch import nn

from runner.demo.training_loop import Averaged, LoopSettings, rate, train

SETTINGS = LoopSettings(steps=8, learning_rate=0.1, warmup=2, save_every=0, log_every=4)


def fitted(folder, stop_at: int | None = None) -> dict[str, torch.Tensor]:
    """Averaged weights of a small layer fitted to noise; optionally killed in the middle and started again."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)

    def loss(step: int) -> torch.Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (layer(x) - 1).square().mean()

    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            train("layer", layer, loss, SETTINGS, folder)
        return fitted(folder)
    return train("layer", layer, loss, SETTINGS, folder).values


def test_an_interrupted_run_continues_to_the_same_weights(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole, broken = fitted(tmp_path / "whole"), fitted(tmp_path / "broken", stop_at=5)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_the_rate_rises_then_falls_to_zero():
    settings = LoopSettings(steps=1000, learning_rate=1.0, warmup=100)
    rates = [rate(settings, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates.index(max(rates)) == 99
    assert rates[500] == pytest.approx(0.5)  # half a cosine, at its middle
    assert rates[-1] < 1e-5


def test_the_average_follows_its_weights():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    averaged = Averaged(layer, decay=0.5)
    nn.init.ones_(layer.weight)
    for step in range(100, 103):
        averaged.update(step)
    averaged.store_into(layer)
    assert layer.weight.item() == pytest.approx(1 - 0.5**3)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    layer = nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="no longer finite at step 0"):
        train("layer", layer, lambda step: layer.weight.sum() * float("nan"), SETTINGS, tmp_path)
