"""Whole sweeps: drawn together like single runs, taken up again, shared, stopped, killed, and with failing jobs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from runner.execute import execute
from runner.outputs import pixel_sha256, read_pixels
from runner.session import Session
from runner.sweep.folder import SweepFolder, load_results

ROOT = Path(__file__).parents[2]
SHORT = ("steps=3", "num_images=1", "backend.threads=1")


@pytest.fixture
def checkpoint(family: Callable[[str], Path]) -> str:
    return f"checkpoint.repo={family('sd15')}"


BACKENDS = pytest.mark.parametrize("backend", ["torch", "jax"])


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of every batch that is drawn, as it is drawn."""
    seen: list[list[int]] = []
    draw = Session.draw

    def counted(self: Session, shots: Sequence, *rest, **named):
        seen.append([shot.seed for shot in shots])
        return draw(self, shots, *rest, **named)

    monkeypatch.setattr(Session, "draw", counted)
    return seen


def sums(folder: Path) -> dict[str, str]:
    """Picture id → sha256 of the pixels in its file."""
    return {image.job: pixel_sha256(read_pixels(image.file)) for image in load_results(folder).images}


SWEEP = Path("outputs/shapes/sweep")
AXES = ("scheduler=euler,ddim,euler_a,dpmpp_2m", "guidance_scale=2,6", 'prompt=["a red star","a blue ring on black"]')


def test_jobs_of_different_schedulers_scales_and_prompts_share_a_batch(here, checkpoint, draws) -> None:
    code, out, err = here.run("-m", *AXES, *SHORT, checkpoint)
    assert (code, out) == (0, f"{SWEEP}\n"), err
    assert [len(seeds) for seeds in draws] == [16]


@BACKENDS
def test_fused_pictures_equal_those_of_single_runs(here, checkpoint, backend) -> None:
    """No pixel is off by more than 2/255: a batch moves the last bit, and nothing else."""
    words = [*AXES, *SHORT, checkpoint, f"backend={backend}", "backend.dtype=float32"]
    here.run("-m", *words)
    images = load_results(SWEEP).images
    assert len(images) == 16
    session = Session()
    for job in here.compose(*words, multirun=True).jobs:
        (found,) = [image for image in images if dict(image.varied) == job.overrides]
        alone = execute(job.recipe, folder=Path("single") / job.label, progress=False, session=session)
        apart = np.abs(read_pixels(found.file).astype(int) - read_pixels(alone.images[0]).astype(int))
        assert apart.max() <= 2, job.overrides
    assert len(set(sums(SWEEP).values())) == 16, "every job draws another picture"


def test_row_counts_sizes_and_guidance_decide_who_shares_a_batch(here, checkpoint, draws) -> None:
    here.run("-m", "scheduler=euler,heun", "guidance_scale=1,5", "steps=2,3", *SHORT[1:], checkpoint)
    assert sorted(len(seeds) for seeds in draws) == [1] * 4 + [2, 2], (
        "heun's 2 steps are 3 rows, as euler's 3 steps are"
    )


def test_the_same_command_again_draws_nothing(here, checkpoint, draws) -> None:
    here.run("-m", "scheduler=euler,ddim", "seed=1,2", *SHORT, checkpoint)
    before = sums(SWEEP)
    draws.clear()
    code, _, err = here.run("-m", "scheduler=euler,ddim", "seed=1,2", *SHORT, checkpoint)
    assert (code, draws, sums(SWEEP)) == (0, [], before)
    assert "4 pictures, 4 of them made before: nothing left to draw" in err


def test_a_longer_axis_or_another_one_keeps_what_there_is(here, checkpoint, draws) -> None:
    here.run("-m", "seed=1,2", *SHORT, checkpoint)
    before = sums(SWEEP)
    draws.clear()
    here.run("-m", "seed=1,2,3", "guidance_scale=5,6", *SHORT, checkpoint)
    assert sorted(seed for seeds in draws for seed in seeds) == [1, 2, 3, 3], "guidance 5 is what the recipe says"
    after = sums(SWEEP)
    assert len(after) == 6 and after.items() >= before.items()


def test_a_picture_that_was_deleted_is_drawn_again_with_the_same_bytes(here, checkpoint, draws) -> None:
    here.run("-m", "seed=1,2", *SHORT, "batch_size=1", checkpoint)
    before = sums(SWEEP)
    load_results(SWEEP).images[1].file.unlink()
    draws.clear()
    here.run("-m", "seed=1,2", *SHORT, "batch_size=1", checkpoint)
    assert draws == [[2]]
    assert sums(SWEEP) == before


