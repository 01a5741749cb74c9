"""A sweep's pictures are those of a checkpoint's contents, wherever its folder lies, and older folders go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.session import Session
from runner.sweep import planning
from runner.sweep.folder import SweepFolder, load_results

SWEEP = Path("outputs/shapes/sweep")
WORDS = ("-m", "scheduler=euler,ddim", "steps=2", "num_images=1", "backend.threads=1")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each batch has that is drawn."""
    seen: list[int] = []
    draw = Session.draw

    def counted(self: Session, shots, *rest, **named):
        seen.append(len(shots))
        return draw(self, shots, *rest, **named)

    monkeypatch.setattr(Session, "draw", counted)
    return seen


@pytest.fixture
def checkpoint(here, family: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(family("sd15"), here.folder / "first"))


def test_a_checkpoint_that_was_moved_draws_the_same_pictures(here, checkpoint: Path, drawn: list[int]) -> None:
    assert here.run(*WORDS, "checkpoint.repo=./first")[0] == 0
    shutil.move(checkpoint, here.folder / "second")
    code, _, err = here.run(*WORDS, f"checkpoint.repo={here.folder / 'second'}")
    assert (code, drawn) == (0, [2]), err
    assert (
        here.recipe_command("plan", "-m", "shapes", *WORDS[1:], "checkpoint.repo=second")[1].count("being there") == 1
    )
    records = "".join(path.read_text() for path in (SWEEP / "batches").glob("*.json"))
    assert '"repo: ' not in records and str(here.folder) not in records and "../../../first" in records
    for image in load_results(SWEEP).images:
        assert str(here.folder).encode() not in image.file.read_bytes()


def test_pictures_whose_ids_have_the_path_in_them_are_still_known(
    here, checkpoint: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(planning, "local_keys", lambda recipe: [])
        here.run(*WORDS, "guidance_scale=3", "checkpoint.repo=./first")
    before = SweepFolder(SWEEP).plan()
    code, _, err = here.run(*WORDS, "guidance_scale=3,2", "checkpoint.repo=./first")
    assert (code, drawn) == (0, [2, 2]), err
    after = SweepFolder(SWEEP).plan()
    assert set(before.wanted) < set(after.wanted) and len(after.wanted) == 4
    assert len(load_results(SWEEP).images) == 4
    assert (
        here.recipe_command("replay", "--check", str(SWEEP))[1].splitlines()[-1] == "identical: every pixel of 4 images"
    )


def test_a_sweep_half_planned_then_keeps_its_batches(
    here, checkpoint: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(planning, "local_keys", lambda recipe: [])
        here.run(*WORDS, "checkpoint.repo=./first")
    for name in ("batches", "images"):
        shutil.rmtree(SWEEP / name)
    planned = json.loads((SWEEP / "plan.json").read_text())["batches"]
    here.run(*WORDS, "checkpoint.repo=./first")
    assert drawn == [2, 2] and json.loads((SWEEP / "plan.json").read_text())["batches"] == planned
