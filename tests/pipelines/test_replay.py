"""A run, or a picture torn out of its folder, can be made again with every pixel the same; if not, it is said how."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from runner.compose import load_file
from runner.errors import RecipeError
from runner.execute import RunResult, execute
from runner.outputs import read_pixels
from runner.replay import describe_difference, replay

SCHEDULER = {"name": "EulerAncestralDiscreteScheduler"}  # draws in every row, so seeds and order matter


@pytest.fixture
def batch(run: Callable[..., RunResult]) -> RunResult:
    """Five images in batches of two: 0-1, 2-3, 4."""
    return run(num_images=5, batch_size=2, scheduler=SCHEDULER)


def test_the_saved_recipe_gives_the_same_bytes(batch: RunResult, tmp_path: Path) -> None:
    recipe = load_file(batch.folder / "recipe.yaml").jobs[0].recipe
    again = execute(recipe, folder=tmp_path / "again", progress=False)
    for old, new in zip(batch.images, again.images, strict=True):
        assert old.name == new.name
        assert read_pixels(old).tobytes() == read_pixels(new).tobytes()


def test_a_folder_replays_identically(batch: RunResult) -> None:
    result = replay(batch.folder, check=True, progress=False)
    assert result.identical
    assert result.lines == ["identical: every pixel of 5 images"]
    assert result.folder is None


@pytest.mark.parametrize("file_format", ["png", "jpg", "webp"])
def test_a_picture_alone_replays_identically(run: Callable[..., RunResult], tmp_path: Path, file_format: str) -> None:
    made = run(num_images=3, batch_size=2, scheduler=SCHEDULER, output={"format": file_format, "dir": str(tmp_path)})
    torn = tmp_path / f"holiday{made.images[1].suffix}"
    shutil.copy(made.images[1], torn)
    shutil.rmtree(made.folder)
    result = replay(torn, check=True, progress=False)
    assert result.identical
    assert result.lines == ["identical: every pixel of 1 image"]


def test_without_check_the_new_pictures_stay(batch: RunResult) -> None:
    result = replay(batch.images[3], check=False, progress=False)
    assert result.identical
    assert result.folder is not None
    assert result.folder != batch.folder
    assert sorted(p.name for p in result.folder.glob("*.png")) == [p.name for p in batch.images[2:4]]


def test_another_thread_count_or_partition_is_not_taken_from_here(batch: RunResult) -> None:
    """The record pins them: a replay runs the partition of then even where the recipe's own would be another."""
    manifest = batch.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    values["batches"] = [[0], [1, 2, 3, 4]]
    manifest.write_text(json.dumps(values))
    result = replay(batch.folder, check=False, progress=False)
    assert result.folder is not None
    assert json.loads((result.folder / "manifest.json").read_text())["batches"] == [[0], [1, 2, 3, 4]]


def test_a_changed_recipe_is_noticed_and_measured(batch: RunResult) -> None:
    path = batch.folder / "recipe.yaml"
    path.write_text(path.read_text().replace("a large red star", "a small blue ring"))
    result = replay(batch.folder, check=True, progress=False)
    assert not result.identical
    assert result.lines[0] == "different: 5 of 5 images"
    assert "of 1024 pixels differ, by at most" in result.lines[1]
    assert result.lines[-1] == "nothing is known to have changed since"


def test_other_versions_and_weights_are_named_when_pixels_differ(batch: RunResult) -> None:
    path = batch.folder / "recipe.yaml"
    path.write_text(path.read_text().replace("a large red star", "a small blue ring"))
    manifest = batch.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    values["versions"]["torch"] = "1.0"
    values["checkpoint"]["components"]["unet"]["sha256"] = {}
    manifest.write_text(json.dumps(values))
    lines = replay(batch.folder, check=True, progress=False).lines
    assert any(line.startswith("torch: 1.0 then, ") for line in lines)
    assert "checkpoint: other files for unet" in lines


def test_a_picture_edited_afterwards_is_told_from_a_failed_replay(batch: RunResult) -> None:
    with Image.open(batch.images[0]) as image:
        chunks = PngImagePlugin.PngInfo()
        for key, value in image.text.items():  # type: ignore[attr-defined]
            chunks.add_itxt(key, value)
        edited = np.asarray(image).copy()
    edited[0, 0] ^= 255
    Image.fromarray(edited).save(batch.images[0], pnginfo=chunks)
    result = replay(batch.images[0], check=True, progress=False)
    assert not result.identical
    assert "1 of 1024 pixels differ" in result.lines[1]
    assert "the file was changed after it was made" in result.lines[1]


def test_a_device_that_is_not_here_is_said(batch: RunResult) -> None:
    manifest = batch.folder / "manifest.json"
    values = json.loads(manifest.read_text()) | {"device": "cuda:7"}
    manifest.write_text(json.dumps(values))
    lines = replay(batch.folder, check=True, progress=False).lines
    assert lines[0].startswith("the device cuda:7 is not on this machine")


@pytest.mark.parametrize("target", ["nothing", "empty folder", "text file"])
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, target: str) -> None:
    path = tmp_path / target
    if target == "empty folder":
        path.mkdir()
    elif target == "text file":
        path.write_text("hello")
    with pytest.raises(RecipeError) as caught:
        replay(path, check=True, progress=False)
    expected = {"nothing": "no such file", "empty folder": "has no manifest.json", "text file": "not a picture"}
    assert expected[target] in str(caught.value)
    assert str(path) in str(caught.value)


def test_differences_in_words() -> None:
    old: Any = np.zeros((2, 3, 3), np.uint8)
    new = old.copy()
    assert describe_difference(old, new) == ""
    new[1, 2] = (1, 200, 0)
    assert describe_difference(old, new) == "1 of 6 pixels differ, by at most 200 of 255"
    assert describe_difference(old, new[:1]) == "was 3×2 pixels, is now 3×1"