def test_batch_size_and_threads_do_not_make_another_picture_of_it(here, checkpoint, draws) -> None:
    here.run("-m", "seed=1,2", *SHORT, checkpoint)
    draws.clear()
    here.run("-m", "seed=1,2", *SHORT[:2], "backend.threads=2", "batch_size=1", "output.format=png", checkpoint)
    assert draws == []


def test_other_weights_make_another_picture_of_it(here, family, tmp_path, draws) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(family("sd15"), copy)
    words = ["-m", "seed=1,2", *SHORT, f"checkpoint.repo={copy}"]
    here.run(*words)
    file = next((copy / "vae").glob("*.safetensors"))
    weights = load_file(file)
    weights["decoder.conv_out.bias"] += 0.5
    save_file(weights, file)
    draws.clear()
    here.run(*words)
    assert draws == [[1, 2]]


def test_what_a_sweep_leaves(here, checkpoint) -> None:
    here.run("-m", "scheduler=euler,ddim", "seed=1,2", *SHORT, checkpoint)
    assert {"results.csv", "contact_sheet.png", "report.html", "recipe.yaml", "manifest.json"} <= {
        path.name for path in SWEEP.iterdir()
    }
    assert here.run(str(SWEEP / "recipe.yaml"))[2].splitlines()[0].endswith("nothing left to draw"), (
        "it is the same sweep"
    )


def test_a_sweeps_picture_and_folder_are_replayed_to_the_same_bytes(here, checkpoint, tmp_path) -> None:
    here.run("-m", *AXES, *SHORT, checkpoint)
    alone = tmp_path / "somewhere_else.png"
    alone.write_bytes(load_results(SWEEP).images[5].file.read_bytes())
    code, out, _ = here.recipe_command("replay", "--check", str(alone), checkpoint)
    assert (code, out.splitlines()[-1]) == (0, "identical: every pixel of 1 image")
    code, out, _ = here.recipe_command("replay", "--check", str(SWEEP))
    assert (code, out.splitlines()[-1]) == (0, "identical: every pixel of 16 images")


def test_what_a_replay_keeps_is_a_picture_like_any_other(here, checkpoint) -> None:
    here.run("-m", "scheduler=euler,ddim", "seed=1,2", *SHORT, checkpoint)
    one = load_results(SWEEP).images[0].file
    for again in (str(SWEEP), str(one)):
        code, out, _ = here.recipe_command("replay", again, checkpoint)
        kept = Path(out.splitlines()[-1])
        assert code == 0 and kept.is_dir()
        assert here.recipe_command("replay", "--check", str(kept / one.name), checkpoint)[0] == 0


def test_a_device_that_is_not_here_is_told_and_replaced(here, checkpoint) -> None:
    here.run("-m", "scheduler=euler,ddim", *SHORT, checkpoint)
    for record in (SWEEP / "batches").glob("*.json"):
        record.write_text(record.read_text().replace('"device": "cpu"', '"device": "cuda:7"', 1))
    code, out, _ = here.recipe_command("replay", "--check", str(SWEEP))
    told, same = out.splitlines()
    assert (code, same) == (0, "identical: every pixel of 2 images")
    assert told == "the device cuda:7 is not on this machine: run on another, so pixels may differ"


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with the image of seed 13 cannot be drawn."""
    draw = Session.draw

    def fragile(self: Session, shots: Sequence, *rest, **named):
        if any(shot.seed == 13 for shot in shots):
            raise RuntimeError("out of luck")
        return draw(self, shots, *rest, **named)

    monkeypatch.setattr(Session, "draw", fragile)


def test_one_failing_job_takes_no_other_with_it(here, checkpoint, poison, draws) -> None:
    code, out, err = here.run("-m", "seed=12,13,14", *SHORT, checkpoint)
    assert (code, out) == (1, f"{SWEEP}\n")
    assert err.splitlines()[-2:] == ["1 of 3 pictures failed:", "  seed-13  out of luck"]
    found = load_results(SWEEP)
    assert [image.seed for image in found.images] == [12, 14]
    assert [dict(failure.varied) for failure in found.failures] == [{"seed": 13}]
    assert (SWEEP / "report.html").is_file() and (SWEEP / "contact_sheet.png").is_file()


def test_a_failure_is_told_with_the_seed_of_the_picture_that_is_missing(here, checkpoint, poison) -> None:
    here.run("-m", "guidance_scale=2,6", "seed=12", "steps=3", "num_images=2", "backend.threads=1", checkpoint)
    found = load_results(SWEEP)
    assert [image.seed for image in found.images] == [12, 12]
    assert [failure.seed for failure in found.failures] == [13, 13]


def test_what_failed_is_tried_again_by_the_same_command(here, checkpoint, monkeypatch, draws) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Session, "draw", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("out of luck")))
        assert here.run("-m", "seed=12,13", *SHORT, checkpoint)[0] == 1
    assert here.run("-m", "seed=12,13", *SHORT, checkpoint)[0] == 0
    assert not load_results(SWEEP).failures and len(load_results(SWEEP).images) == 2


def test_on_error_stop_stops(here, checkpoint, poison, draws) -> None:
    code, _, _ = here.run("-m", "seed=13,14,15", *SHORT, "batch_size=1", "on_error=stop", checkpoint)
    assert code == 1
    assert load_results(SWEEP).images == []


def test_a_job_that_cannot_work_is_told_before_any_starts(here, family, draws) -> None:
    code, _, err = here.run("-m", f"checkpoint.repo={family('sd15')},./no_such_folder", *SHORT)
    assert code == 2 and "no_such_folder" in err
    assert draws == [] and not SWEEP.exists()


# ---- processes -------------------------------------------------------------------------------------------------------

SLOW = """
import os, sys, time
import runner.session, runner.sweep.progress
runner.sweep.progress.SweepProgress.row_done = lambda self, pictures: time.sleep(0.01)
draw = runner.session.Session.draw
def noted(self, shots, *rest, **named):
    with open("begun.txt", "a") as notes:
        notes.write(f"{os.getpid()} {','.join(str(shot.seed) for shot in shots)}\\n")
    return draw(self, shots, *rest, **named)
