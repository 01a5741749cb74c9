"""`recipe report` and `recipe export` on a sweep's folder."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from synthetic_sweep import data_of, sweep

from runner.sweep.results import SweepResults


@pytest.fixture
def folder(here, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep's folder, which holds what `sweep` makes."""
    axes = {"scheduler": ["euler", "heun"], "seed": [1, 2, 3]}
    results = sweep(here.folder / "mine", axes, failed=[4])
    loader = ModuleType("runner.sweep.folder")

    def load_results(folder: Path) -> SweepResults:
        assert folder.resolve() == results.folder.resolve()
        return results

    loader.load_results = load_results  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "runner.sweep.folder", loader)
    return results.folder


def test_report_makes_the_table_the_sheets_and_the_page_anew(here, folder: Path) -> None:
    code, out, _ = here.recipe_command("report", "mine")
    assert code == 0
    assert [Path(line).name for line in out.splitlines()] == ["contact_sheet.png", "results.csv", "report.html"]
    assert all(Path(line).stat().st_size for line in out.splitlines())


def test_report_takes_the_keys_that_run_down_and_across(here, folder: Path) -> None:
    for options in (("--rows", "scheduler", "--columns", "seed"), ("--rows=scheduler",)):
        code, *_ = here.recipe_command("report", "mine", *options)
        found = data_of(folder / "report.html")
        assert (code, found["rows"], found["columns"]) == (0, "scheduler", "seed")


def test_report_refuses_a_key_that_does_not_vary(here, folder: Path) -> None:
    code, _, err = here.recipe_command("report", "mine", "--rows", "schedular")
    assert code == 2
    assert "Did you mean 'scheduler'?" in err
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "words", [["report"], ["report", "mine", "--rows"], ["export", "mine"], ["export", "--to", "mlflow"]]
)
def test_a_verb_with_too_few_words_says_how_it_is_used(here, words: list[str]) -> None:
    code, _, err = here.recipe_command(*words)
    assert code == 2
    assert f"usage: recipe {words[0]} FOLDER" in err


def test_export_hands_the_sweep_to_a_tracker(here, folder: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    code, out, _ = here.recipe_command("export", "mine", "--to", "tensorboard", "folder=events")
    assert (code, out) == (0, "tensorboard --logdir events\n")
    assert len(list((here.folder / "events").iterdir())) == 5


def test_export_to_an_unknown_tracker_names_those_there_are(here) -> None:
    code, _, err = here.recipe_command("export", "mine", "--to", "tensorbord")
    assert code == 2
    assert "Did you mean 'tensorboard'?" in err
