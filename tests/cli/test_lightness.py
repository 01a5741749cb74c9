"""Composing, checking and helping import nothing heavy and answer quickly, measured in processes of their own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "jax", "transformers", "huggingface_hub", "diffusers", "scipy", "PIL")
PROGRAM = """
import sys
from runner.cli.{command} import main
code = main({argv!r})
print("imported:", [name for name in {heavy!r} if name in sys.modules])
sys.exit(code)
"""


def started(command: str, *argv: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished process and the seconds it took, the best of two: CPU time, so that other work does not count."""
    program = PROGRAM.format(command=command, argv=list(argv), heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    best = float("inf")
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environment, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return done, best


@pytest.mark.parametrize(
    ("command", "argv", "code"),
    [
        ("run", ["--help"], 0),
        ("run", ["--cfg", "job", "recipe=ays_sdxl"], 0),
        ("run", ["-m", "--cfg", "job", "scheduler=euler,lms", "schedule=karras"], 0),
        ("run", ["schedular=euler"], 2),
        ("run", ["seed=x", "scheduler.eta=3", "checkpoint.repo=./nowhere"], 2),
        ("recipe", ["--help"], 0),
        ("recipe", ["ls"], 0),
        ("recipe", ["cat", "sd15"], 0),
        ("recipe", ["check", "--all"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_nothing_heavy_is_imported(tmp_path, command, argv, code) -> None:
    done, _ = started(command, *argv, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.parametrize(
    ("command", "argv", "limit"),
    [
        ("run", ["--cfg", "job", "recipe=ays_sdxl"], 0.8),
        ("run", ["--help"], 1.0),
        ("recipe", ["check", "--all"], 0.5 + 0.06 * len(list((ROOT / "recipes/recipe").glob("*.yaml")))),
    ],
    ids=["cfg job", "help", "check all"],
)
def test_the_answer_comes_quickly(tmp_path, command, argv, limit) -> None:
    """Limits in seconds. Hydra alone takes 0.28 s for the first and 0.72 s for the second."""
    done, seconds = started(command, *argv, folder=tmp_path)
    assert done.returncode == 0
    assert seconds < limit


def test_the_check_itself_would_notice_a_heavy_import(tmp_path) -> None:
    program = PROGRAM.format(command="run", argv=["--help"], heavy=("runner.cli.run",))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.endswith("imported: ['runner.cli.run']\n")