runner.session.Session.draw = noted
from runner.cli.run import main
sys.exit(main(sys.argv[1:]))
"""


def start(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """The sweep in a process of its own, every row of which leaves time to end it."""
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
    )


def drawn(folder: Path) -> int:
    return len(list((folder / SWEEP / "batches").glob("*.json")))


def begun(folder: Path) -> dict[str, list[str]]:
    """Process → the seeds of each batch it began to draw, in order."""
    found: dict[str, list[str]] = {}
    for line in (folder / "begun.txt").read_text().splitlines():
        process, seeds = line.split()
        found.setdefault(process, []).append(seeds)
    return found


def killed_and_restarted(words: Sequence[str], folder: Path, kills: int, batches: int) -> None:
    """Runs the sweep to its end, killed on the way."""
    rng = random.Random(0)
    for _ in range(kills):
        process = start(words, folder)
        wait_for = min(batches - 1, drawn(folder) + 1)
        while drawn(folder) < wait_for and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not list((folder / SWEEP).glob("images/*.part")), "hidden files only"
    _, err = start(words, folder).communicate()
    assert drawn(folder) == batches, err


@pytest.mark.parametrize(("jobs", "together", "kills"), [(8, 2, 2), pytest.param(100, 4, 10, marks=pytest.mark.slow)])
def test_a_killed_sweep_goes_on_where_it_was_to_the_same_bytes(
    here, checkpoint, tmp_path, jobs: int, together: int, kills: int
) -> None:
    words = ["-m", f"seed=range(1,{jobs + 1})", *SHORT, f"batch_size={together}", checkpoint]
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    for folder in (calm, rough):
        folder.mkdir()
    start(words, calm).communicate()
    killed_and_restarted(words, rough, kills=kills, batches=jobs // together)
    assert sums(rough / SWEEP) == sums(calm / SWEEP)
    assert len(sums(calm / SWEEP)) == jobs
    # All but the last of what each process began was done when it was killed: none of it may be begun again.
    finished = [seeds for each in begun(rough).values() for seeds in each[:-1]]
    every = [seeds for each in begun(rough).values() for seeds in each]
    assert len(set(finished)) == len(finished)
    assert len(set(every)) == jobs // together and len(every) <= jobs // together + kills


def test_two_processes_share_a_sweep_and_draw_no_batch_twice(here, checkpoint) -> None:
    words = ["-m", "seed=range(1,13)", *SHORT, "batch_size=2", checkpoint]
    processes = [start(words, here.folder) for _ in range(2)]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    records = [json.loads(path.read_text()) for path in (SWEEP / "batches").glob("*.json")]
    assert sorted(image["seed"] for record in records for image in record["items"]) == list(range(1, 13))
    assert len(sums(SWEEP)) == 12


def test_ctrl_c_keeps_finished_batches_and_says_how_to_go_on(here, checkpoint) -> None:
    process = start(["-m", "seed=range(1,30)", *SHORT, "batch_size=1", checkpoint], here.folder)
    while drawn(here.folder) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    records = [name for name, _ in SweepFolder(SWEEP).records()]
    assert 2 <= len(records) < 29
