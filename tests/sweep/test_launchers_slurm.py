"""The slurm launcher: what it submits, that it returns at once, and that its tasks draw what the warm launcher do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from launched import FOLDER, commits, files, sweep

from runner.compose import compose
from runner.provenance import cache_folder
from runner.sweep.folder import SweepFolder

submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install 'diffusion-recipes[slurm]'")

from runner.sweep.launchers import slurm  # noqa: E402
from runner.sweep.launchers.slurm import SlurmTask  # noqa: E402
from runner.sweep.speed import FILE as SPEEDS  # noqa: E402

ON_SLURM = ("launcher=slurm", "workers=2")


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> dict[str, bytes]:
    """The pictures as the warm launcher draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("warm"))
        sweep()
        return files()


@pytest.fixture
def login_node(tmp_path, monkeypatch) -> Path:
    """A machine whose `sbatch` keeps what is submitted, here, and runs nothing."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, body in {"sbatch": f'cp "$1" {tmp_path}/script; echo Submitted batch job 4711', "srun": "exit 1"}.items():
        (commands / name).write_text(f"#!/bin/sh\n{body}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return tmp_path


def run_task(script: str, number: int) -> subprocess.CompletedProcess[str]:
    """What srun would start on a node for one task of the array."""
    command = next(line for line in script.splitlines() if line.startswith("srun"))
    words = shlex.split(command)
    task = words[words.index(sys.executable) :]
    environment = {
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_JOB_ID": str(4711 + number),
        "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    return subprocess.run(task, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_it_submits_an_array_says_how_to_follow_it_and_returns(login_node, capsys) -> None:
    outcome = sweep(*ON_SLURM)
    script = (login_node / "script").read_text()
    assert re.search(r"^#SBATCH --array=0-1%2$", script, re.MULTILINE)
    assert re.search(r"^#SBATCH --cpus-per-task=1$", script, re.MULTILINE)
    assert "--gpus" not in script
    told = capsys.readouterr().err
    assert "Submitted 2 tasks as Slurm job 4711" in told
    assert f"recipe report {FOLDER}" in told and "squeue --job 4711" in told
    assert outcome.planned == 8 and not outcome.failures
    assert commits() == {}, "nothing is drawn on the login node"


def test_its_tasks_draw_everything_with_the_same_bytes_and_the_last_makes_the_report(login_node, warm) -> None:
    sweep(*ON_SLURM)
    script = (login_node / "script").read_text()
    (cache_folder() / SPEEDS).unlink(missing_ok=True)
    done = run_task(script, 0)
    assert done.returncode == 0, done.stderr
    assert files() == warm
    assert (cache_folder() / SPEEDS).is_file(), "a plan knows from now on how long such pictures take"
    assert (FOLDER / "report.html").is_file() and (FOLDER / "results.csv").is_file()
    assert "8 pictures drawn by this task" in done.stderr
    done = run_task(script, 1)
    assert done.returncode == 0, done.stderr
    assert "nothing left that nobody is at" in done.stderr and "pictures drawn" not in done.stderr
    (login_node / "script").unlink()
    sweep(*ON_SLURM)
    assert not (login_node / "script").exists(), "with nothing left to draw nothing is submitted"


def test_two_tasks_at_once_share_the_batches(login_node, warm) -> None:
    sweep(*ON_SLURM)
    base = compose(ON_SLURM).base
    executor = submitit.LocalExecutor(Path("local"))
    executor.update_parameters(timeout_min=5)
    jobs = slurm.submit(executor, base, SweepFolder(FOLDER), 2)
    assert sum(job.result() for job in jobs) == 8, "no picture is drawn twice"
    assert files() == warm


def test_a_gpu_is_asked_for_where_the_recipe_wants_one(login_node, monkeypatch) -> None:
    sweep(*ON_SLURM, "backend.device=cuda")
    assert re.search(r"^#SBATCH --gpus-per-node=1$", (login_node / "script").read_text(), re.MULTILINE)


def test_nothing_is_compared_on_the_login_node(login_node, monkeypatch) -> None:
    compared = []
    monkeypatch.setattr("runner.sweep.launch.score", lambda *given: compared.append(given))
    sweep("compare.reference_steps=2", seeds="0,1")
    assert len(compared) == 1
    sweep("compare.reference_steps=2", *ON_SLURM)
    assert len(compared) == 1


def test_a_task_cut_off_goes_on_where_it_was(login_node, warm, monkeypatch) -> None:
    sweep(*ON_SLURM)
    task = SlurmTask(str(FOLDER.absolute()), 1, 2)

    def pressed(sentence: str) -> None:
        if "4 pictures" in sentence:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(slurm, "say", pressed)
        task()
    half = commits()
    assert len(half) == 2
    again = task.checkpoint()  # what submitit queues again
    assert again.function() == 4
    assert files() == warm


def test_a_failure_stops_every_task_where_the_recipe_says_so(login_node, capsys) -> None:
    sweep(*ON_SLURM, "on_error=stop")
    folder = SweepFolder(FOLDER)
    item = next(iter(folder.plan().batches.values())).items[0]
    folder.fail(item, "failed in another task")
    assert SlurmTask(str(FOLDER.absolute()), 1, 2, stop=True)() == 0
    assert commits() == {}


def test_what_cannot_work_is_told_before_any_work(here, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = here.run("-m", "seed=1,2", "launcher=slurm")
    assert code == 2
    assert "workers: is null" in err and "workers=8" in err
    assert "needs Slurm's commands sbatch and srun" in err
    assert not (here.folder / "outputs").exists()
