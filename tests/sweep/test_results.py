"""What a sweep's results are called, how they are laid out, and the table they are written to."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_sweep import sweep

from runner.errors import RecipeError
from runner.sweep import layout
from runner.sweep.results import Failure, SweepResults
from runner.sweep.table import write_table

PROMPTS = ["a medium blue ring on a yellow background", "a small green heart on a white background"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_every_picture_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"], "prompt": PROMPTS, "seed": [3, 4]}, failed=[5])
    rows = read(write_table(results))
    assert len(rows) == len(results.images) == 7
    for row, image in zip(rows, results.images, strict=True):
        assert row["job"] == image.job
        assert (row["scheduler"], row["prompt"]) == (image.varied["scheduler"], image.varied["prompt"])
        assert (int(row["seed"]), int(row["nfe"]), int(row["steps"])) == (image.seed, image.nfe, image.steps)
        assert float(row["seconds"]) == image.seconds
        assert row["sha256"] == image.sha256
        assert tmp_path / row["file"] == image.file
        assert {name: float(row[name]) for name in image.metrics} == image.metrics


def test_pictures_made_in_any_order_are_listed_in_the_order_asked_for(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"steps": [20, 5, 10], "seed": [2, 1]})
    shuffled = replace(results, images=results.images[::-1])
    rows = read(write_table(shuffled))
    assert [(row["steps"], row["seed"]) for row in rows] == [
        (str(image.steps), str(image.seed)) for image in results.images
    ]
    assert [row["job"] for row in rows] == [image.job for image in results.images]


@pytest.mark.parametrize("prompt", ["=HYPERLINK(1)", "+1", "-a cat", "@SUM(A1)", "\tx"])
def test_a_spreadsheet_executes_no_prompt(tmp_path: Path, prompt: str) -> None:
    (first, *_) = read(write_table(sweep(tmp_path, {"prompt": [prompt, 'a "quoted", prompt\nof two lines']})))
    assert first["prompt"] == f"'{prompt}"


def test_values_of_every_kind_survive_the_table(tmp_path: Path) -> None:
    values = [None, True, -1.5, [999, 500], 'a "quoted", prompt\nof two lines', "ä中🐈", "\ud800"]
    rows = read(write_table(sweep(tmp_path, {"value": values})))
    assert [row["value"] for row in rows] == ["null", "true", "-1.5", "[999, 500]", *values[4:6], "?"]


def test_a_metric_that_only_some_pictures_have_leaves_the_others_cells_empty(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1, 2]}, metrics=False)
    images = [replace(results.images[0], metrics={"psnr": float("inf")}), results.images[1]]
    assert [row["psnr"] for row in read(write_table(replace(results, images=images)))] == ["inf", ""]


def test_a_sweep_without_pictures_has_a_table_without_rows(tmp_path: Path) -> None:
    assert read(write_table(SweepResults("shapes", tmp_path, {"seed": [1, 2]}, [], planned=2))) == []


@pytest.mark.parametrize(
    ("axes", "grid"),
    [
        ({"scheduler": 12, "prompt": 4, "seed": 4}, ("prompt", "scheduler")),
        ({"scheduler": 12, "seed": 100}, ("seed", "scheduler")),
        ({"steps": 4, "scheduler": 5}, ("steps", "scheduler")),
        ({"scheduler": 3, "prompt": 4, "seed": 9}, ("prompt", "scheduler")),
        ({"scheduler": 20, "steps": 4}, ("scheduler", "steps")),
        ({"seed": 3}, (None, "seed")),
        ({"seed": 40}, ("seed", None)),
        ({"prompt": 2}, ("prompt", None)),
        ({"seed": 1}, (None, None)),
    ],
)
def test_the_longest_axes_make_the_grid_and_what_is_short_runs_across(tmp_path, axes, grid) -> None:
    values = {
        key: [f"{key} {'of very many words ' * (key == 'prompt')}{n}" for n in range(n)] for key, n in axes.items()
    }
    values = {key: list(range(len(found))) if key == "seed" else found for key, found in values.items()}
    assert layout.grid(SweepResults("x", tmp_path, values, [])) == grid


def test_axes_that_were_zipped_count_once(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"steps": [5, 10, 20], "seed": [1]})
    images = [
        replace(image, varied={**image.varied, "guidance_scale": image.varied["steps"] / 2}) for image in results.images
    ]
    zipped = replace(results, images=images, axes={"steps": [5, 10, 20], "guidance_scale": [2.5, 5.0, 10.0]})
    assert layout.tied(zipped) == {"guidance_scale"}
    assert layout.grid(zipped) == (None, "steps")


def test_the_pictures_of_a_job_differ_by_their_seeds(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"]})
    images = [replace(image, seed=seed, index=seed - 7) for image in results.images for seed in (7, 8)]
    assert layout.axes(replace(results, images=images)) == {"scheduler": ["euler", "heun"], "seed": ["7", "8"]}


def test_seeds_stay_in_the_order_asked_for_unless_jobs_have_more_of_them(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [20, 3]})
    assert layout.axes(results) == {"seed": ["20", "3"]}
    images = [replace(image, seed=image.seed + at, index=at) for image in results.images for at in (0, 1)]
    assert layout.axes(replace(results, images=images)) == {"seed": ["3", "4", "20", "21"]}


def test_asking_for_rows_that_do_not_vary_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"], "seed": [1, 2]})
    assert layout.grid(results, rows="scheduler") == ("scheduler", "seed")
    with pytest.raises(RecipeError) as caught:
        layout.grid(results, rows="schedular")
    assert str(caught.value).splitlines() == [
        "command line: --rows schedular: 'schedular' is not varied in this sweep. Did you mean 'scheduler'?",
        "    allowed: scheduler, seed",
    ]
    with pytest.raises(RecipeError, match="the same key"):
        layout.grid(results, rows="seed", columns="seed")


def test_jobs_that_are_over_are_counted_once(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1, 2, 3, 4]}, missing=[2], failed=[3])
    partly = Failure(results.images[0].job, results.images[0].varied, "stopped after its first picture")
    assert replace(results, failures=[*results.failures, partly]).finished == 3
