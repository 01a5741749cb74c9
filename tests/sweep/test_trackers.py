"""Sweeps handed to experiment trackers, through each one's own library and on the disk alone, and read back."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_sweep import STEPS, sweep

from components.packages import how_to_install
from runner.errors import RecipeError
from runner.sweep.leave import leave
from runner.sweep.results import SweepResults
from runner.sweep.trackers import TRACKERS, figures_of, job_name, jobs, tracker

AXES = {"scheduler": ["euler", "heun"], "prompt": ["a small ring, blue", "b"]}


@pytest.fixture
def results(tmp_path: Path) -> SweepResults:
    """Four jobs, one of which failed; the others have two pictures each."""
    one = sweep(tmp_path / "a user's sweep", AXES, failed=[3])
    images = [replace(image, seed=image.seed + at, index=at) for image in one.images for at in (0, 1)]
    return replace(one, images=images)


def test_a_job_has_the_mean_of_its_pictures_figures(results: SweepResults) -> None:
    first, second, *_ = results.images
    spread = [replace(first, metrics={"psnr": 20.0, "ssim": 0.5}), replace(second, metrics={"psnr": 30.0})]
    assert figures_of(spread) == {"nfe": STEPS, "steps": STEPS, "seconds": first.seconds, "psnr": 25.0, "ssim": 0.5}


def test_names_of_jobs_are_readable_safe_and_different() -> None:
    long = "a prompt / with \0 everything " * 20
    names = [job_name({"scheduler.eta": 0.5, "prompt": long}, job) for job in ("0123456789ab", "abcdef012345")]
    assert names[0].startswith("eta-0.5_prompt-a-prompt-with-everything")
    assert names[0] != names[1]
    assert all(len(name) < 100 and "/" not in name for name in names)
    assert job_name({}, "0123456789ab") == "01234567"


def test_an_unknown_tracker_or_option_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'mlflow'"):
        tracker("mlflw")
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    with pytest.raises(RecipeError, match=r"no option 'foldr'\. Did you mean 'folder'"):
        tracker("tensorboard", ["foldr=x"])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError) as caught:
        tracker(name)
    assert f"the export to {name} needs {name}, which is not installed" in str(caught.value)
    assert how_to_install([name]) in str(caught.value)


def test_tensorboard_gets_a_run_per_job_and_no_second_one(results: SweepResults) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        said = tracker("tensorboard")(results)
    assert said == f"tensorboard --logdir {results.folder / 'tensorboard'}"
    for job, images in jobs(results).items():
        events = EventAccumulator(str(results.folder / "tensorboard" / job_name(images[0].varied, job)))
        events.Reload()
        assert sorted(events.Tags()["images"]) == ["picture/0", "picture/1"]
        assert len(events.Images("picture/0")) == 1
        assert events.Images("picture/0")[0].width == images[0].width
        (psnr,) = events.Scalars("psnr")
        assert psnr.value == pytest.approx(images[0].metrics["psnr"])
    assert len(list((results.folder / "tensorboard").iterdir())) == 3


def test_mlflow_gets_a_run_per_job_below_one_for_the_sweep(results: SweepResults, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    leave(results)
    store = f"file:{results.folder}/runs"
    tracker("mlflow", [f"uri={store}", "experiment=mine"])(results)
    measured = [replace(image, metrics={**image.metrics, "fidelity": 0.75}) for image in results.images]
    tracker("mlflow", [f"uri={store}", "experiment=mine"])(replace(results, images=measured))

    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    by_job = {run.data.tags.get("diffusion_recipes.job"): run for run in runs}
    assert len(runs) == len(by_job) == 5  # three jobs, a failed one, the sweep
    parent = by_job[None]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "contact_sheet.png",
        "report.html",
        "results.csv",
    }
    for job, images in jobs(results).items():
        run = by_job[job]
        assert run.data.params == images[0].varied
        assert run.data.metrics["psnr"] == pytest.approx(images[0].metrics["psnr"])
        assert run.data.metrics["fidelity"] == 0.75
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"recipe.yaml", "pictures"}
    failed = by_job[results.failures[0].job]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["diffusion_recipes.failure"] == results.failures[0].message


def test_mlflow_forgives_a_job_that_failed_at_first(results: SweepResults, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = f"file:{results.folder}/runs"
    export = tracker("mlflow", [f"uri={store}"])
    export(results)
    export(sweep(results.folder, AXES))
    client = mlflow.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("shapes").experiment_id])
    by_job = {run.data.tags.get("diffusion_recipes.job"): run for run in runs}
    run = by_job[results.failures[0].job]
    assert (len(runs), run.info.status) == (5, "FINISHED")
    assert "diffusion_recipes.failure" not in run.data.tags
    assert [file.path for file in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/0003.png"]


def test_wandb_gets_a_table_of_the_pictures(results: SweepResults, monkeypatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(results.folder / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(results.folder / "cache"))
    leave(results)
    said = tracker("wandb", ["mode=offline", "project=mine"])(results)
    assert said.startswith("wandb sync ")
    run = Path(said.removeprefix("wandb sync "))
    (table,) = run.rglob("*.table.json")
    found = json.loads(table.read_text("utf-8"))
    assert found["columns"][:3] == ["picture", "job", "scheduler"]
    assert [line[found["columns"].index("job")] for line in found["data"]] == [image.job for image in results.images]
    assert [line[-1] for line in found["data"]] == [image.recipe for image in results.images]
