"""JAX is an extra: without it the JAX parts say what to install, and nothing else notices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = "import sys\nfor name in ('jax', 'jaxlib', 'flax'):\n    sys.modules[name] = None\n"
INSTALL = "needs jax and flax, which are not installed"


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in a Python that has neither jax nor flax."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", WITHOUT + program]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_the_backend_says_what_to_install(tiny: Path, tmp_path: Path) -> None:
    words = [f"checkpoint.repo={tiny}", "backend=jax", "steps=1"]
    done = python(f"from runner.cli.run import main\nsys.exit(main({words!r}))", tmp_path)
    assert done.returncode == 2
    assert f"backend.name: the jax backend {INSTALL}" in done.stderr
    assert f"pip install -e '{ROOT}[jax]'" in done.stderr


@pytest.mark.parametrize("name", ["FlaxDDIMScheduler", "FlaxStableDiffusionPipeline"])
def test_the_flax_names_say_what_to_install(name: str, tmp_path: Path) -> None:
    done = python(f"from runner import {name}", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: this part {INSTALL}; install it with: ")
    assert done.stderr.splitlines()[-1].endswith(f"pip install -e '{ROOT}[jax]'")


def test_nothing_else_notices(tiny: Path, tmp_path: Path) -> None:
    words = [f"checkpoint.repo={tiny}", "steps=1", "num_images=1"]
    program = (
        "import components, runner\n"
        "from runner.cli.run import main\n"
        "from runner.cli.recipe import main as recipe\n"
        "assert dir(runner) and dir(components) and recipe(['check', '--all']) == 0\n"
        "assert hasattr(runner, 'DDIMScheduler') and not hasattr(runner, 'FlaxNoScheduler')\n"
        f"sys.exit(main({words!r}))"
    )
    done = python(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("*.png"))) == 1
