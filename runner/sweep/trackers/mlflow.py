"""A sweep for MLflow: a parent run with what the sweep left, and within it a run per job with its pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from runner.sweep.results import ImageResult, SweepResults
from runner.sweep.trackers import figures_of, job_name, jobs, labels, left_files, library, sweep_id

SWEEP, JOB, WHY = "diffusion_recipes.sweep", "diffusion_recipes.job", "diffusion_recipes.failure"
NAME, PARENT = "mlflow.runName", "mlflow.parentRunId"  # tags that MLflow itself reads
LONGEST = 5000  # letters that MLflow keeps of a tag; of a parameter it keeps some more


def export(results: SweepResults, uri: str | None = None, experiment: str | None = None) -> str:
    """Hand a sweep to an MLflow server or store.

    By default `uri` is what MLflow itself is set to, `experiment` the name of the sweep's recipe. Jobs that are there
    already keep their run and get the figures that are new.
    """
    client = library("mlflow").MlflowClient(tracking_uri=uri)
    name = experiment or results.name
    known = client.get_experiment_by_name(name)
    place = known.experiment_id if known is not None else client.create_experiment(name)
    number = sweep_id(results)
    runs = client.search_runs([place], f"tags.`{SWEEP}` = '{number}'", max_results=50_000)
    by_job = {run.data.tags.get(JOB, ""): run for run in runs}
    parent = by_job.get("") or client.create_run(place, tags={SWEEP: number, NAME: results.folder.name})
    for path in left_files(results):
        client.log_artifact(parent.info.run_id, str(path))
    shared = {SWEEP: number, PARENT: parent.info.run_id}
    for job, images in jobs(results).items():
        tags = {**shared, JOB: job, NAME: job_name(images[0].varied, job)}
        _hand_over(client, by_job.get(job) or client.create_run(place, tags=tags), images)
    for failure in results.failures:
        tags = {**shared, JOB: failure.job, NAME: job_name(failure.varied, failure.job)}
        run = by_job.get(failure.job) or client.create_run(place, tags=tags)
        client.log_batch(run.info.run_id, params=_parameters(failure.varied))
        client.set_tag(run.info.run_id, WHY, failure.message[:LONGEST])
        client.set_terminated(run.info.run_id, "FAILED")
    client.set_terminated(parent.info.run_id)
    return f"experiment '{name}' in {client.tracking_uri}"


def _hand_over(client: Any, run: Any, images: list[ImageResult]) -> None:
    """A job's figures, and its settings, pictures and recipe where they are not there yet."""
    number, now, old = run.info.run_id, int(time.time() * 1000), run.data.metrics
    figures = {name: value for name, value in figures_of(images).items() if math.isfinite(value)}
    metric = library("mlflow").entities.Metric
    metrics = [metric(name, value, now, 0) for name, value in figures.items() if old.get(name) != value]
    client.log_batch(number, metrics=metrics, params=_parameters(images[0].varied))
    if not old:
        client.log_text(number, images[0].recipe, "recipe.yaml")
        for image in images:
            client.log_artifact(number, str(image.file), "pictures")
    if WHY in run.data.tags:  # it failed before
        client.delete_tag(number, WHY)
    client.set_terminated(number, "FINISHED")


def _parameters(varied: Mapping[str, Any]) -> list[Any]:
    param = library("mlflow").entities.Param
    return [param(name, text[:LONGEST]) for name, text in labels(varied).items()]
