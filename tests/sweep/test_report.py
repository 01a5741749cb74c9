"""The page of a sweep as a file: complete, self-contained, safe with hostile text, cheap to write again."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import time
from dataclasses import replace
from html import escape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from synthetic_sweep import STEPS, data_of, picture, sweep

from runner.errors import RecipeError
from runner.sweep import thumbnails
from runner.sweep.report import write_report
from runner.sweep.results import SweepResults

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> \u2028 {data} \ud800 &amp;"


def test_the_page_holds_every_picture_with_its_values_figures_and_recipe(tmp_path: Path) -> None:
    axes = {"scheduler": ["euler", "heun"], "prompt": ["a", "b"], "seed": [3, 4]}
    results = sweep(tmp_path, axes)
    found = data_of(write_report(replace(results, images=results.images[::-1])))
    assert found["axes"] == [{"key": key, "values": [str(value) for value in axes[key]]} for key in axes]
    assert found["metrics"] == ["relative_l2", "psnr"]
    assert len(found["images"]) == len(results.images) == 8
    for entry, image in zip(found["images"], results.images, strict=True):
        values = {axis["key"]: axis["values"][at] for axis, at in zip(found["axes"], entry["at"], strict=True)}
        assert values == {key: str(value) for key, value in image.varied.items()}
        assert entry["metrics"] == pytest.approx(list(image.metrics.values()), rel=1e-5)
        assert (entry["nfe"], entry["steps"], entry["seed"]) == (STEPS, STEPS, image.seed)
        assert entry["sha256"] == image.sha256
        assert "\n".join(found["lines"][line] for line in found["recipes"][entry["recipe"]]) + "\n" == image.recipe
        assert tmp_path / unquote(entry["file"]) == image.file


def test_small_pictures_lie_in_the_page_pixel_by_pixel_and_large_ones_as_small_copies(tmp_path: Path) -> None:
    for size, inside in ((64, 64), (700, 256)):
        results = sweep(tmp_path / str(size), {"seed": [1]}, size=size)
        (entry,) = data_of(write_report(results))["images"]
        with Image.open(io.BytesIO(base64.b64decode(entry["thumbnail"]))) as copy:
            pixels = np.asarray(copy.convert("RGB"))
        assert pixels.shape == (inside, inside, 3)
        if size == inside:
            assert (pixels == picture([0], size)).all()


def test_a_hostile_prompt_is_text_wherever_it_stands(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"prompt": [HOSTILE, "b"]}, failed=[1], notes=[HOSTILE], plots={HOSTILE: "<svg/>"})
    page = write_report(replace(results, name=HOSTILE))
    text = page.read_text("utf-8")
    assert len(re.findall("<script", text)) == 2  # the data and the page's own
    assert "<img src=x" not in text
    assert f"<title>{escape(HOSTILE).encode('utf-8', 'replace').decode()}</title>" in text
    assert data_of(page)["axes"][0]["values"][0] == HOSTILE
    assert data_of(page)["notes"] == [HOSTILE]


def test_the_policy_allows_the_pages_own_script_and_no_other(tmp_path: Path) -> None:
    text = write_report(sweep(tmp_path, {"seed": [1, 2]})).read_text("utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.findall(r"(?:https?:)?//\w+\.", re.sub(r"//[^\n]*\n", "\n", text))  # comments aside, no address


def test_files_with_any_name_are_linked(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1]})
    file = tmp_path / "100% #1?.png"
    results.images[0].file.rename(file)
    (entry,) = data_of(write_report(replace(results, images=[replace(results.images[0], file=file)])))["images"]
    assert entry["file"] == "100%25%20%231%3F.png"


def test_the_page_says_how_far_the_sweep_is_and_what_failed(tmp_path: Path) -> None:
    axes = {"scheduler": ["euler", "heun"], "seed": [1, 2, 3]}
    found = data_of(write_report(sweep(tmp_path, axes, failed=[1], missing=[4, 5])))
    assert (found["finished"], found["planned"], len(found["images"])) == (4, 6, 3)
    (failure,) = found["failures"]
    assert failure["varied"] == {"scheduler": "euler", "seed": "2"}
    assert failure["at"] == [0, 1]
    assert "found no weights" in failure["message"]


def test_figures_that_json_cannot_hold_survive(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1]})
    metrics = {"psnr": float("inf"), "ssim": float("nan"), "lpips": -float("inf"), "fidelity": np.float32(0.5)}
    found = data_of(write_report(replace(results, images=[replace(results.images[0], metrics=metrics)])))
    assert found["images"][0]["metrics"] == ["Infinity", None, "-Infinity", 0.5]


def test_a_page_is_written_again_without_reading_the_pictures_again(tmp_path: Path, monkeypatch) -> None:
    results = sweep(tmp_path, {"seed": list(range(20))}, missing=[19])
    made = []
    original = thumbnails._small_copy
    monkeypatch.setattr(thumbnails, "_small_copy", lambda file, side: made.append(file) or original(file, side))
    write_report(results)
    assert sorted(made) == sorted(image.file for image in results.images)
    made.clear()
    write_report(sweep(tmp_path, {"seed": list(range(20))}))
    assert [file.name for file in made] == ["0019.png"]


def test_a_deleted_picture_leaves_an_empty_place_and_not_an_error(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1, 2, 3]})
    results.images[0].file.unlink()
    results.images[1].file.write_bytes(b"no picture")
    assert [bool(entry["thumbnail"]) for entry in data_of(write_report(results))["images"]] == [False, False, True]


def test_a_sweep_without_a_picture_has_a_page(tmp_path: Path) -> None:
    assert data_of(write_report(SweepResults("shapes", tmp_path, {"seed": [1, 2]}, [], planned=2)))["images"] == []


def test_rows_that_do_not_vary_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not varied"):
        write_report(sweep(tmp_path, {"seed": [1, 2]}), rows="scheduler")
    assert not list(tmp_path.glob("report*"))


def test_two_thousand_pictures_make_a_page_of_moderate_size_that_is_quickly_written_again(large_sweep) -> None:
    results, page = large_sweep
    assert len(data_of(page)["images"]) == 2000
    assert page.stat().st_size < 20e6
    started = time.process_time()
    write_report(results)
    assert time.process_time() - started < 5
