"""A run, or a picture torn out of its folder, can be made again with every pixel the same; if not, it is said how."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from runner.compose import load_file, to_yaml
from runner.errors import RecipeError
from runner.execute import RunResult, execute
from runner.outputs import pixel_sha256, read_pixels
from runner.provenance import NUMERICS
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
def test_a_picture_alone_replays_identically(
    run: Callable[..., RunResult], tiny: Path, tmp_path: Path, file_format: str
) -> None:
    made = run(num_images=3, batch_size=2, scheduler=SCHEDULER, output={"format": file_format, "dir": str(tmp_path)})
    torn = tmp_path / f"holiday{made.images[1].suffix}"
    shutil.copy(made.images[1], torn)
    shutil.rmtree(made.folder)
    result = replay(torn, check=True, progress=False, words=[f"checkpoint.repo={tiny}"])
    assert result.identical
    assert result.lines == ["identical: every pixel of 1 image"]


def test_without_check_the_new_pictures_stay(
    batch: RunResult, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = replay(batch.images[3], check=False, progress=False, words=[f"checkpoint.repo={tiny}"])
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


def test_a_picture_edited_afterwards_is_told_from_a_failed_replay(batch: RunResult, tiny: Path) -> None:
    with Image.open(batch.images[0]) as image:
        chunks = PngImagePlugin.PngInfo()
        for key, value in image.text.items():  # type: ignore[attr-defined]
            chunks.add_itxt(key, value)
        edited = np.asarray(image).copy()
    edited[0, 0] ^= 255
    Image.fromarray(edited).save(batch.images[0], pnginfo=chunks)
    result = replay(batch.images[0], check=True, progress=False, words=[f"checkpoint.repo={tiny}"])
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


@pytest.mark.parametrize("numerics", [0, 2])
def test_other_numerics_are_said_and_compared_within_one_level(batch: RunResult, tiny: Path, numerics: int) -> None:
    """A picture is made to differ by one level, then by two."""
    manifest = batch.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    assert values["numerics"] == NUMERICS
    manifest.write_text(json.dumps(values | {"numerics": numerics}))
    for identical in (True, False):
        image = batch.images[2]
        _alter(image, numerics)
        words = [f"checkpoint.repo={tiny}"]
        from_folder = replay(batch.folder, check=True, progress=False)
        from_picture = replay(image, check=True, progress=False, words=words)
        for result, count in ((from_folder, "5 images"), (from_picture, "1 image")):
            assert result.lines[0] == f"drawn with numerics {numerics}, here {NUMERICS}: compared within 1 of 255"
            assert result.identical == identical
            if identical:
                assert result.lines[1:] == [f"identical within 1 of 255: every pixel of {count}"]
            else:
                assert f"numerics: {numerics} then, {NUMERICS} now" in result.lines


def _alter(image: Path, numerics: int) -> None:
    """Makes it a picture of a program of other numerics: one value a level further off, and the sum of what it is."""
    with Image.open(image) as opened:
        pixels, text = np.asarray(opened).copy(), dict(opened.text)  # type: ignore[attr-defined]
    pixels[3, 4, 1] += 1 if pixels[3, 4, 1] < 128 else -1
    run = json.loads(text.pop("run")) | {"numerics": numerics, "sha256": pixel_sha256(pixels)}
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text | {"run": json.dumps(run)}).items():
        chunks.add_itxt(key, value)
    Image.fromarray(pixels).save(image, pnginfo=chunks)


def test_what_the_first_version_saved_replays_exactly(batch: RunResult, tiny: Path, tmp_path: Path) -> None:
    """A picture and a folder as it wrote them, every key of theirs stated: no numerics, and paths as they were."""
    recipe = to_yaml(load_file(batch.folder / "recipe.yaml").base)
    assert f"repo: {tiny}\n" in recipe
    pixels = [read_pixels(path) for path in batch.images]
    folder = tmp_path / "old"
    folder.mkdir()
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("recipe", recipe)
    chunks.add_text("seed", "13")
    of_then: dict[str, Any] = {"threads": 1, "device": "cpu", "dtype": "float32", "versions": {"python": "3.11.9"}}
    run = {"index": 2, "batch": [2, 3], **of_then, "sha256": pixel_sha256(pixels[2]), "together": "", "position": 0}
    chunks.add_text("run", json.dumps(run))
    Image.fromarray(pixels[2]).save(folder / "0002_13.png", pnginfo=chunks)
    image = {"file": "0002_13.png", "seed": 13, "index": 2, "sha256": pixel_sha256(pixels[2])}
    third = {"file": "0003_14.png", "seed": 14, "index": 3, "sha256": pixel_sha256(pixels[3])}
    Image.fromarray(pixels[3]).save(folder / "0003_14.png")
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "manifest.json").write_text(json.dumps({"images": [image, third], "batches": [[2, 3]], **of_then}))
    assert replay(folder, check=True, progress=False).lines == ["identical: every pixel of 2 images"]
    with pytest.raises(RecipeError, match="opens no file here that you do not name"):
        replay(folder / "0002_13.png", check=True, progress=False)
    told = replay(folder / "0002_13.png", check=True, progress=False, words=[f"checkpoint.repo={tiny}"]).lines
    assert told == ["identical: every pixel of 1 image"]


def test_differences_in_words() -> None:
    old: Any = np.zeros((2, 3, 3), np.uint8)
    new = old.copy()
    assert describe_difference(old, new) == ""
    new[1, 2] = (1, 200, 0)
    assert describe_difference(old, new) == "1 of 6 pixels differ, by at most 200 of 255"
    assert describe_difference(old, new[:1]) == "was 3×2 pixels, is now 3×1"
