"""A run that is stopped or killed leaves whole batches and a manifest of them, and nothing half written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from runner.compose import to_yaml
from runner.execute import execute
from runner.interrupts import Interrupted, InterruptGuard
from runner.schema import Recipe

ROOT = Path(__file__).parents[2]
# Runs a recipe file and exits as the command line does; the sleep in every row leaves time to press Ctrl-C.
PROGRAM = """
import sys, time
from pathlib import Path
from runner.compose import load_file
from runner.execute import execute
from runner.interrupts import Interrupted
import runner.progress
runner.progress.Progress.row_done = lambda self, *rest: time.sleep(0.01)
try:
    execute(load_file(Path(sys.argv[1])).jobs[0].recipe, folder=Path(sys.argv[2]))
except Interrupted as stop:
    print(stop, file=sys.stderr)
    sys.exit(130)
"""


def begin(recipe: Recipe, folder: Path) -> "subprocess.Popen[str]":
    """The recipe's run in a process of its own, with at least one batch committed."""
    file = folder.parent / "recipe.yaml"
    file.write_text(to_yaml(recipe))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file), str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        cwd=folder.parent,
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.png")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def check_pictures(folder: Path) -> int:
    """Every picture opens, nothing is left over, and batches are whole; how many pictures there are."""
    pictures = sorted(folder.glob("*.png"))
    for path in pictures:
        with Image.open(path) as image:
            image.load()
    assert {p.name for p in folder.iterdir()} - {p.name for p in pictures} == {"recipe.yaml", "manifest.json"}
    assert len(pictures) % 2 == 0
    return len(pictures)


@pytest.fixture
def long_recipe(recipe: Callable[..., Recipe]) -> Recipe:
    return recipe(num_images=600, batch_size=2, guidance_scale=1.0)


def test_ctrl_c_keeps_finished_batches_and_exits_with_130(long_recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(long_recipe, folder)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    count = check_pictures(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["images"]] == sorted(p.name for p in folder.glob("*.png"))
    assert manifest["finished"] is False
    assert f"Stopped. {count} of 600 images are in {folder}." in told


def test_a_second_ctrl_c_quits_at_once(tmp_path: Path) -> None:
    program = """
import signal, sys, time
from runner.interrupts import InterruptGuard
with InterruptGuard() as guard, guard.uninterrupted():
    print("ready", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None  # inside a write the first one waits
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_a_killed_run_leaves_no_half_picture(long_recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(long_recipe, folder)
    time.sleep(0.03)
    process.kill()
    process.communicate()
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.load()
    for path in folder.glob("*.json"):
        json.loads(path.read_text())
    repo = long_recipe.checkpoint.repo
    saved = to_yaml(long_recipe).replace(repo, os.path.relpath(repo, folder))  # paths lead from where they are said
    assert (folder / "recipe.yaml").read_text() == saved
    # what a kill inside a write can leave is a hidden temporary file, never a name that anyone reads
    strange = [
        p.name for p in folder.iterdir() if not re.fullmatch(r"\d+_\d+\.png|recipe\.yaml|manifest\.json", p.name)
    ]
    assert all(name.startswith(".") and name.endswith(".part") for name in strange)


def test_ctrl_c_during_a_write_takes_effect_after_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:
        with guard.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")
        done.append("never")
    assert done == ["written"]


def test_ctrl_c_before_the_first_batch_leaves_nothing(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.progress.Progress.row_done", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="No image was finished, so nothing was written") as caught:
        execute(recipe(), progress=False)
    assert caught.value.folder is None
    assert not (tmp_path / "outputs").exists()


def test_the_handler_of_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
