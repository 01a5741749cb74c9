"""The page of a sweep in a browser, opened from the disk: what it shows, and what happens when it is used."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from synthetic_sweep import sweep

from runner.sweep.report import write_report
from runner.sweep.results import SweepResults

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
AXES = {"scheduler": ["euler", "heun", "lms"], "prompt": ["a small ring", HOSTILE], "seed": [1, 2]}
PRESS = """
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"""
SHOWN = """
const ids = (inside) => [...inside.querySelectorAll('.picture')].map((one) => Number(one.dataset.id));
const rows = () => [...document.querySelectorAll('.grid tbody tr')];
const cells = () => rows().map((row) => [...row.querySelectorAll('td')].map(ids));
const heads = (side) => [...document.querySelectorAll(side === 'columns' ? '.grid thead th' : '.grid tbody th')]
  .map((head) => head.querySelector('.text')?.textContent).filter((text) => text !== undefined);
"""


def name(results: SweepResults, number: int) -> str:
    """What the page's address calls a picture."""
    return f"{results.images[number].job}.{results.images[number].index}"


def paint(results: SweepResults, number: int, colour: tuple[int, int, int]) -> None:
    image = results.images[number]
    Image.new("RGB", (image.width, image.height), colour).save(image.file)


def test_every_picture_lies_in_the_cell_of_its_values(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, AXES)
    found = chromium.evaluated(
        write_report(results),
        SHOWN + "return {cells: cells(), rows: heads('rows'), columns: heads('columns')};",
        urlencode({"rows": "prompt", "columns": "scheduler", "caption": ""}),
    )
    assert found["columns"] == AXES["scheduler"]
    assert found["rows"] == AXES["prompt"]
    for row, prompt in zip(found["cells"], AXES["prompt"], strict=True):
        for cell, scheduler in zip(row, AXES["scheduler"], strict=True):
            varied = [results.images[number].varied for number in cell]
            assert varied == [{"scheduler": scheduler, "prompt": prompt, "seed": seed} for seed in (1, 2)]


def test_any_two_axes_run_down_and_across_and_the_others_filter(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, AXES)
    script = f"""{SHOWN}
    const select = [...document.querySelectorAll('#tools select')];
    const set = (element, value) => {{ element.value = value; element.dispatchEvent(new Event('change')); }};
    set(select[0], 'seed');
    set([...document.querySelectorAll('#tools select')][1], 'prompt');
    const all = cells();
    [...filterOf('scheduler').querySelectorAll('.choices label')][1].querySelector('button').click();
    return {{all, heun: cells(), address: location.hash}};"""
    found = chromium.evaluated(write_report(results), script)
    images = results.images
    for at, seed in enumerate((1, 2)):
        for across, prompt in enumerate(AXES["prompt"]):
            both = [n for n, image in enumerate(images) if (image.seed, image.varied["prompt"]) == (seed, prompt)]
            assert found["all"][at][across] == both
            assert found["heun"][at][across] == [n for n in both if images[n].varied["scheduler"] == "heun"]
    assert "rows=seed" in found["address"]
    assert "only.scheduler=1" in found["address"]


def test_a_hostile_prompt_is_shown_as_text_under_the_pages_own_policy(tmp_path: Path, chromium) -> None:
    document = chromium.document(write_report(sweep(tmp_path, AXES, failed=[1])))
    assert "<title>shapes</title>" in document
    assert len(re.findall("<script", document)) == 2
    assert "&lt;/script&gt;&lt;script&gt;document.title" in document


