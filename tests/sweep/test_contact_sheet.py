"""Contact sheets: every picture in its place, readable, over as many sheets as it takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_sweep import sweep

from runner.sweep import contact_sheet
from runner.sweep.contact_sheet import write_contact_sheets
from runner.sweep.lettering import lettered
from runner.sweep.results import SweepResults


def plain(results: SweepResults) -> dict[tuple[int, int, int], int]:
    """Paints every picture in one colour of its own; which picture has which colour."""
    colours = {}
    for number, image in enumerate(results.images):
        colour = (10 + number % 16 * 15, 10 + number // 16 * 15, 100)
        Image.new("RGB", (image.width, image.height), colour).save(image.file)
        colours[colour] = number
    return colours


def places(sheet: Path, colours: dict[tuple[int, int, int], int]) -> dict[int, tuple[int, int]]:
    """The upper left corner of every picture on a sheet, found by its colour."""
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB"))
    packed = pixels.astype(np.int64) @ (65536, 256, 1)
    seen, first, count = np.unique(packed, return_index=True, return_counts=True)
    corners = {int(colour): int(at) for colour, at, n in zip(seen, first, count, strict=True) if n > 400}
    found = {}
    for (red, green, blue), number in colours.items():
        at = corners.get(65536 * red + 256 * green + blue)
        if at is not None:
            found[number] = (at % pixels.shape[1], at // pixels.shape[1])
    return found


def test_every_picture_lies_in_its_row_its_column_and_its_section(tmp_path: Path) -> None:
    axes = {"scheduler": ["euler", "heun", "lms"], "prompt": ["a", "b"], "seed": [1, 2]}
    results = sweep(tmp_path, axes)
    colours = plain(results)
    (sheet,) = write_contact_sheets(replace(results, images=results.images[::-1]))
    found = places(sheet, colours)
    assert len(found) == 12
    spots = list(product(range(3), range(2), range(2)))
    column_of, row_of = {}, {}
    for number, (scheduler, prompt, seed) in enumerate(spots):
        x, y = found[number]
        assert column_of.setdefault(scheduler, x) == x
        assert row_of.setdefault((seed, prompt), y) == y
    assert list(column_of.values()) == sorted(set(column_of.values()))
    assert [row_of[key] for key in sorted(row_of)] == sorted(set(row_of.values()))


def test_rows_and_columns_can_be_chosen(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun", "lms"], "seed": [1, 2]})
    colours = plain(results)
    (sheet,) = write_contact_sheets(results, rows="scheduler", columns="seed")
    found = places(sheet, colours)
    assert len({x for x, _ in found.values()}) == 2
    assert len({y for _, y in found.values()}) == 3


def test_a_large_sweep_takes_several_sheets_that_leave_no_picture_out(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": [f"s{n}" for n in range(8)], "guidance": [1, 2, 3], "seed": [1, 2, 3, 4]})
    colours = plain(results)
    limit = 1_400_000
    sheets = write_contact_sheets(results, pixels=limit)
    assert len(sheets) > 2
    assert [sheet.name for sheet in sheets] == [f"contact_sheet_{n}.png" for n in range(1, len(sheets) + 1)]
    shown = [number for sheet in sheets for number in places(sheet, colours)]
    assert sorted(shown) == list(range(96))
    for sheet in sheets:
        with Image.open(sheet) as image:
            assert image.width * image.height <= limit


def test_fewer_sheets_than_before_leave_no_old_ones_behind(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"], "guidance": [1, 2, 3], "seed": [1, 2, 3, 4]})
    assert len(write_contact_sheets(results, pixels=1_000_000)) > 1
    (sheet,) = write_contact_sheets(results)
    assert list(tmp_path.glob("contact_sheet*")) == [sheet]


def share(sheet: Path, colour: str) -> float:
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return float((pixels == wanted).all(-1).mean())


def test_failed_jobs_are_marked_and_so_are_jobs_to_come(tmp_path: Path) -> None:
    axes = {"scheduler": ["euler", "heun"], "seed": [1, 2, 3]}
    (whole,) = write_contact_sheets(sweep(tmp_path / "whole", axes))
    assert share(whole, contact_sheet.BAD_PAPER) == share(whole, contact_sheet.EMPTY) == 0
    (broken,) = write_contact_sheets(sweep(tmp_path / "broken", axes, failed=[1, 2], missing=[3]))
    assert share(broken, contact_sheet.BAD_PAPER) == pytest.approx(2 * share(broken, contact_sheet.EMPTY), rel=0.05)
    assert share(broken, contact_sheet.EMPTY) > 0.02


def test_of_a_job_with_several_pictures_only_the_missing_ones_are_marked(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"]}, failed=[1])
    images = [replace(results.images[0], seed=seed) for seed in range(4)]
    failures = [replace(results.failures[0], seed=seed) for seed in (1, 3)]
    marked = []
    for lost in (failures[:1], failures):
        (sheet,) = write_contact_sheets(replace(results, images=images, failures=lost, planned=8))
        marked.append(share(sheet, contact_sheet.BAD_PAPER))
    assert marked[1] == pytest.approx(2 * marked[0], rel=0.01)


def test_a_combination_that_the_sweep_leaves_out_stays_white(tmp_path: Path) -> None:
    axes = {"scheduler": ["euler", "heun"], "seed": [1, 2, 3]}
    (sheet,) = write_contact_sheets(sweep(tmp_path, axes, missing=[3], planned=5))
    assert share(sheet, contact_sheet.EMPTY) == 0


def test_a_picture_that_was_deleted_or_spoilt_does_not_spoil_the_sheet(tmp_path: Path) -> None:
    results = sweep(tmp_path, {"seed": [1, 2, 3]})
    colours = plain(results)
    results.images[0].file.unlink()
    results.images[1].file.write_bytes(b"no picture")
    (sheet,) = write_contact_sheets(results)
    assert list(places(sheet, colours)) == [2]
    assert share(sheet, contact_sheet.EMPTY) > 0.02


def test_small_pictures_are_enlarged_by_whole_pixels_and_large_ones_made_smaller(tmp_path: Path) -> None:
    for size, shown in ((64, 256), (100, 200), (300, 256)):
        results = sweep(tmp_path / str(size), {"seed": [1, 2]}, size=size)
        colours = plain(results)
        (sheet,) = write_contact_sheets(results)
        (first, _), (second, _) = sorted(places(sheet, colours).values())
        assert second - first == shown + contact_sheet.GAP


def test_a_sweep_without_a_picture_still_has_a_sheet(tmp_path: Path) -> None:
    (sheet,) = write_contact_sheets(sweep(tmp_path, {"seed": [1, 2]}, failed=[0, 1]))
    assert share(sheet, contact_sheet.BAD_PAPER) > 0.05


PROMPT = "a very long prompt, which goes on and on and needs many a line before it comes to its end"


def test_prose_is_broken_into_lines_that_fit() -> None:
    text = lettered(PROMPT, 22, 300, 20)
    assert " ".join(text.lines) == PROMPT
    assert len(text.lines) > 2
    assert text.width <= 300


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    text = lettered(PROMPT, 22, 300, 2)
    assert len(text.lines) == 2
    assert text.lines[-1].endswith("…")
    assert PROMPT.startswith(" ".join(text.lines).rstrip("…"))
    assert text.width <= 300


def test_a_long_word_is_cut_at_its_joints() -> None:
    lines = lettered("dpmpp_2m_sde_karras", 22, 120, 9).lines
    assert "".join(lines) == "dpmpp_2m_sde_karras"
    assert len(lines) > 1
    assert all(line.endswith("_") for line in lines[:-1])


@pytest.mark.parametrize("text", ["", "   ", "中文の提示", "grün\u0000\u202e", "🐈", "\ud800"])
def test_any_text_can_be_drawn(tmp_path: Path, text: str) -> None:
    assert write_contact_sheets(sweep(tmp_path, {"prompt": [text, "b"], "seed": [1, 2]}))
