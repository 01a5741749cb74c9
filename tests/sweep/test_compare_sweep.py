"""A sweep compared from end to end: with a network whose equations have known solutions, and with the demo's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_network import SPREAD, GaussianSession, exact
from measuring import measured

from runner.compose import compose
from runner.needs import for_sweep
from runner.plan import make_plan
from runner.progress import Speaker
from runner.session import Session
from runner.sweep.compare import Comparison, compare

QUIET = ("recipe=shapes", "num_images=1", "backend.threads=1", "compare.reference_steps=100")
ROUND = "scheduler.timestep_spacing=linspace"
"""With it every sampler begins at the last timestep."""
SILENT = Speaker(speak=False)
BELOW = "compare.below=[0.1,0.0001]"


def compared(folder: Path, session: Session, *words: str) -> Comparison:
    images = measured(folder / "images", session, *QUIET, *words, multirun=True)
    return compare(images, folder, session, SILENT)


def curve(comparison: Comparison, method: str) -> dict[str, Any]:
    return next(dict(row) for row in comparison.table if row["method"] == method)


@pytest.mark.parametrize(
    ("scheduler", "more", "order"),
    [
        ("euler", ["schedule=karras"], 1),
        ("ddim", [ROUND], 1),
        ("heun", ["schedule=karras"], 2),
        ("dpm2", ["schedule=karras"], 2),
        ("dpmpp_2m", [ROUND], 2),
    ],
)
def test_the_fitted_order_is_the_declared_one(tmp_path, scheduler: str, more: Sequence[str], order: float) -> None:
    found = compared(tmp_path, GaussianSession(), f"scheduler={scheduler}", "steps=20,40,80,160", *more)
    (row,) = found.table
    assert row["fit"]["order"] == pytest.approx(order, abs=0.2)
    assert row["fit"]["points"] >= 3


def test_the_error_is_the_distance_from_the_exact_solution(tmp_path) -> None:
    """Of a linear equation a sampler's error is one factor for all pixels: x / exact - 1."""
    images = measured(tmp_path / "i", GaussianSession(), *QUIET, "scheduler=euler", "steps=12", "seed=5", ROUND)
    (metrics,) = compare(images, tmp_path, GaussianSession(), SILENT).metrics
    table = make_plan(images[0].recipe).tableau
    low = table.read[-1]  # linspace reads at timestep 0, where the equation ends
    drawn = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(5)).numpy()[0]
    lowest = exact(table.init_noise_sigma * drawn, tuple(table.read[0]), tuple(low))
    solution = lowest * SPREAD**2 / (SPREAD**2 + low[1] ** 2)  # x0 from there: alpha is 1 in Euler's scale
    x = np.load(images[0].latents)
    assert metrics["relative_l2"] == pytest.approx(abs(float(np.median(x / solution)) - 1), rel=1e-3)
    assert np.load(next((tmp_path / "references").glob("*.npz")))["latents"] == pytest.approx(solution, rel=1e-4)
    assert metrics["floor"] < 1e-4


def test_a_rerun_computes_no_reference_twice(tmp_path) -> None:
    words = ("scheduler=euler,heun", "steps=5,8", "seed=0,1", ROUND)
    first = GaussianSession()
    images = measured(tmp_path / "images", first, *QUIET, *words, multirun=True)
    before = first.rows
    one = compare(images, tmp_path, first, SILENT)
    assert first.rows - before == 2 * (101 + 201), "one for each seed: both samplers start and end alike"
    again = GaussianSession()
    two = compare(images, tmp_path, again, SILENT)
    assert again.rows == 0
    assert (one.metrics, one.table, one.notes) == (two.metrics, two.table, two.notes)


def test_another_prompt_guidance_or_start_has_a_reference_of_its_own(tmp_path) -> None:
    compared(tmp_path, GaussianSession(), "scheduler=euler", "steps=5", "guidance_scale=1,2", ROUND)
    assert len(list((tmp_path / "references").glob("*.npz"))) == 2
    compared(tmp_path, GaussianSession(), "scheduler=dpmpp_2m", "steps=5", "guidance_scale=2", ROUND)
    assert len(list((tmp_path / "references").glob("*.npz"))) == 3, (
        "dpmpp_2m starts from the noise and the data's spread"
    )