def test_rows_are_sorted_by_the_figure_of_a_column(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"], "steps": [5, 10, 20, 40]})
    script = f"""{SHOWN}
    const click = () => document.querySelectorAll('.grid thead .head')[3].click(); // the corner has two
    const orders = [heads('rows')];
    for (let n = 0; n < 3; n++) {{ click(); orders.push(heads('rows')); }}
    return orders;"""
    chosen = urlencode({"rows": "steps", "columns": "scheduler", "caption": "psnr"})
    asked, up, down, again = chromium.evaluated(write_report(results), script, chosen)
    heun = {str(image.varied["steps"]): image.metrics["psnr"] for image in results.images[4:]}
    assert [image.varied["scheduler"] for image in results.images[4:]] == ["heun"] * 4
    assert asked == again == ["5", "10", "20", "40"]
    assert up == sorted(heun, key=heun.__getitem__)
    assert down == up[::-1]


def test_the_table_is_sorted_by_any_column_and_keeps_pictures_without_a_figure_last(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"seed": [1, 2, 3, 4]})
    psnr = [30.0, float("inf"), None, 20.0]
    images = [
        replace(image, metrics={} if value is None else {"psnr": value})
        for image, value in zip(results.images, psnr, strict=True)
    ]
    script = f"""{SHOWN}
    const headings = () => [...document.querySelectorAll('.table th button')];
    const heading = () => headings().find((one) => one.textContent.startsWith('PSNR'));
    const orders = [ids(document)];
    for (let n = 0; n < 2; n++) {{ heading().click(); orders.push(ids(document)); }}
    return orders;"""
    found = chromium.evaluated(write_report(replace(results, images=images)), script, "view=table")
    assert found == [[0, 1, 2, 3], [3, 0, 1, 2], [1, 0, 3, 2]]


def test_keys_walk_over_the_pictures_compare_them_and_close(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun", "lms"], "steps": [5, 10]})
    script = f"""{PRESS}
    document.querySelector('.picture[data-id="0"] > button').click();
    const seen = [chosen.open];
    for (const key of ['ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp']) {{ press(key); seen.push(chosen.open); }}
    press('c'); press('ArrowRight');
    const held = [chosen.pinned, chosen.open, chosen.mode, viewer.querySelectorAll('.stage.side img').length];
    press('3');
    const difference = viewer.querySelectorAll('.frame.difference img').length;
    press('4');
    const wipe = viewer.querySelectorAll('.frame.wipe img').length;
    press('Escape');
    const focus = document.activeElement.closest('.picture').dataset.id;
    return {{seen, held, difference, wipe, open: viewer.open, focus}};"""
    found = chromium.evaluated(write_report(results), script, urlencode({"rows": "steps", "columns": "scheduler"}))
    assert found["seen"] == [0, 2, 3, 1, 0]  # picture 0 is euler with 5 steps, 2 heun with 5, 3 heun with 10
    assert found["held"] == [0, 2, "side", 2]
    assert (found["difference"], found["wipe"]) == (2, 2)
    assert found["open"] is False
    assert found["focus"] == "2"


def test_a_picture_is_enlarged_from_its_own_file(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"seed": [1, 2]})
    page = write_report(results)
    paint(results, 1, (12, 200, 90))  # the file, after the small copy was taken
    shot = chromium.screenshot(page, f"open={name(results, 1)}")
    assert (shot == (12, 200, 90)).all(-1).mean() > 0.25


def test_without_its_file_a_picture_is_enlarged_from_the_small_copy(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"seed": [1, 2]})
    paint(results, 1, (12, 200, 90))
    page = write_report(results)
    results.images[1].file.unlink()
    script = """
    const image = viewer.querySelector('.stage img');
    for (let n = 0; n < 50 && !image.src.startsWith('data:'); n++) await new Promise((done) => setTimeout(done, 20));
    return [image.src.slice(0, 15), document.getElementById('onlySmall').hidden];"""
    assert chromium.evaluated(page, script, f"open={name(results, 1)}") == ["data:image/webp", False]


@pytest.mark.parametrize("gain", [1, 4])
def test_the_difference_of_two_pictures_is_shown_amplified(tmp_path: Path, chromium, gain: int) -> None:
    results = sweep(tmp_path, {"seed": [1, 2]})
    first, second = (100, 150, 200), (90, 170, 200)
    paint(results, 0, first)
    paint(results, 1, second)
    words = {"open": name(results, 1), "with": name(results, 0), "mode": "difference", "gain": gain}
    shot = chromium.screenshot(write_report(results), urlencode(words))
    expected = np.minimum(255, gain * np.abs(np.subtract(first, second)))
    assert (np.abs(shot.astype(int) - expected).max(-1) <= 1).mean() > 0.25


