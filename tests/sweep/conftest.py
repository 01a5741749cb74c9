"""Fixtures: `chromium`, a browser for the pages of sweeps; `large_sweep`, a sweep with its page."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from synthetic_sweep import sweep

from runner.sweep.report import write_report
from runner.sweep.results import SweepResults


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    return Chromium(tmp_path / "profile")


@pytest.fixture(scope="session")
def large_sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResults, Path]:
    """A sweep of 2,000 pictures, and its page."""
    axes = {
        "scheduler": [f"scheduler_{number}" for number in range(20)],
        "prompt": [f"a prompt of a few words that ends in {number}" for number in range(10)],
        "seed": list(range(10)),
    }
    results = sweep(tmp_path_factory.mktemp("large"), axes, size=32)
    return results, write_report(results)
