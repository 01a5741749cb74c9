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
IMPORT_HYDRA = 0.16
PROGRAM = """
import sys
from runner.cli.{command} import main
code = main({argv!r})
print("imported:", [name for name in {heavy!r} if name in sys.modules])
sys.exit(code)
"""


def cpu_seconds(program: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished Python program and the processor time it took, which other work on the machine disturbs least."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
        ("recipe", ["schedulers"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_nothing_heavy_is_imported(tmp_path, command, argv, code) -> None:
    done, _ = cpu_seconds(PROGRAM.format(command=command, argv=argv, heavy=HEAVY), tmp_path)
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
    """In seconds, for a machine on which `import hydra` takes 0.16 s; a slower or busier one gets as much more."""
    program = PROGRAM.format(command=command, argv=argv, heavy=HEAVY)
    tries = []
    for _ in range(3):
        slowness = max(1.0, cpu_seconds("import hydra", tmp_path)[1] / IMPORT_HYDRA)
        tries.append(cpu_seconds(program, tmp_path)[1] / slowness)
        if tries[-1] < limit:
            break
    assert min(tries) < limit


def test_the_check_itself_would_notice_a_heavy_import(tmp_path) -> None:
    done, _ = cpu_seconds(PROGRAM.format(command="run", argv=["--help"], heavy=("runner.cli.run",)), tmp_path)
    assert done.stdout.endswith("imported: ['runner.cli.run']\n")
