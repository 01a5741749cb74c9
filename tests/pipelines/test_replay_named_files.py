"""A picture opens no file of this machine that its user has not named, and what was named is told from what was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from runner.errors import RecipeError
from runner.execute import RunResult
from runner.outputs import read_record
from runner.replay import replay

SAME = "identical: every pixel of 1 image"


@pytest.fixture
def torn(run: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture that lost its folder."""
    monkeypatch.chdir(tmp_path)
    made = run()
    shutil.move(made.images[0], tmp_path / "torn.png")
    shutil.rmtree(made.folder)
    return tmp_path / "torn.png"


def checked(picture: Path, *words: str, look_in: Path | None = None) -> list[str]:
    return replay(picture, check=True, progress=False, words=words, look_in=look_in).lines


def refused(picture: Path, *words: str, look_in: Path | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        checked(picture, *words, look_in=look_in)
    return " ".join(str(caught.value).split())


def rewritten(picture: Path, old: str, new: str, files: bool = True) -> Path:
    """The picture with other words in its recipe, and its sums taken out or not."""
    with Image.open(picture) as image:
        pixels, text = image.copy(), dict(image.text)  # type: ignore[attr-defined]
    assert old in text["recipe"]
    run = json.loads(text["run"])
    if not files:
        del run["files"]
    chunks = PngImagePlugin.PngInfo()
    for key, value in {**text, "recipe": text["recipe"].replace(old, new), "run": json.dumps(run)}.items():
        chunks.add_itxt(key, value)
    pixels.save(picture, pnginfo=chunks)
    return picture


def test_a_picture_holds_no_path_of_the_machine_but_names_sizes_and_sums(torn: Path, tiny: Path) -> None:
    assert str(tiny).encode() not in torn.read_bytes() and str(torn.parent).encode() not in torn.read_bytes()
    record = read_record(torn)
    assert f"repo: {tiny.name}\n" in record.recipe and list(record.files) == ["checkpoint.repo"]
    files = record.files["checkpoint.repo"]
    assert {"model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"} <= set(files)
    assert all((tiny / name).stat().st_size == size for name, (size, _) in files.items())


def test_where_its_folder_is_has_to_be_said(torn: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(torn)
    assert "checkpoint.repo was the folder" in said and "opens no file here that you do not name" in said
    assert "recipe replay PICTURE checkpoint.repo=FOLDER, or --look-in FOLDER" in said
    assert checked(torn, f"checkpoint.repo={tiny}") == [SAME]
    monkeypatch.chdir(tiny.parent)  # where a folder of that name is
    assert "opens no file here" in refused(torn)


def test_it_is_found_by_sizes_and_sums(torn: Path, tiny: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny, models / "a")
    shutil.copytree(tiny, models / "deep" / "b")
    index = models / "a" / "model_index.json"
    index.write_text(index.read_text().replace(" ", "\t", 1))  # the same size, and another sum
    assert checked(torn, look_in=models) == [f"checkpoint.repo: {models / 'deep' / 'b'}", SAME]
    shutil.rmtree(models / "deep")
    assert f"no folder in {models} has the files of checkpoint.repo" in refused(torn, look_in=models)
    assert "is not an existing folder" in refused(torn, look_in=tmp_path / "nowhere")


def test_a_folder_that_holds_other_files_is_told(torn: Path, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "other")
    index = tmp_path / "other" / "model_index.json"
    index.write_text(index.read_text() + "\n")
    note = f"checkpoint.repo: not what was drawn with: model_index.json in {tmp_path / 'other'}"
    assert checked(torn, f"checkpoint.repo={tmp_path / 'other'}") == [note, SAME]


@pytest.mark.parametrize("value", ["/etc", "./here", "~/x", "org/name", "'${prompt}'", "a/b/c", "'C:\\x'"])
def test_a_strangers_picture_opens_nothing_whatever_it_says(torn: Path, tiny: Path, value: str) -> None:
    """`org/name` is a repository's spelling, but here a folder is called so."""
    (torn.parent / "org" / "name").mkdir(parents=True)
    rewritten(torn, f"repo: {tiny.name}\n", f"repo: {value}\n", files=False)
    assert "opens no file here that you do not name" in refused(torn)
    assert "or --look-in" not in refused(torn)
    assert checked(torn, f"checkpoint.repo={tiny}") == [SAME]


def test_nor_does_a_component_or_a_recipe_that_it_builds_on(torn: Path, tiny: Path) -> None:
    rewritten(torn, "  components: {}\n", "  components: {vae: {repo: /etc}}\n")
    assert "checkpoint.components.vae.repo was the folder '/etc'" in refused(torn, f"checkpoint.repo={tiny}")
    rewritten(torn, "format: 1\n", "format: 1\ndefaults: [mine]\n")
    assert "builds on other recipes, which one that was saved does not" in refused(torn, f"checkpoint.repo={tiny}")


def test_new_pictures_are_written_here_wherever_the_recipe_would(torn: Path, tiny: Path, tmp_path: Path) -> None:
    rewritten(torn, "dir: outputs\n", f"dir: {tmp_path / 'elsewhere'}\n")
    result = replay(torn, check=False, progress=False, words=[f"checkpoint.repo={tiny}"])
    assert result.folder is not None and result.folder.parts[0] == "outputs"
    assert not (tmp_path / "elsewhere").exists()


def test_only_where_files_are_can_be_said(torn: Path) -> None:
    assert "seed=1: a replay takes only keys that name files" in refused(torn, "seed=1")
    assert "Did you mean 'checkpoint.repo'?" in refused(torn, "checkpoint.rep=x")