def test_samplers_of_the_sde_are_compared_on_their_path_and_apart(tmp_path) -> None:
    words = ("scheduler=ddim,euler_a,dpmpp_2m_sde", "steps=5,10,20,40", "noise.path=brownian", "seed=0,1", BELOW, ROUND)
    found = compared(tmp_path, GaussianSession(), *words)
    kinds = {row["method"]: row["kind"] for row in found.table}
    assert kinds == {"ddim": "ode", "euler_a": "sde", "dpmpp_2m_sde": "sde"}
    assert {frozenset(metrics) for metrics in found.metrics} == {
        frozenset({"relative_l2", "floor", "psnr", "ssim", "fidelity"}),
        frozenset({"sde_relative_l2", "sde_floor", "sde_psnr", "sde_ssim", "fidelity"}),
    }
    assert any("below 0.0001 (SDE): cannot be told" in note for note in found.notes)
    errors = [point["error"] for point in curve(found, "euler_a")["points"]]
    assert errors == sorted(errors, reverse=True)
    assert curve(found, "euler_a")["fit"]["order"] == pytest.approx(1, abs=0.35)
    assert {title.split(",")[0] for title in found.plots} == {
        "Error of ODE samplers",
        "Error of SDE samplers (eta 1)",
        "Pictures that show what the prompt says",
    }


def test_who_has_no_reference_gets_no_figure_and_is_told_why(tmp_path) -> None:
    found = compared(tmp_path, GaussianSession(), "scheduler=lcm,euler_a,euler", "steps=4")
    assert [set(metrics) for metrics in found.metrics[:2]] == [{"fidelity"}, {"fidelity"}]
    assert "relative_l2" in found.metrics[2]
    told = " ".join(found.notes)
    assert "No error figure for lcm: it samples distilled networks" in told
    assert "No error figure for euler_a: samplers of the SDE are compared on one path: set noise.path=brownian" in told


def test_other_starts_are_said_and_measured_apart(tmp_path) -> None:
    """'leading' with 5 steps begins far below the clock's end: another picture, by no fault of the method."""
    words = ("scheduler=euler", "scheduler.timestep_spacing=leading,linspace", "steps=5,20")
    found = compared(tmp_path, GaussianSession(), *words)
    (said,) = [note for note in found.notes if "different first levels" in note]
    assert "3 different first levels" in said


def test_what_is_written_is_whole(tmp_path) -> None:
    found = compared(tmp_path, GaussianSession(), "scheduler=ddim,unipc", "steps=5,10,20", ROUND)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["notes"] == list(found.notes)
    assert [row["method"] for row in record["curves"]] == ["ddim", "unipc"]
    for row in record["curves"]:
        assert [point["nfe"] for point in row["points"]] == [5, 10, 20]
        assert {need["sure"] for need in row["needs"]} <= {"about", "at most", "more than", "unknown"}
    assert len(found.plots) == 2
    for text in found.plots.values():
        assert text.lstrip().startswith("<?xml")
        assert "network evaluations a picture" in text, "words stay words, which a page can search"
    assert len(list(tmp_path.glob("*.svg"))) == len(list(tmp_path.glob("*.png"))) == 2


def test_what_is_missing_is_said_before_work_starts(monkeypatch) -> None:
    recipe = compose([*QUIET, "compare.lpips=true"]).jobs[0].recipe
    monkeypatch.setattr("components.packages.find_spec", lambda name: None)
    problems = for_sweep(recipe)
    assert [problem.where for problem in problems] == ["compare", "compare.lpips"]
    assert "matplotlib" in problems[0].what
    assert for_sweep(recipe.model_copy(update={"compare": None})) == []


def test_the_demo_compared_in_miniature(tmp_path) -> None:
    """Two samplers, four and eight steps, a rough reference: nearer with more steps, and near at all."""
    words = ("scheduler=ddim,dpmpp_2m", "steps=4,12", "guidance_scale=1", "compare.reference_steps=16", ROUND)
    found = compared(tmp_path, Session(), *words)
    for row in found.table:
        few, many = row["points"]
        assert many["error"] < few["error"] < 1
        assert many["psnr"] > few["psnr"]
        assert many["ssim"] > few["ssim"]
    assert all(metrics["fidelity"] in (0.0, 1.0) for metrics in found.metrics)
