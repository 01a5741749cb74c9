"""A sweep for MLflow: a parent run with what the sweep left, and within it a run per job with its pictures."""

from __future__ import annotations

import math
import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from runner.sweep.results import ImageResult, SweepResults
from runner.sweep.trackers import figures_of, job_name, jobs, labels, left_files

SWEEP, JOB, WHY = "diffusion_recipes.sweep", "diffusion_recipes.job", "diffusion_recipes.failure"
LONGEST = 6000  # letters that MLflow keeps of a parameter


def export(results: SweepResults, uri: str | None = None, experiment: str | None = None) -> str:
    """Hand a sweep to an MLflow server or store.

    By default `uri` is what MLflow itself is set to, `experiment` the name of the sweep's recipe. Jobs that are there already
    keep their run and get the figures that are new.
    """
    client = MlflowClient(tracking_uri=uri)
    name = experiment or results.name
    known = client.get_experiment_by_name(name)
    place = known.experiment_id if known is not None else client.create_experiment(name)
    folder = str(results.folder.resolve())
    runs = client.search_runs([place], f"tags.`{SWEEP}` = '{folder}'", max_results=50_000)
    by_job = {run.data.tags.get(JOB, ""): run for run in runs}
    parent = by_job.get("") or client.create_run(place, tags={SWEEP: folder, MLFLOW_RUN_NAME: results.folder.name})
    for path in left_files(results):
        client.log_artifact(parent.info.run_id, str(path))
    shared = {SWEEP: folder, MLFLOW_PARENT_RUN_ID: parent.info.run_id}
    for job, images in jobs(results).items():
        tags = {**shared, JOB: job, MLFLOW_RUN_NAME: job_name(images[0].varied, job)}
        run = by_job.get(job) or client.create_run(place, tags=tags)
        _hand_over(client, run, images, new=job not in by_job)
    for failure in results.failures:
        tags = {
            **shared,
            JOB: failure.job,
            WHY: failure.message,
            MLFLOW_RUN_NAME: job_name(failure.varied, failure.job),
        }
        if failure.job not in by_job:
            run = client.create_run(place, tags=tags)
            client.log_batch(run.info.run_id, params=_parameters(labels(failure.varied)))
            client.set_terminated(run.info.run_id, "FAILED")
    client.set_terminated(parent.info.run_id)
    return f"experiment '{name}' in {client.tracking_uri}"


def _hand_over(client: MlflowClient, run: Run, images: list[ImageResult], *, new: bool) -> None:
    """A job's figures, and of a new run also its settings, pictures and recipe."""
    number, now = run.info.run_id, int(time.time() * 1000)
    old = run.data.metrics
    metrics = [Metric(name, value, now, 0) for name, value in figures_of(images).items() if old.get(name) != value]
    metrics = [metric for metric in metrics if math.isfinite(metric.value)]
    if not new:
        client.log_batch(number, metrics=metrics, tags=[RunTag(WHY, "")] if WHY in run.data.tags else [])
        return
    client.log_batch(number, metrics=metrics, params=_parameters(labels(images[0].varied)))
    client.log_text(number, images[0].recipe, "recipe.yaml")
    for image in images:
        client.log_artifact(number, str(image.file), "pictures")
    client.set_terminated(number)


def _parameters(varied: dict[str, str]) -> list[Param]:
    return [Param(name, text[:LONGEST]) for name, text in varied.items()]
