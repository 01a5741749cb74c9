"""Distances of pictures against their formulas, worked out here by other means."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from runner.sweep.compare.similarity import make_lpips, psnr, relative_l2, ssim, why_no_lpips


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(18) * 7, np.arange(23) * 4)[..., None] + np.array([0, 20, 40])
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def test_relative_l2_by_hand() -> None:
    assert relative_l2(np.array([3.0, 5.0], np.float32), np.array([3.0, 4.0], np.float32)) == pytest.approx(1 / 5)


def test_psnr_by_hand(picture) -> None:
    """Every value off by 10: mean squared error 100, so 10 log10(255² / 100)."""
    base = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(base + np.uint8(10), base) == pytest.approx(20 * np.log10(25.5))
    assert psnr(picture, picture) == 100


def test_ssim_is_the_published_formula(picture) -> None:
    """Window by window, with the weights written out: 11 × 11 Gaussian of 1.5, no window over the border."""
    other = np.clip(picture.astype(int)[::-1] // 2 + 30, 0, 255).astype(np.uint8)
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(g, g)[..., None] / g.sum() ** 2
    found = []
    for i in range(picture.shape[0] - 10):
        for j in range(picture.shape[1] - 10):
            x, y = (p[i : i + 11, j : j + 11].astype(float) for p in (picture, other))
            mx, my = (weights * x).sum((0, 1)), (weights * y).sum((0, 1))
            vx, vy = ((weights * (a - m) ** 2).sum((0, 1)) for a, m in ((x, mx), (y, my)))
            cov = (weights * (x - mx) * (y - my)).sum((0, 1))
            c1, c2 = 2.55**2, 7.65**2
            found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(picture, other) == pytest.approx(np.mean(found), abs=1e-9)


def test_ssim_of_equal_pictures_is_one_and_sees_what_blurs(picture) -> None:
    blurred = ((picture.astype(int) + np.roll(picture, 1, 1) + np.roll(picture, 1, 0)) // 3).astype(np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert ssim(blurred, picture) < 0.95


def test_a_picture_smaller_than_the_window_has_no_ssim() -> None:
    tiny = np.zeros((10, 40, 3), np.uint8)
    assert np.isnan(ssim(tiny, tiny))


def test_without_its_package_lpips_says_so(monkeypatch) -> None:
    monkeypatch.setattr("components.packages.find_spec", lambda name: None)
    assert why_no_lpips().startswith("it needs lpips, which is not installed; install it with: ")


def test_without_its_weights_lpips_says_where_they_would_be(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("components.packages.find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert str(tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth") in str(why_no_lpips())
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth").touch()
    assert why_no_lpips() is None


def test_lpips_is_given_what_it_takes(monkeypatch, picture) -> None:
    """Pictures as (1, 3, H, W) in [-1, 1]; a stand-in for its network, whose weights no test may download."""
    import torch

    class Network(torch.nn.Module):
        def forward(self, first, second):
            assert first.shape == (1, 3, *picture.shape[:2])
            assert first.min() >= -1
            assert first.max() <= 1
            return (first - second).abs().mean()

    module = types.ModuleType("lpips")
    module.LPIPS = lambda net, verbose: Network()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    distance = make_lpips()
    assert distance(picture, picture) == 0
    assert distance(np.full_like(picture, 255), np.zeros_like(picture)) == pytest.approx(2)