def test_pictures_side_by_side_and_under_a_wipe(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"seed": [1, 2]})
    paint(results, 0, (200, 30, 40))
    paint(results, 1, (30, 40, 200))
    page = write_report(results)
    for mode in ("side", "wipe"):
        shot = chromium.screenshot(page, urlencode({"open": name(results, 1), "with": name(results, 0), "mode": mode}))
        left, right = ((shot == colour).all(-1) for colour in ((200, 30, 40), (30, 40, 200)))
        assert left.mean() == pytest.approx(right.mean(), rel=0.05)
        assert left.mean() > 0.1
        assert np.nonzero(left)[1].max() <= np.nonzero(right)[1].min()


def test_the_recipe_of_a_picture_is_copied_whole(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, AXES)
    script = """
    let text = null;
    Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (copied) => { text = copied; }}});
    [...viewer.querySelectorAll('button')].find((one) => one.textContent === 'copy').click();
    await new Promise((done) => setTimeout(done, 50));
    return text;"""
    assert chromium.evaluated(write_report(results), script, f"open={name(results, 7)}") == results.images[7].recipe


def test_progress_failures_and_jobs_to_come_are_shown(tmp_path: Path, chromium) -> None:
    results = sweep(tmp_path, {"scheduler": ["euler", "heun"], "seed": [1, 2, 3]}, failed=[1], missing=[4, 5])
    document = chromium.document(write_report(results))
    assert "4 of 6 jobs · 3 pictures · 1 failed" in document
    assert document.count('class="hole failed"') == 1
    assert document.count('class="hole pending"') == 2
    failures = chromium.document(write_report(results), "view=failures")
    assert "CheckpointError: job 1 found no weights" in failures


def test_plots_are_pictures_and_their_notes_text(tmp_path: Path, chromium) -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300"><script>document.title="taken"</script>'
        '<rect width="400" height="300" fill="rgb(20, 140, 220)"/></svg>'
    )
    page = write_report(
        sweep(tmp_path, {"seed": [1]}, plots={"error against NFE": svg}, notes=["No <b>judgement</b>."])
    )
    assert (chromium.screenshot(page, "view=plots") == (20, 140, 220)).all(-1).mean() > 0.05
    document = chromium.document(page, "view=plots")
    assert "<title>shapes</title>" in document
    assert "No &lt;b&gt;judgement&lt;/b&gt;." in document


def test_dark_and_light(tmp_path: Path, chromium) -> None:
    page = write_report(sweep(tmp_path, {"seed": [1, 2]}))
    light, dark = (chromium.screenshot(page, f"theme={theme}", (600, 400)).mean() for theme in ("light", "dark"))
    assert light > 200
    assert dark < 60


def test_two_thousand_pictures_are_shown_and_drawn_anew_within_a_moment(large_sweep, chromium) -> None:
    _, page = large_sweep
    script = """
    const started = performance.now();
    show('table');
    const table = document.querySelectorAll('.table .picture').length;
    show('grid');
    document.body.getBoundingClientRect();
    const seconds = (performance.now() - started) / 1000;
    return {table, grid: document.querySelectorAll('.grid .picture').length, seconds};"""
    found = chromium.evaluated(page, script, "only.prompt=all&only.seed=all")
    assert (found["table"], found["grid"]) == (2000, 2000)
    assert found["seconds"] < 20  # 1 s on a machine that does nothing else


def test_of_a_large_sweep_the_page_opens_with_a_readable_part(large_sweep, chromium) -> None:
    document = chromium.document(large_sweep[1])
    assert document.count('class="picture"') == 200  # every scheduler and prompt, of the first seed
